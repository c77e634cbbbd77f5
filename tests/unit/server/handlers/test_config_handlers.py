"""The four config APIs together: what one of them changes, another one shows.

Answers are held against what an Apache Kafka 4.3.1 broker answered to the same requests (codes, sources, synonyms).
"""

import asyncio
import logging
from random import Random
from types import SimpleNamespace

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import random_uuid
from moldau_broker.metadata.admin import ControllerAdmin
from moldau_broker.metadata.brokers_control import Call
from moldau_broker.metadata.controller import OPERATIONS
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.image import BrokerImage, MetadataImage, ResourceType, TopicImage
from moldau_broker.metadata.operation import ControllerSettings, View
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.metadata.sessions import BrokerSessions
from moldau_broker.metadata.unavailable import unavailable_response
from moldau_broker.server.config import load_config
from moldau_broker.server.handlers import (
    alter_configs,
    describe_configs,
    incremental_alter_configs,
    list_config_resources,
)
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.wire.codec import decode, encode
from moldau_broker.wire.messages import alter_configs as replacing
from moldau_broker.wire.messages import describe_configs as describing
from moldau_broker.wire.messages import incremental_alter_configs as incremental
from moldau_broker.wire.messages import list_config_resources as listing

SET, DELETE, APPEND, SUBTRACT = range(4)
TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32


class Controller(ControllerAdmin):
    """Runs real operations on a real image; commits at once."""

    broker_epoch = -1

    def __init__(self, broker):
        super().__init__(1)
        self._broker = broker
        self.unavailable = None

    def auto_topics_request(self, names):
        raise NotImplementedError

    async def ask(self, key, request, version=None):
        if self.unavailable is not None:
            return unavailable_response(key, request, self.unavailable.error, str(self.unavailable))
        image = self._broker.metadata.image
        settings = ControllerSettings(node_id=1, explicit=self._broker.settings.static)
        view = View(image, image.offset + 1, settings, Random(1))
        result = OPERATIONS[key](Call(view, version, 0, BrokerSessions()), request)
        replay = ImageReplay(image)
        for record in result.records:
            replay.replay(record)
        self._broker.metadata.image = replay.image(image.offset + len(result.records), 1)
        return result.response


