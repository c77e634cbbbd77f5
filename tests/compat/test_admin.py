"""Administration by the three Python clients: topics, settings, partitions, records, groups, the cluster."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from tests.compat.clients import aiokafka, kafka
from tests.compat.conftest import Broker, BrokerProcess
from tests.compat.members import eventually

pytestmark = pytest.mark.compat


@pytest.fixture
def admin(shared_broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": shared_broker.bootstrap})


@pytest.fixture
def python_admin(shared_broker: Broker) -> Iterator[Any]:
    client = kafka.KafkaAdminClient(bootstrap_servers=shared_broker.bootstrap)
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


def only(futures: dict[Any, Any]) -> Any:
    (future,) = futures.values()
    return future.result(20)


def error_of(futures: dict[Any, Any]) -> str:
    with pytest.raises(KafkaException) as failure:
        only(futures)
    return failure.value.args[0].name()


def fill(broker: Broker, topic: str, count: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for i in range(count):
        producer.produce(topic, b"%d" % i, partition=partition)
    assert producer.flush(20) == 0


# --- topics -------------------------------------------------------------------------------------------


def test_topics_are_made_described_and_deleted(shared_broker: Broker, admin: AdminClient, name: str) -> None:
    """Partitions, replicas, leader and id are told; a deleted topic is gone from every list."""
    only(admin.create_topics([NewTopic(name, 3, 1)]))

    described = admin.describe_topics(TopicCollection([name]))[name].result(20)
    assert [(p.id, p.leader.id, [r.id for r in p.isr]) for p in described.partitions] == [
        (0, 1, [1]),
        (1, 1, [1]),
        (2, 1, [1]),
    ]
    assert not described.is_internal
    assert set(admin.list_topics(timeout=20).topics[name].partitions) == {0, 1, 2}

    only(admin.delete_topics([name]))
    eventually("the topic is gone", lambda: name not in admin.list_topics(timeout=20).topics)
    assert error_of(admin.delete_topics([name])) == "UNKNOWN_TOPIC_OR_PART"
    assert error_of(admin.describe_topics(TopicCollection([name]))) == "UNKNOWN_TOPIC_OR_PART"


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        (NewTopic("bad/name", 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic("x" * 250, 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic("..", 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic("none", 1, 3), "INVALID_REPLICATION_FACTOR"),
        (NewTopic("none", 1, 1, config={"retention.mss": "1"}), "INVALID_CONFIG"),
        (NewTopic("none", 1, 1, config={"retention.ms": "soon"}), "INVALID_CONFIG"),
        (NewTopic("none", 2, replica_assignment=[[1], [7]]), "INVALID_REPLICA_ASSIGNMENT"),
        (NewTopic("__consumer_offsets", 1, 1), "TOPIC_ALREADY_EXISTS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_topics_that_cannot_be_are_refused(
    shared_broker: Broker, admin: AdminClient, topic: NewTopic, error: str
) -> None:
    """Names, replicas, settings and assignments Kafka refuses, with its errors."""
    consumer = Consumer({"bootstrap.servers": shared_broker.bootstrap, "group.id": "makes-the-offsets-topic"})
    consumer.committed([TopicPartition("any", 0)], 20)
    consumer.close()
    assert error_of(admin.create_topics([topic])) == error


def test_validation_makes_nothing(admin: AdminClient, name: str) -> None:
    """validate_only answers as the creation would, and leaves no topic."""
    only(admin.create_topics([NewTopic(name, 1, 1)], validate_only=True))
    assert error_of(admin.create_topics([NewTopic(name, 1, 9)], validate_only=True)) != ""
    assert name not in admin.list_topics(timeout=20).topics


def test_partitions_are_added_and_used(shared_broker: Broker, admin: AdminClient, name: str) -> None:
    """A running consumer gets the new partitions without a new start; fewer partitions are refused."""
    only(admin.create_topics([NewTopic(name, 1, 1)]))
    consumer = Consumer(
        {
            "bootstrap.servers": shared_broker.bootstrap,
            "group.id": name,
            "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 200,
        }
    )
    consumer.subscribe([name])
    eventually("one partition", lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == 1)

    only(admin.create_partitions([NewPartitions(name, 4)]))
    assert error_of(admin.create_partitions([NewPartitions(name, 2)])) == "INVALID_PARTITIONS"
    eventually("four partitions", lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == 4)
    fill(shared_broker, name, 1, partition=3)
    (message,) = consumer.consume(1, 20)
    consumer.close()
    assert (message.partition(), message.offset()) == (3, 0)


def test_automatic_creation_needs_the_flag_and_the_setting(
    shared_broker: Broker, make_broker: Callable[..., BrokerProcess], name: str
) -> None:
    """A producer's topic is made; a consumer's only where it asks for it; none where the broker forbids it."""

    def look_up(broker: Broker, topic: str, allow: bool) -> None:
        consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap, "group.id": "none", "allow.auto.create.topics": allow}
        )
        consumer.list_topics(topic, timeout=20)
        consumer.close()

    def topics(broker: Broker) -> set[str]:
        return set(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=20).topics)

    fill(shared_broker, name, 1)
    look_up(shared_broker, f"{name}-no", allow=False)
    look_up(shared_broker, f"{name}-yes", allow=True)
    eventually("the topic is made", lambda: f"{name}-yes" in topics(shared_broker))
    assert f"{name}-no" not in topics(shared_broker)

    strict = make_broker(auto_create_topics_enable="false")
    look_up(strict, name, allow=True)
    producer = Producer({"bootstrap.servers": strict.bootstrap, "message.timeout.ms": 1500})
    errors: list[str] = []
    producer.produce(name, b"x", on_delivery=lambda error, _: errors.append(error.name()))
    assert producer.flush(20) == 0
    assert name not in topics(strict)
    assert errors in (["UNKNOWN_TOPIC_OR_PART"], ["_UNKNOWN_TOPIC"], ["_MSG_TIMED_OUT"])


def test_records_are_deleted_up_to_an_offset(shared_broker: Broker, admin: AdminClient, name: str) -> None:
    """The log's start moves; beyond the end is refused; -1 means the end."""
    only(admin.create_topics([NewTopic(name, 1, 1)]))
    fill(shared_broker, name, 10)

    assert only(admin.delete_records([TopicPartition(name, 0, 4)])).low_watermark == 4
    assert error_of(admin.delete_records([TopicPartition(name, 0, 11)])) == "OFFSET_OUT_OF_RANGE"
    assert only(admin.delete_records([TopicPartition(name, 0, -1)])).low_watermark == 10


