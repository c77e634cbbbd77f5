"""DescribeConfigs' answer: every setting, its value, and each place a value could come from."""

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.config_types import SettingType
from moldau_broker.base.config_view import (
    BrokerLayers,
    ConfigSource,
    describe_broker,
    describe_broker_default,
    describe_group,
    describe_topic,
)
from moldau_broker.base.group_config import GROUP_SETTINGS
from moldau_broker.base.known_config import KNOWN_SETTINGS
from moldau_broker.base.topic_config import TOPIC_SETTINGS

LAYERS = BrokerLayers(
    dynamic={"log.retention.ms": "777"},
    dynamic_default={"log.retention.ms": "888", "log.segment.bytes": "2097152"},
    static={"log.retention.hours": "5", "log.segment.bytes": "3145728", "node.id": "7"},
)


def _named(entries):
    return {entry.name: entry for entry in entries}


def _places(entry):
    return [(place.name, place.value, place.source) for place in entry.synonyms]


def test_topic_lists_every_setting():
    """All settings are there, sorted, with their defaults."""
    entries = describe_topic({}, BrokerLayers())
    assert [entry.name for entry in entries] == sorted(TOPIC_SETTINGS)
    for entry in entries:
        assert (entry.value, entry.source) == (TOPIC_SETTINGS[entry.name].default, ConfigSource.DEFAULT)


def test_topic_own_value_wins_and_others_are_shown():
    """The value in force comes first; then each broker setting behind it, nearest layer first."""
    entry = _named(describe_topic({"retention.ms": "5"}, LAYERS))["retention.ms"]
    assert (entry.value, entry.source, entry.read_only) == ("5", ConfigSource.TOPIC, False)
    assert _places(entry) == [
        ("retention.ms", "5", ConfigSource.TOPIC),
        ("log.retention.ms", "777", ConfigSource.BROKER),
        ("log.retention.ms", "888", ConfigSource.BROKER_DEFAULT),
        ("log.retention.hours", "5", ConfigSource.STATIC),
        ("log.retention.hours", "168", ConfigSource.DEFAULT),
    ]


def test_topic_value_from_the_broker_is_in_the_topics_unit():
    """Hours on the broker are milliseconds on the topic."""
    entry = _named(describe_topic({}, BrokerLayers(static={"log.retention.hours": "5"})))["retention.ms"]
    assert (entry.value, entry.source) == ("18000000", ConfigSource.STATIC)


def test_topic_setting_without_effect_is_listed_as_such():
    """What we do not act on is read-only and says so; a name of another version can still be removed."""
    entries = _named(describe_topic({"message.format.version": "2.8"}, BrokerLayers()))
    assert entries["remote.storage.enable"].read_only
    assert "not acted on here" in entries["remote.storage.enable"].doc
    assert not entries["retention.ms"].read_only
    assert entries["message.format.version"].value == "2.8"
    assert entries["message.format.version"].type is SettingType.UNKNOWN


def test_topic_value_is_listed_in_its_plain_form():
    """Whatever blanks and signs a value was set with; one that is no longer legal is shown as it is."""
    entries = _named(describe_topic({"retention.ms": " +5 ", "segment.ms": "soon"}, BrokerLayers()))
    assert (entries["retention.ms"].value, entries["segment.ms"].value) == ("5", "soon")


def test_topic_lists_only_what_is_asked_for():
    """Names nobody knows are not listed."""
    entries = describe_topic({}, BrokerLayers(), {"segment.ms", "retention.ms", "foo"})
    assert [entry.name for entry in entries] == ["retention.ms", "segment.ms"]


def test_broker_lists_every_setting():
    """Ours and all that Kafka knows, 340 and more."""
    entries = _named(describe_broker(LAYERS))
    assert set(entries) == set(BROKER_SETTINGS) | set(KNOWN_SETTINGS)
    assert entries["log.retention.ms"].value == "777"
    assert entries["log.retention.ms"].source is ConfigSource.BROKER
    assert (entries["log.segment.bytes"].value, entries["log.segment.bytes"].source) == (
        "2097152",
        ConfigSource.BROKER_DEFAULT,
    )
    assert (entries["node.id"].source, entries["node.id"].read_only) == (ConfigSource.STATIC, True)
    assert (entries["broker.id"].value, entries["broker.id"].source) == ("7", ConfigSource.STATIC)
    assert entries["num.io.threads"].value == "8"
    assert entries["num.io.threads"].doc == "Known to Kafka, not acted on here."
    assert entries["log.roll.ms"].value is None


def test_broker_hides_secrets():
    """A password is never shown, in no place."""
    entry = _named(describe_broker(BrokerLayers(static={"ssl.key.password": "hunter2"})))["ssl.key.password"]
    assert entry.sensitive
    assert entry.value is None
    assert all(place.value is None for place in entry.synonyms)


def test_broker_default_lists_what_is_set():
    """The resource of all brokers holds only the settings somebody set."""
    entries = describe_broker_default(LAYERS)
    assert [(entry.name, entry.value, entry.source) for entry in entries] == [
        ("log.retention.ms", "888", ConfigSource.BROKER_DEFAULT),
        ("log.segment.bytes", "2097152", ConfigSource.BROKER_DEFAULT),
    ]


def test_group_lists_every_setting():
    """All 17, read-only, with the broker setting that supplies the default."""
    entries = _named(describe_group({"consumer.session.timeout.ms": "51000"}, BrokerLayers()))
    assert set(entries) == set(GROUP_SETTINGS)
    assert _places(entries["consumer.session.timeout.ms"]) == [
        ("consumer.session.timeout.ms", "51000", ConfigSource.GROUP),
        ("group.consumer.session.timeout.ms", "45000", ConfigSource.DEFAULT),
    ]
    assert all(entry.read_only for entry in entries.values())


def test_explicit_layers_nearest_wins():
    """One mapping of all explicit broker settings, for resolving topics."""
    assert LAYERS.explicit == {
        "log.retention.ms": "777",
        "log.segment.bytes": "2097152",
        "log.retention.hours": "5",
        "node.id": "7",
    }