class Node:
    """A broker with one topic, and the four APIs as a client sees them: through the wire."""

    def __init__(self, *settings):
        rng = Random(7)
        topic = TopicImage("t1", random_uuid(rng), ())
        me = BrokerImage(
            1, 0, random_uuid(rng), fenced=False, in_controlled_shutdown=False, rack=None, endpoints={}
        )
        image = MetadataImage(
            "cluster", offset=5, topics={"t1": topic}, topics_by_id={topic.topic_id: topic}, brokers={1: me}
        )
        self.broker = SimpleNamespace(
            node_id=1, settings=load_config(sets=settings), metadata=SimpleNamespace(image=image)
        )
        self.broker.controller = Controller(self.broker)

    def _call(self, handler, request, version):
        context = SimpleNamespace(api_version=version, listener_kind=ListenerKind.CLIENT)
        decoded, _ = decode(type(request), version, encode(request, version))
        response = handler.handle(self.broker, context, decoded)
        if asyncio.iscoroutine(response):
            response = asyncio.run(response)
        return decode(type(response), version, encode(response, version))[0]

    def describe(self, kind, name, keys=None, *, version=4, synonyms=False, documentation=False):
        resource = describing.DescribeConfigsResource(
            resource_type=kind, resource_name=name, configuration_keys=keys
        )
        return self.describe_all([resource], version=version, synonyms=synonyms, documentation=documentation)[
            0
        ]

    def describe_all(self, resources, *, version=4, synonyms=False, documentation=False):
        request = describing.DescribeConfigsRequest(
            resources=resources,
            include_synonyms=synonyms,
            include_documentation=documentation if version >= 3 else False,
        )
        return self._call(describe_configs.HANDLER, request, version).results

    def value(self, kind, name, key):
        (config,) = self.describe(kind, name, [key]).configs
        return config.value, config.config_source

    def change(self, kind, name, *changes, validate_only=False):
        return self.change_all([(kind, name, changes)], validate_only=validate_only)[0]

    def change_all(self, resources, *, validate_only=False, version=1):
        request = incremental.IncrementalAlterConfigsRequest(
            resources=[
                incremental.AlterConfigsResource(
                    resource_type=kind,
                    resource_name=name,
                    configs=[
                        incremental.AlterableConfig(name=key, config_operation=operation, value=value)
                        for operation, key, value in changes
                    ],
                )
                for kind, name, changes in resources
            ],
            validate_only=validate_only,
        )
        response = self._call(incremental_alter_configs.HANDLER, request, version)
        assert [(one.resource_type, one.resource_name) for one in response.responses] == [
            (kind, name) for kind, name, _ in resources
        ]
        return [ErrorCode(one.error_code) for one in response.responses]

    def replace(self, kind, name, configs, *, validate_only=False, version=2):
        request = replacing.AlterConfigsRequest(
            resources=[
                replacing.AlterConfigsResource(
                    resource_type=kind,
                    resource_name=name,
                    configs=[
                        replacing.AlterableConfig(name=key, value=value) for key, value in configs.items()
                    ],
                )
            ],
            validate_only=validate_only,
        )
        (response,) = self._call(alter_configs.HANDLER, request, version).responses
        return ErrorCode(response.error_code)

    def resources(self, *kinds, version=1):
        request = listing.ListConfigResourcesRequest(resource_types=kinds)
        response = self._call(list_config_resources.HANDLER, request, version)
        return ErrorCode(response.error_code), [
            (one.resource_type, one.resource_name) for one in response.config_resources
        ]


@pytest.fixture
def node():
    """A fresh broker."""
    return Node("log.retention.hours=5")


# --- DescribeConfigs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_describe_topic_lists_every_setting(node, version):
    """34 settings with value and source, in every version."""
    result = node.describe(TOPIC, "t1", version=version)
    found = {config.name: config for config in result.configs}
    assert (result.error_code, result.error_message, len(found)) == (0, "", 34)
    assert (found["retention.ms"].value, found["retention.ms"].config_source) == ("18000000", 4)
    assert (found["segment.bytes"].value, found["segment.bytes"].config_source) == ("1073741824", 5)
    assert found["segment.bytes"].config_type == (3 if version >= 3 else 0)
    assert found["remote.storage.enable"].read_only
    assert not found["retention.ms"].read_only


def test_describe_topic_synonyms_and_documentation_on_request(node):
    """Places and words are given only to whoever asks."""
    node.change(TOPIC, "t1", (SET, "retention.ms", "12345"))
    (plain,) = node.describe(TOPIC, "t1", ["retention.ms"]).configs
    assert (plain.value, plain.synonyms, plain.documentation) == ("12345", [], None)
    (full,) = node.describe(TOPIC, "t1", ["retention.ms"], synonyms=True, documentation=True).configs
    assert [(one.name, one.value, one.source) for one in full.synonyms] == [
        ("retention.ms", "12345", 1),
        ("log.retention.hours", "5", 4),
        ("log.retention.hours", "168", 5),
    ]
    assert "segment is deleted" in full.documentation


def test_describe_leaves_unknown_keys_out(node):
    """Unknown keys are no error; no keys at all are all keys."""
    assert [config.name for config in node.describe(TOPIC, "t1", ["foo", "segment.ms"]).configs] == [
        "segment.ms"
    ]
    assert len(node.describe(TOPIC, "t1", []).configs) == 34


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        (TOPIC, "nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a/b", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (TOPIC, "", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (BROKER, "2", ErrorCode.INVALID_REQUEST),
        (BROKER, "abc", ErrorCode.INVALID_REQUEST),
        (BROKER, "٣", ErrorCode.INVALID_REQUEST),
        (LOGGER, "2", ErrorCode.INVALID_REQUEST),
        (LOGGER, "", ErrorCode.INVALID_REQUEST),
        (GROUP, "", ErrorCode.INVALID_REQUEST),
        (METRICS, "m", ErrorCode.INVALID_REQUEST),
        (0, "x", ErrorCode.INVALID_REQUEST),
        (99, "x", ErrorCode.INVALID_REQUEST),
    ],
)
def test_describe_refuses(node, kind, name, error):
    """Each resource that cannot be described has its own error, as on a 4.3.1 broker."""
    result = node.describe(kind, name)
    assert (ErrorCode(result.error_code), result.configs) == (error, [])