# --- settings -----------------------------------------------------------------------------------------


def settings_of(admin: AdminClient, kind: ResourceType, name: str) -> dict[str, Any]:
    return only(admin.describe_configs([ConfigResource(kind, name)]))


def test_topic_settings_are_listed_whole_and_changed(admin: AdminClient, name: str) -> None:
    """Every setting with its source; incremental changes set, extend, shorten and reset single ones."""
    only(admin.create_topics([NewTopic(name, 1, 1, config={"retention.ms": "1000"})]))
    before = settings_of(admin, ResourceType.TOPIC, name)
    assert len(before) >= 30
    assert (before["retention.ms"].value, before["retention.ms"].source) == (
        "1000",
        ConfigSource.DYNAMIC_TOPIC_CONFIG.value,
    )
    assert before["segment.bytes"].source == ConfigSource.DEFAULT_CONFIG.value

    def change(setting: str, value: str | None, operation: AlterConfigOpType) -> None:
        entry = ConfigEntry(setting, value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        only(admin.incremental_alter_configs([resource]))

    change("cleanup.policy", "compact", AlterConfigOpType.APPEND)
    change("max.message.bytes", "5000", AlterConfigOpType.SET)
    change("retention.ms", None, AlterConfigOpType.DELETE)
    after = settings_of(admin, ResourceType.TOPIC, name)
    assert after["cleanup.policy"].value == "delete,compact"
    assert after["max.message.bytes"].value == "5000"
    assert after["retention.ms"].is_default
    change("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT)
    assert settings_of(admin, ResourceType.TOPIC, name)["cleanup.policy"].value == "compact"


def test_the_old_way_replaces_all_settings(admin: AdminClient, name: str) -> None:
    """AlterConfigs sets what it names and resets what it does not."""
    only(admin.create_topics([NewTopic(name, 1, 1, config={"retention.ms": "1000"})]))
    resource = ConfigResource(ResourceType.TOPIC, name, set_config={"max.message.bytes": "5000"})
    with pytest.warns(DeprecationWarning, match="alter_configs"):
        only(admin.alter_configs([resource]))
    after = settings_of(admin, ResourceType.TOPIC, name)
    assert (after["max.message.bytes"].value, after["retention.ms"].is_default) == ("5000", True)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("retention.ms", "x"), ("no.such", "1"), ("cleanup.policy", "burn"), ("min.insync.replicas", "0")],
)
def test_settings_that_cannot_be_are_refused(admin: AdminClient, name: str, setting: str, value: str) -> None:
    """With INVALID_CONFIG, whether set or only validated; nothing changes."""
    only(admin.create_topics([NewTopic(name, 1, 1)]))
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    for validate_only in (True, False):
        changed = admin.incremental_alter_configs([resource], validate_only=validate_only)
        assert error_of(changed) == "INVALID_CONFIG"
    assert all(
        entry.source != ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        for entry in settings_of(admin, ResourceType.TOPIC, name).values()
    )


def test_broker_settings_are_listed_and_changed_at_run_time(
    shared_broker: Broker, admin: AdminClient
) -> None:
    """A dynamic broker setting shows its new source and is in force for topics that do not say otherwise."""
    broker_name = "1"
    before = settings_of(admin, ResourceType.BROKER, broker_name)
    assert before["log.retention.ms"].source != ConfigSource.DYNAMIC_BROKER_CONFIG.value
    assert before["node.id"].is_read_only
    topic = shared_broker.create_topic()
    for operation, expected in ((AlterConfigOpType.SET, "123456"), (AlterConfigOpType.DELETE, "604800000")):
        entry = ConfigEntry("log.retention.ms", "123456", incremental_operation=operation)
        resource = ConfigResource(ResourceType.BROKER, broker_name, incremental_configs=[entry])
        only(admin.incremental_alter_configs([resource]))

        def in_force(value: str = expected) -> bool:
            return settings_of(admin, ResourceType.TOPIC, topic)["retention.ms"].value == value

        eventually("the topic follows the broker", in_force)


# --- groups -------------------------------------------------------------------------------------------


def test_groups_are_listed_described_and_deleted(
    shared_broker: Broker, admin: AdminClient, name: str
) -> None:
    """States, members and their partitions; a group with members cannot be deleted, an empty one can."""
    only(admin.create_topics([NewTopic(name, 2, 1)]))
    consumer = Consumer({"bootstrap.servers": shared_broker.bootstrap, "group.id": name, "client.id": "who"})
    consumer.subscribe([name])
    eventually("the member has its partitions", lambda: consumer.poll(0.1) is None and consumer.assignment())

    described = only(admin.describe_consumer_groups([name]))
    assert described.state == ConsumerGroupState.STABLE
    (member,) = described.members
    assert member.client_id == "who"
    assert member.host
    assert {p.partition for p in member.assignment.topic_partitions} == {0, 1}
    stable = admin.list_consumer_groups(states={ConsumerGroupState.STABLE}).result(20).valid
    empty = admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(20).valid
    assert name in {group.group_id for group in stable} - {group.group_id for group in empty}
    assert error_of(admin.delete_consumer_groups([name])) == "NON_EMPTY_GROUP"

    consumer.close()
    eventually(
        "the group is empty",
        lambda: only(admin.describe_consumer_groups([name])).state == ConsumerGroupState.EMPTY,
    )
    only(admin.delete_consumer_groups([name]))
    assert error_of(admin.delete_consumer_groups([name])) == "GROUP_ID_NOT_FOUND"
    gone = only(admin.describe_consumer_groups([name]))
    assert gone.state == ConsumerGroupState.DEAD


def test_offsets_of_a_group_are_altered(shared_broker: Broker, admin: AdminClient, name: str) -> None:
    """While nobody is there: set, listed with their notes; while somebody is: refused."""
    only(admin.create_topics([NewTopic(name, 1, 1)]))
    fill(shared_broker, name, 10)

    def alter(offset: int) -> dict[str, Any]:
        request = ConsumerGroupTopicPartitions(name, [TopicPartition(name, 0, offset, "by hand")])
        return admin.alter_consumer_group_offsets([request])

    only(alter(6))
    listed = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)]))
    assert [(p.offset, p.metadata) for p in listed.topic_partitions] == [(6, "by hand")]

    consumer = Consumer({"bootstrap.servers": shared_broker.bootstrap, "group.id": name})
    consumer.subscribe([name])
    (message,) = consumer.consume(1, 20)
    assert message.value() == b"6"
    refused = only(alter(0)).topic_partitions
    assert [p.error.code() for p in refused] == [KafkaError.UNKNOWN_MEMBER_ID]
    consumer.close()


def test_kafka_python_deletes_offsets_and_removes_members(
    shared_broker: Broker, admin: AdminClient, python_admin: Any, name: str
) -> None:
    """Offsets of topics nobody reads go, those of a subscribed topic stay; a removed member's group is empty."""
    only(admin.create_topics([NewTopic(name, 1, 1)]))
    at, other = kafka.TopicPartition(name, 0), kafka.TopicPartition(shared_broker.create_topic(), 0)
    offsets = {at: kafka.OffsetAndMetadata(1, "", -1), other: kafka.OffsetAndMetadata(2, "", -1)}
    python_admin.alter_group_offsets(name, offsets)
    consumer = Consumer({"bootstrap.servers": shared_broker.bootstrap, "group.id": name})
    consumer.subscribe([name])
    eventually("the member has its partition", lambda: consumer.poll(0.1) is None and consumer.assignment())

    result = python_admin.delete_group_offsets(name, [at, other])
    assert {p.topic: error.__name__ for p, error in result.items()} == {
        at.topic: "GroupSubscribedToTopicError",
        other.topic: "NoError",
    }
    (member,) = python_admin.describe_groups([name])[name]["members"]
    leaver = kafka.admin.MemberToRemove(member_id=member["member_id"])
    assert [error.__name__ for error in python_admin.remove_group_members(name, [leaver]).values()] == [
        "NoError"
    ]
    consumer.close()
    assert set(python_admin.list_group_offsets({name: None})[name]) == {at}