def test_describe_broker_lists_everything_kafka_knows(node):
    """All 340 of Kafka's settings and ours, static ones marked as such, nothing secret shown."""
    found = {config.name: config for config in node.describe(BROKER, "1", synonyms=True).configs}
    assert len(found) > 340
    assert (found["log.retention.hours"].config_source, found["log.retention.hours"].read_only) == (4, True)
    assert not found["log.retention.ms"].read_only
    assert found["ssl.key.password"].is_sensitive
    assert found["ssl.key.password"].value is None


def test_describe_broker_shows_what_was_given_in_vain():
    """A setting without effect is shown as it was given, read-only, and its documentation says what it is worth."""
    node = Node("num.io.threads=3")
    (config,) = node.describe(BROKER, "1", ["num.io.threads"], documentation=True).configs
    assert (config.value, config.config_source, config.read_only) == ("3", 4, True)
    assert config.documentation == "Known to Kafka, not acted on here."


def test_describe_broker_shows_the_layers(node):
    """One broker's dynamic value, the one all brokers share, and the static default, nearest first."""
    assert node.change(BROKER, "1", (SET, "log.retention.ms", "777")) is ErrorCode.NONE
    assert node.change(BROKER, "", (SET, "log.retention.ms", "888")) is ErrorCode.NONE
    (config,) = node.describe(BROKER, "1", ["log.retention.ms"], synonyms=True).configs
    assert (config.value, config.config_source) == ("777", 2)
    assert [(one.name, one.value, one.source) for one in config.synonyms] == [
        ("log.retention.ms", "777", 2),
        ("log.retention.ms", "888", 3),
    ]
    assert [(one.name, one.value, one.config_source) for one in node.describe(BROKER, "").configs] == [
        ("log.retention.ms", "888", 3)
    ]
    assert node.value(TOPIC, "t1", "retention.ms") == ("777", 2)
    node.change(BROKER, "1", (DELETE, "log.retention.ms", None))
    assert node.value(TOPIC, "t1", "retention.ms") == ("888", 3)


def test_describe_group_lists_defaults(node):
    """A group's 17 settings, whether anybody knows the group or not."""
    result = node.describe(GROUP, "g1", synonyms=True)
    assert (result.error_code, len(result.configs)) == (0, 17)
    (config,) = node.describe(GROUP, "g1", ["consumer.session.timeout.ms"], synonyms=True).configs
    assert (config.value, config.config_source, config.read_only) == ("45000", 5, True)
    assert [(one.name, one.source) for one in config.synonyms] == [("group.consumer.session.timeout.ms", 5)]


def test_describe_topics_together_keeps_their_own_values(node):
    """Topics share what they have in common, and nothing else."""
    other = TopicImage("t2", random_uuid(Random(8)), ())
    image = node.broker.metadata.image
    node.broker.metadata.image = MetadataImage(
        "cluster", offset=5, topics={**image.topics, "t2": other}, brokers=image.brokers
    )
    node.change(TOPIC, "t2", (SET, "retention.ms", "1"))
    resources = [
        describing.DescribeConfigsResource(
            resource_type=TOPIC, resource_name=name, configuration_keys=["retention.ms"]
        )
        for name in ("t1", "t2", "t1")
    ]
    assert [result.configs[0].value for result in node.describe_all(resources)] == [
        "18000000",
        "1",
        "18000000",
    ]


def test_describe_bounds_the_answer(node):
    """Asking for the broker's settings ten thousand times fills no memory: the rest is refused."""
    resource = describing.DescribeConfigsResource(
        resource_type=BROKER, resource_name="1", configuration_keys=None
    )
    request = describing.DescribeConfigsRequest(resources=[resource] * 10_000)
    results = describe_configs.handle(node.broker, SimpleNamespace(api_version=4), request).results
    assert results[0].error_code == 0
    assert results[-1].error_code == ErrorCode.POLICY_VIOLATION
    assert sum(len(result.configs) for result in results) < 201_000


# --- changes -----------------------------------------------------------------------------------------------


def test_incremental_changes_are_seen_at_once(node):
    """Set, append, subtract, delete: each is in force when the answer is there."""
    assert node.change(TOPIC, "t1", (SET, "retention.ms", " 5 ")) is ErrorCode.NONE
    assert node.value(TOPIC, "t1", "retention.ms") == ("5", 1)
    node.change(TOPIC, "t1", (APPEND, "cleanup.policy", "compact"))
    assert node.value(TOPIC, "t1", "cleanup.policy") == ("delete,compact", 1)
    node.change(TOPIC, "t1", (SUBTRACT, "cleanup.policy", "delete"))
    assert node.value(TOPIC, "t1", "cleanup.policy") == ("compact", 1)
    node.change(TOPIC, "t1", (DELETE, "cleanup.policy", None), (DELETE, "retention.ms", None))
    assert node.value(TOPIC, "t1", "cleanup.policy") == ("delete", 5)
    assert node.value(TOPIC, "t1", "retention.ms") == ("18000000", 4)


def test_incremental_validate_only_changes_nothing(node):
    """The same errors, and no effect."""
    assert node.change(TOPIC, "t1", (SET, "retention.ms", "5"), validate_only=True) is ErrorCode.NONE
    assert (
        node.change(TOPIC, "t1", (SET, "retention.ms", "x"), validate_only=True) is ErrorCode.INVALID_CONFIG
    )
    assert node.value(TOPIC, "t1", "retention.ms") == ("18000000", 4)