# --- the cluster --------------------------------------------------------------------------------------


def test_the_cluster_is_described(shared_broker: Broker, admin: AdminClient, python_admin: Any) -> None:
    """One node with the address of the listener asked, which is the controller clients are told of."""
    described = admin.describe_cluster(include_authorized_operations=True).result(20)
    assert [(node.id, f"{node.host}:{node.port}") for node in described.nodes] == [
        (1, shared_broker.bootstrap)
    ]
    assert described.controller.id == 1
    assert len(described.cluster_id) == 22
    assert python_admin.describe_cluster()["cluster_id"] == described.cluster_id


def test_log_dirs_and_producers_are_described(shared_broker: Broker, python_admin: Any) -> None:
    """The size of a partition's files, and the idempotent producers whose records it holds."""
    topic = shared_broker.create_topic()
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap, "enable.idempotence": True})
    for i in range(7):
        producer.produce(topic, b"%d" % i, partition=0)
    assert producer.flush(20) == 0

    (told,) = python_admin.describe_log_dirs({topic: [0]})
    (folder,) = told["log_dirs"]
    assert folder["error_code"] == 0
    assert folder["total_bytes"] > folder["usable_bytes"] > 0
    (found,) = [t for t in folder["topics"] if t["name"] == topic]
    (partition,) = found["partitions"]
    assert partition["partition_size"] > 7
    if shared_broker.has_files:
        segment = shared_broker.data / f"{topic}-0" / f"{0:020d}.log"
        assert partition["partition_size"] == segment.stat().st_size

    at = kafka.TopicPartition(topic, 0)
    (state,) = python_admin.describe_producers([at])[at].active_producers
    assert (state.producer_epoch, state.last_sequence) == (0, 6)


def test_topic_partitions_are_described_in_pages(shared_broker: Broker, python_admin: Any) -> None:
    """A limit cuts the answer and its cursor goes on where it was cut (KIP-966)."""
    first, second = sorted((shared_broker.create_topic(3), shared_broker.create_topic(2)))
    page = python_admin.describe_topic_partitions([first, second], response_partition_limit=3)
    seen = [(t["name"], p["partition_index"]) for t in page["topics"] for p in t["partitions"]]
    while page["next_cursor"] is not None:
        page = python_admin.describe_topic_partitions(
            [first, second], response_partition_limit=3, cursor=page["next_cursor"]
        )
        seen += [(t["name"], p["partition_index"]) for t in page["topics"] for p in t["partitions"]]
    assert len(seen) == len(set(seen)) == 5


def test_config_resources_are_listed(shared_broker: Broker, python_admin: Any) -> None:
    """Every topic and broker."""
    topic = shared_broker.create_topic()
    listed = python_admin.list_config_resources()
    assert topic in listed["topic"]
    assert listed["broker"] == ["1"]


def test_aiokafka_administers(shared_broker: Broker, name: str) -> None:
    """Its admin client's older versions of the requests work as well."""

    async def run() -> None:
        client = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=shared_broker.bootstrap)
        await client.start()
        try:
            made = await client.create_topics(
                [aiokafka.admin.NewTopic(name, 2, 1, topic_configs={"retention.ms": "1000"})]
            )
            assert [error for _, error, *_ in made.topic_errors] == [0]
            (described,) = await client.describe_topics([name])
            assert [p["partition"] for p in described["partitions"]] == [0, 1]
            grown = await client.create_partitions({name: aiokafka.admin.NewPartitions(3)})
            assert [error for _, error, *_ in grown.topic_errors] == [0]
            resource = aiokafka.admin.config_resource.ConfigResource(
                aiokafka.admin.config_resource.ConfigResourceType.TOPIC, name, {"retention.ms": "2000"}
            )
            await client.alter_configs([resource])
            (answer,) = await client.describe_configs([resource])
            ((_, _, _, _, settings),) = answer.resources
            assert {s[0]: s[1] for s in settings}["retention.ms"] == "2000"
            assert name in await client.list_topics()
            groups = await client.list_consumer_groups()
            assert all(len(group) >= 2 for group in groups)
            cluster = await client.describe_cluster()
            assert len(cluster["brokers"]) == 1
            gone = await client.delete_topics([name])
            assert [error for _, error in gone.topic_error_codes] == [0]
        finally:
            await client.close()

    asyncio.run(asyncio.wait_for(run(), 30))