@pytest.mark.parametrize(
    ("kind", "name", "changes", "error"),
    [
        (TOPIC, "t1", [(SET, "foo.bar", "1")], ErrorCode.INVALID_CONFIG),
        (TOPIC, "t1", [(SET, "retention.ms", "-2")], ErrorCode.INVALID_CONFIG),
        (TOPIC, "t1", [(SET, "remote.storage.enable", "true")], ErrorCode.INVALID_CONFIG),
        (TOPIC, "t1", [(APPEND, "retention.ms", "5")], ErrorCode.INVALID_CONFIG),
        (TOPIC, "t1", [(SET, "retention.ms", None)], ErrorCode.INVALID_REQUEST),
        (TOPIC, "t1", [(9, "retention.ms", "1")], ErrorCode.INVALID_REQUEST),
        (TOPIC, "t1", [(SET, "retention.ms", "1"), (SET, "retention.ms", "2")], ErrorCode.INVALID_REQUEST),
        (TOPIC, "nope", [(SET, "retention.ms", "1")], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a/b", [(SET, "retention.ms", "1")], ErrorCode.INVALID_TOPIC_EXCEPTION),
        (TOPIC, "", [(SET, "retention.ms", "1")], ErrorCode.INVALID_REQUEST),
        (BROKER, "1", [(SET, "log.retention.hours", "1")], ErrorCode.INVALID_REQUEST),
        (BROKER, "", [(SET, "log.retention.ms", "x")], ErrorCode.INVALID_REQUEST),
        (BROKER, "2", [(SET, "log.retention.ms", "1")], ErrorCode.INVALID_REQUEST),
        (BROKER, "abc", [(SET, "log.retention.ms", "1")], ErrorCode.INVALID_REQUEST),
        (BROKER, "1", [(SET, "num.io.threads", "9")], ErrorCode.INVALID_CONFIG),
        (GROUP, "g1", [(SET, "consumer.session.timeout.ms", "50000")], ErrorCode.INVALID_CONFIG),
        (GROUP, "", [(SET, "consumer.session.timeout.ms", "50000")], ErrorCode.INVALID_REQUEST),
        (METRICS, "m", [(SET, "interval.ms", "5000")], ErrorCode.INVALID_CONFIG),
        (99, "x", [(SET, "a", "b")], ErrorCode.INVALID_REQUEST),
    ],
)
def test_incremental_refuses(node, kind, name, changes, error):
    """Never silently accepted, and nothing of the resource changes."""
    before = node.broker.metadata.image.configs
    assert node.change(kind, name, *changes) is error
    assert node.broker.metadata.image.configs == before


def test_incremental_resources_stand_alone(node):
    """One resource's mistake does not hold back another's change; naming one twice refuses both."""
    good, bad = [(SET, "log.retention.ms", "9")], [(SET, "retention.ms", "1"), (SET, "segment.ms", "x")]
    assert node.change_all([(TOPIC, "t1", bad), (BROKER, "1", good)]) == [
        ErrorCode.INVALID_CONFIG,
        ErrorCode.NONE,
    ]
    assert node.value(TOPIC, "t1", "retention.ms") == ("9", 2)
    one = [(SET, "retention.ms", "1")]
    assert node.change_all([(TOPIC, "t1", one), (TOPIC, "t1", one)]) == [ErrorCode.INVALID_REQUEST] * 2


@pytest.mark.parametrize("version", [0, 1])
def test_incremental_every_version(node, version):
    """Both versions change settings."""
    changes = [(SET, "retention.ms", "1")]
    assert node.change_all([(TOPIC, "t1", changes)], version=version) == [ErrorCode.NONE]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_alter_replaces_all_settings(node, version):
    """What is not named goes back to its default."""
    assert (
        node.replace(TOPIC, "t1", {"retention.ms": "5", "segment.ms": "6"}, version=version) is ErrorCode.NONE
    )
    assert node.replace(TOPIC, "t1", {"retention.ms": "7"}, version=version) is ErrorCode.NONE
    assert node.value(TOPIC, "t1", "retention.ms") == ("7", 1)
    assert node.value(TOPIC, "t1", "segment.ms") == ("604800000", 5)
    assert node.replace(TOPIC, "t1", {}, validate_only=True) is ErrorCode.NONE
    assert node.value(TOPIC, "t1", "retention.ms") == ("7", 1)


@pytest.mark.parametrize(
    ("configs", "error"),
    [
        ({"foo": "1"}, ErrorCode.INVALID_CONFIG),
        ({"retention.ms": "x"}, ErrorCode.INVALID_CONFIG),
        ({"retention.ms": None}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_alter_refuses(node, configs, error):
    """A bad value leaves all settings as they were."""
    node.replace(TOPIC, "t1", {"segment.ms": "6"})
    assert node.replace(TOPIC, "t1", configs) is error
    assert node.value(TOPIC, "t1", "segment.ms") == ("6", 1)


def test_changes_without_a_controller_are_refused(node):
    """When nobody can write, every resource says so, retriably."""
    node.broker.controller.unavailable = ControllerUnavailable(ErrorCode.NOT_CONTROLLER, "not now")
    assert node.change(TOPIC, "t1", (SET, "retention.ms", "5")) is ErrorCode.NOT_CONTROLLER
    assert node.replace(TOPIC, "t1", {"retention.ms": "5"}) is ErrorCode.NOT_CONTROLLER


# --- loggers -----------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_logger():
    """A logger of ours, put back afterwards."""
    logger = logging.getLogger("moldau_broker.some.test")
    yield logger
    logger.setLevel(logging.NOTSET)


def test_loggers_are_listed_and_set(node, quiet_logger):
    """A level holds at once, for this process, until it is deleted."""
    assert node.change(LOGGER, "1", (SET, quiet_logger.name, "ERROR")) is ErrorCode.NONE
    assert node.value(LOGGER, "1", quiet_logger.name) == ("ERROR", 6)
    assert quiet_logger.level == logging.ERROR
    assert node.change(LOGGER, "1", (DELETE, quiet_logger.name, None)) is ErrorCode.NONE
    assert quiet_logger.level == logging.NOTSET
    assert "root" in {config.name for config in node.describe(LOGGER, "1").configs}


@pytest.mark.parametrize(
    ("broker_id", "change", "error"),
    [
        ("1", (SET, "moldau_broker.some.test", "LOUD"), ErrorCode.INVALID_CONFIG),
        ("1", (SET, "nope", "INFO"), ErrorCode.INVALID_CONFIG),
        ("1", (SET, "moldau_broker.some.test", None), ErrorCode.INVALID_REQUEST),
        ("1", (DELETE, "root", None), ErrorCode.INVALID_REQUEST),
        ("1", (APPEND, "root", "INFO"), ErrorCode.INVALID_REQUEST),
        ("2", (SET, "root", "INFO"), ErrorCode.INVALID_REQUEST),
    ],
)
def test_logger_change_is_refused(node, quiet_logger, broker_id, change, error):
    """As on a 4.3.1 broker."""
    assert node.change(LOGGER, broker_id, change) is error
    assert quiet_logger.level == logging.NOTSET


def test_logger_changes_stand_beside_others(node, quiet_logger):
    """Loggers and topics in one request are answered in its order; validate-only touches no logger."""
    resources = [
        (LOGGER, "1", [(SET, quiet_logger.name, "ERROR")]),
        (TOPIC, "t1", [(SET, "retention.ms", "5")]),
    ]
    assert node.change_all(resources, validate_only=True) == [ErrorCode.NONE, ErrorCode.NONE]
    assert quiet_logger.level == logging.NOTSET
    assert node.change_all(resources) == [ErrorCode.NONE, ErrorCode.NONE]
    assert quiet_logger.level == logging.ERROR
    twice = [(LOGGER, "1", [(SET, quiet_logger.name, "WARN")])] * 2
    assert node.change_all(twice) == [ErrorCode.INVALID_REQUEST] * 2
    named_twice = (SET, quiet_logger.name, "WARN"), (SET, quiet_logger.name, "INFO")
    assert node.change(LOGGER, "1", *named_twice) is ErrorCode.INVALID_REQUEST
    assert quiet_logger.level == logging.ERROR


def test_alter_has_no_loggers(node):
    """The older operation does not reach loggers, in Kafka neither."""
    assert node.replace(LOGGER, "1", {"root": "DEBUG"}) is not ErrorCode.NONE


# --- ListConfigResources -----------------------------------------------------------------------------------


def test_list_resources(node):
    """Every type's names in v1; v0 asks for client metrics, of which there are none."""
    assert node.resources() == (ErrorCode.NONE, [(LOGGER, "1"), (BROKER, "1"), (TOPIC, "t1")])
    assert node.resources(TOPIC) == (ErrorCode.NONE, [(TOPIC, "t1")])
    assert node.resources(GROUP, METRICS) == (ErrorCode.NONE, [])
    assert node.resources(99) == (ErrorCode.UNSUPPORTED_VERSION, [])
    assert node.resources(0, TOPIC) == (ErrorCode.UNSUPPORTED_VERSION, [])
    assert node.resources(version=0) == (ErrorCode.NONE, [])


def test_list_resources_names_groups_with_settings(node):
    """A group that the metadata log has settings for is listed."""
    image = node.broker.metadata.image
    node.broker.metadata.image = MetadataImage(
        "cluster",
        topics=image.topics,
        configs={(int(ResourceType.GROUP), "g1"): {"consumer.session.timeout.ms": "1"}},
    )
    assert node.resources(GROUP) == (ErrorCode.NONE, [(GROUP, "g1")])
