"""Creating, growing and deleting topics: every refusal, and what is written otherwise.

Codes and texts are those an Apache Kafka 4.3.1 broker gave to the same requests, unless a docstring says
otherwise.
"""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.broker_config import GroupSettings, TopicDefaults
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.metadata.auto_topics import auto_create_topics
from moldau_broker.metadata.image import BrokerImage, MetadataImage, PartitionImage
from moldau_broker.metadata.operation import ControllerSettings, View
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.metadata.topics_control import create_partitions, create_topics, delete_topics
from moldau_broker.wire.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from moldau_broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicResult,
    CreateTopicsRequest,
)
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState

DIRECTORIES = {broker: (Uuid(bytes([broker]) * 16),) for broker in range(1, 6)}


class State:
    """A controller's state without a log: operations apply at once."""

    def __init__(self, brokers: int = 1, *, fenced: tuple[int, ...] = (), **topics: object) -> None:
        self.settings = ControllerSettings(1, TopicDefaults(**topics), GroupSettings())  # type: ignore[arg-type]
        self.rng = Random(0)
        self.image = MetadataImage(
            "cluster",
            brokers={
                i: BrokerImage(i, 5, NULL_UUID, i in fenced, False, None, {}, directories=DIRECTORIES[i])
                for i in range(1, brokers + 1)
            },
        )

    def run(self, operation, request):
        """The operation's response; its records are replayed."""
        result = operation(View(self.image, self.image.offset + 1, self.settings, self.rng), request)
        replay = ImageReplay(self.image)
        for record in result.records:
            replay.replay(record)
        self.image = replay.image(self.image.offset + len(result.records), 1)
        return result.response

    def create(self, *topics: CreatableTopic, validate_only: bool = False) -> list[CreatableTopicResult]:
        return list(
            self.run(create_topics, CreateTopicsRequest(topics=topics, validate_only=validate_only)).topics
        )

    def grow(self, *topics: CreatePartitionsTopic, validate_only: bool = False):
        return list(
            self.run(
                create_partitions, CreatePartitionsRequest(topics=topics, validate_only=validate_only)
            ).results
        )

    def delete(self, *topics: tuple[str | None, bytes], names: tuple[str, ...] = ()):
        states = [DeleteTopicState(name=name, topic_id=topic_id) for name, topic_id in topics]
        return list(self.run(delete_topics, DeleteTopicsRequest(topics=states, topic_names=names)).responses)


def topic(
    name: str = "t",
    partitions: int = 1,
    factor: int = 1,
    assignments: dict[int, list[int]] | list[tuple[int, list[int]]] = (),
    **configs: str | None,
) -> CreatableTopic:
    pairs = assignments.items() if isinstance(assignments, dict) else assignments
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=factor,
        assignments=[CreatableReplicaAssignment(partition_index=at, broker_ids=ids) for at, ids in pairs],
        configs=[
            CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()
        ],
    )


def manual(assignments: dict[int, list[int]] | list[tuple[int, list[int]]], **other: int) -> CreatableTopic:
    return topic(
        partitions=other.get("partitions", -1), factor=other.get("factor", -1), assignments=assignments
    )


def more(name: str, count: int, *assignments: list[int]) -> CreatePartitionsTopic:
    placed = [CreatePartitionsAssignment(broker_ids=ids) for ids in assignments]
    return CreatePartitionsTopic(name=name, count=count, assignments=placed or None)


# -- create -----------------------------------------------------------------------------------------------


def test_create_topics_writes_topic_settings_and_partitions() -> None:
    """The topic's id is in the answer; the new partitions are led, in sync, and know their directories."""
    state = State()
    (result,) = state.create(topic(partitions=2, retention_ms="5"))
    assert (result.error_code, result.error_message) == (0, None)
    assert (result.num_partitions, result.replication_factor) == (2, 1)
    created = state.image.topics["t"]
    assert created.topic_id == result.topic_id
    expected = PartitionImage((1,), DIRECTORIES[1], (1,), leader=1, leader_epoch=0, partition_epoch=0)
    assert created.partitions == (expected, expected)
    assert state.image.config(2, "t") == {"retention.ms": "5"}


def test_create_topics_echoes_every_setting_with_its_source() -> None:
    """Own settings are source 1, defaults 5 (KIP-525)."""
    (result,) = State().create(topic(retention_ms="5"))
    echoed = {one.name: (one.value, one.config_source) for one in result.configs or ()}
    assert echoed["retention.ms"] == ("5", 1)
    assert echoed["cleanup.policy"] == ("delete", 5)
    assert list(echoed) == sorted(echoed)


def test_create_topics_fills_in_the_brokers_defaults() -> None:
    """-1 is num.partitions and default.replication.factor."""
    state = State(3, num_partitions=6, replication_factor=2)
    (result,) = state.create(topic(partitions=-1, factor=-1))
    assert (result.num_partitions, result.replication_factor) == (6, 2)


def test_create_topics_validate_only_answers_the_same_and_writes_nothing() -> None:
    """Also for what is refused."""
    state = State()
    good, bad = state.create(topic(partitions=3), topic("bad", partitions=0), validate_only=True)
    assert (good.error_code, good.num_partitions) == (0, 3)
    assert bad.error_code == ErrorCode.INVALID_PARTITIONS
    assert state.image.topics == {}


def test_create_topics_takes_a_manual_assignment_as_it_is() -> None:
    """The first replica leads; fenced replicas are not in sync, and not leading."""
    state = State(3, fenced=(2,))
    (result,) = state.create(manual({0: [3, 1], 1: [2, 1]}))
    assert (result.error_code, result.num_partitions, result.replication_factor) == (0, 2, 2)
    first, second = state.image.topics["t"].partitions
    assert (first.replicas, first.isr, first.leader) == ((3, 1), (3, 1), 3)
    assert (second.replicas, second.isr, second.leader) == ((2, 1), (1,), 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "the empty string is not allowed"),
        (".", "'.' is not allowed"),
        ("..", "'..' is not allowed"),
        ("a" * 250, "longer than the max allowed length 249"),
        ("a/b", "other than ASCII alphanumerics"),
        ("x\0y", "other than ASCII alphanumerics"),
        ("ü", "other than ASCII alphanumerics"),
        ("../../x", "other than ASCII alphanumerics"),
        ("a\n", "other than ASCII alphanumerics"),
    ],
)
def test_create_topics_refuses_illegal_names(name: str, text: str) -> None:
    """Before a folder is ever named after them."""
    (result,) = State().create(topic(name))
    assert result.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert text in (result.error_message or "")


def test_create_topics_takes_the_longest_legal_name() -> None:
    """249 characters of every kind."""
    name = ("aZ0._-" * 50)[:249]
    (result,) = State().create(topic(name))
    assert result.error_code == 0


def test_create_topics_refuses_names_that_metrics_cannot_tell_apart() -> None:
    """'.' and '_' are the same there. Kafka looks at existing topics only; we also at the request's own."""
    state = State()
    state.create(topic("a.b"))
    one, two, three = state.create(topic("a_b"), topic("c.d"), topic("c_d"))
    assert (one.error_code, one.error_message) == (17, "Topic 'a_b' collides with existing topic: a.b")
    assert two.error_code == 0
    assert (three.error_code, three.error_message) == (17, "Topic 'c_d' collides with existing topic: c.d")


def test_create_topics_refuses_existing_and_internal_ones() -> None:
    """The metadata log is no topic of clients."""
    state = State()
    state.create(topic("t"))
    again, metadata = state.create(topic("t"), topic("__cluster_metadata"))
    assert (again.error_code, again.error_message) == (36, "Topic 't' already exists.")
    assert metadata.error_code == ErrorCode.INVALID_REQUEST
    assert metadata.error_message == "Creation of internal topic __cluster_metadata is prohibited."


def test_create_topics_refuses_a_name_given_twice_once() -> None:
    """The others of the request are created."""
    state = State()
    twice, other = state.create(topic("tw"), topic("tw"), topic("other"))
    assert (twice.name, twice.error_code, twice.error_message) == ("tw", 42, "Duplicate topic name.")
    assert other.error_code == 0
    assert set(state.image.topics) == {"other"}


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        (topic(partitions=0), ErrorCode.INVALID_PARTITIONS, "non-positive"),
        (topic(partitions=-2), ErrorCode.INVALID_PARTITIONS, "non-positive"),
        (topic(factor=0), ErrorCode.INVALID_REPLICATION_FACTOR, "must be larger than 0"),
        (topic(factor=-2), ErrorCode.INVALID_REPLICATION_FACTOR, "must be larger than 0"),
        (topic(factor=2), ErrorCode.INVALID_REPLICATION_FACTOR, "only 1 broker(s) are registered"),
        (topic(partitions=10_001), ErrorCode.POLICY_VIOLATION, "Excessively large"),
        (topic(partitions=1_000_000), ErrorCode.POLICY_VIOLATION, "Excessively large"),
        (topic(partitions=5_000), ErrorCode.POLICY_VIOLATION, "may hold 4000"),
        (manual({0: [1]}, partitions=1), ErrorCode.INVALID_REQUEST, "numPartitions was not set to -1"),
        (manual({0: [1]}, factor=1), ErrorCode.INVALID_REQUEST, "replication factor was not set to -1"),
        (manual({0: []}), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "empty replica list"),
        (manual({0: [1, 1]}), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "the broker 1 more than once"),
        (manual({0: [7]}), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "broker 7, but no such broker"),
        (manual({0: [-1]}), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "broker -1, but no such broker"),
        (manual({1: [1]}), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "consecutive 0-based"),
        (manual({0: [1], 2: [1]}), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "consecutive 0-based"),
        (manual([(0, [1]), (0, [1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "multiple manual"),
        (topic(retention_ms="x"), ErrorCode.INVALID_CONFIG, "retention.ms=x"),
        (
            topic(retention_ms=None),
            ErrorCode.INVALID_CONFIG,
            "Null value not supported for topic configs: retention.ms",
        ),
        (topic(nope="1"), ErrorCode.INVALID_CONFIG, "Unknown topic config name: nope"),
        (topic(retention_ms="9" * 40_000), ErrorCode.INVALID_CONFIG, "40000 characters"),
        (
            topic(min_compaction_lag_ms="10", max_compaction_lag_ms="5"),
            ErrorCode.INVALID_CONFIG,
            "must not be above",
        ),
        (topic(remote_storage_enable="true"), ErrorCode.INVALID_CONFIG, "not acted on"),
    ],
)
def test_create_topics_refuses(wanted: CreatableTopic, error: ErrorCode, text: str) -> None:
    """One bad topic is refused with a reason, and a good one beside it is created."""
    state = State()
    results = state.create(wanted, topic("good"))
    assert results[0].error_code == error
    assert text in (results[0].error_message or "")
    if error is not ErrorCode.POLICY_VIOLATION or "may hold" in text:
        assert results[1].error_code == 0
        assert set(state.image.topics) == {"good"}


def test_create_topics_needs_consistent_factors_in_an_assignment() -> None:
    """All partitions of a topic have the same number of replicas."""
    (result,) = State(2).create(manual({0: [1], 1: [1, 2]}))
    assert result.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert "which have 1 replica(s)" in (result.error_message or "")


def test_create_topics_needs_a_replica_that_can_lead() -> None:
    """A partition placed on fenced brokers alone would have no leader from birth."""
    (result,) = State(2, fenced=(2,)).create(manual({0: [2]}))
    assert result.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert "fenced" in (result.error_message or "")


def test_create_topics_counts_the_requests_own_partitions_against_the_cap() -> None:
    """A broker's cap binds over all topics of one request, and over all requests."""
    state = State(partitions_per_broker_max=5)
    results = state.create(topic("a", 3), topic("b", 3), topic("c", 2))
    assert [result.error_code for result in results] == [0, ErrorCode.POLICY_VIOLATION, 0]
    (result,) = state.create(topic("d", 1))
    assert result.error_code == ErrorCode.POLICY_VIOLATION


def test_create_topics_bounds_the_text_of_one_request() -> None:
    """What is accepted always fits one atomic batch."""
    wanted = [topic(f"t{i}", retention_ms="9" * 30_000) for i in range(50)]
    assert {result.error_code for result in State().create(*wanted)} == {ErrorCode.POLICY_VIOLATION}


# -- grow -------------------------------------------------------------------------------------------------


def test_create_partitions_continues_the_topic() -> None:
    """New partitions follow the old ones in number, factor and stripe; the old ones stay as they were."""
    state = State(3)
    state.create(topic(partitions=3, factor=2))
    before = state.image.topics["t"].partitions
    (result,) = state.grow(more("t", 6))
    assert (result.name, result.error_code, result.error_message) == ("t", 0, None)
    after = state.image.topics["t"].partitions
    assert after[:3] == before
    assert sorted(partition.leader for partition in after[3:]) == [1, 2, 3]
    assert {len(partition.replicas) for partition in after} == {2}


def test_create_partitions_validate_only_writes_nothing() -> None:
    """The answer is the real one's."""
    state = State()
    state.create(topic())
    (result,) = state.grow(more("t", 5), validate_only=True)
    assert result.error_code == 0
    assert len(state.image.topics["t"].partitions) == 1


def test_create_partitions_takes_a_manual_assignment() -> None:
    """One replica list per added partition."""
    state = State(2)
    state.create(manual({0: [1]}))
    (result,) = state.grow(more("t", 3, [2], [1]))
    assert result.error_code == 0
    assert [partition.replicas for partition in state.image.topics["t"].partitions] == [(1,), (2,), (1,)]


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        (more("t", 2), ErrorCode.INVALID_PARTITIONS, "Topic already has 2 partition(s)."),
        (
            more("t", 1),
            ErrorCode.INVALID_PARTITIONS,
            "The topic t currently has 2 partition(s); 1 would not be an increase.",
        ),
        (more("t", -1), ErrorCode.INVALID_PARTITIONS, "would not be an increase"),
        (more("nope", 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ""),
        (
            more("t", 4, [1]),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (more("t", 3, [7]), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "broker 7"),
        (more("t", 3, [1, 2]), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "which have 1 replica(s)"),
        (more("t", 3, []), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "empty replica list"),
        (more("t", 20_000), ErrorCode.POLICY_VIOLATION, "Excessively large"),
        (more("t", 9_000), ErrorCode.POLICY_VIOLATION, "may hold"),
    ],
)
def test_create_partitions_refuses(wanted: CreatePartitionsTopic, error: ErrorCode, text: str) -> None:
    """A topic never shrinks, and what cannot be placed is not half placed."""
    state = State(2)
    state.create(topic(partitions=2), topic("other"))
    bad, good = state.grow(wanted, more("other", 2))
    assert (bad.error_code, good.error_code) == (error, 0)
    assert text in (bad.error_message or "")
    assert len(state.image.topics["t"].partitions) == 2


def test_create_partitions_refuses_a_topic_given_twice() -> None:
    """Which count would it be?"""
    state = State()
    state.create(topic())
    (result,) = state.grow(more("t", 2), more("t", 3))
    assert (result.error_code, result.error_message) == (42, "Duplicate topic name.")


# -- delete -----------------------------------------------------------------------------------------------


def test_delete_topics_by_name_and_by_id() -> None:
    """The answer carries both, whichever was given."""
    state = State()
    one, two, three = (result.topic_id for result in state.create(topic("a"), topic("b"), topic("c")))
    by_name, by_id = state.delete(("a", NULL_UUID), (None, two))
    assert (by_name.name, by_name.topic_id, by_name.error_code) == ("a", one, 0)
    assert (by_id.name, by_id.topic_id, by_id.error_code) == ("b", two, 0)
    (old_style,) = state.delete(names=("c",))
    assert (old_style.name, old_style.topic_id, old_style.error_code) == ("c", three, 0)
    assert state.image.topics == {}


def test_delete_topics_makes_room_for_a_namesake_with_another_id() -> None:
    """Delete and create again: nobody can mistake one for the other."""
    state = State()
    (first,) = state.create(topic())
    state.delete(("t", NULL_UUID))
    (second,) = state.create(topic())
    assert second.error_code == 0
    assert second.topic_id != first.topic_id


def test_delete_topics_refuses_what_it_cannot_find_or_tell() -> None:
    """Unknown names and ids, both or neither, the same twice in any form."""
    state = State()
    a, b, _ = (result.topic_id for result in state.create(topic("a"), topic("b"), topic("c")))
    unknown = Uuid(b"q" * 16)
    results = state.delete(
        ("nope", NULL_UUID),
        (None, unknown),
        ("c", a),
        (None, NULL_UUID),
        ("a", NULL_UUID),
        (None, a),
        (None, b),
        (None, b),
    )
    assert [(result.error_code, result.error_message) for result in results] == [
        (3, "This server does not host this topic-partition."),
        (100, "This server does not host this topic ID."),
        (42, "You may not specify both topic name and topic id."),
        (42, "Neither topic name nor id were specified."),
        (42, "The provided topic name maps to an ID that was already supplied."),
        (42, "The provided topic name maps to an ID that was already supplied."),
        (42, "Duplicate topic id."),
    ]
    (twice,) = state.delete(("a", NULL_UUID), ("a", NULL_UUID))
    assert (twice.error_code, twice.error_message) == (42, "Duplicate topic name.")
    assert set(state.image.topics) == {"a", "b", "c"}


def test_delete_topics_bounds_one_request() -> None:
    """More topics than an atomic write holds are refused, not half deleted."""
    state = State()
    state.create(topic())
    results = state.delete(*((f"t{i}", NULL_UUID) for i in range(10_001)))
    assert {result.error_code for result in results} == {ErrorCode.POLICY_VIOLATION}


# -- internal and auto-created topics ---------------------------------------------------------------------


@pytest.mark.parametrize(("brokers", "factor"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_auto_create_offsets_topic_has_kafkas_settings(brokers: int, factor: int) -> None:
    """Fifty compacted partitions, replicated to min(3, brokers)."""
    state = State(brokers)
    (result,) = state.run(auto_create_topics, ["__consumer_offsets"]).topics
    assert (result.error_code, result.num_partitions, result.replication_factor) == (0, 50, factor)
    assert state.image.config(2, "__consumer_offsets") == {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": "104857600",
    }


def test_auto_create_uses_defaults_and_names_each_topic_once() -> None:
    """Asked for twice in one go is created once."""
    state = State(num_partitions=4)
    results = state.run(auto_create_topics, ["a", "a", "x/y"]).topics
    assert [(result.name, result.error_code, result.num_partitions) for result in results] == [
        ("a", 0, 4),
        ("x/y", ErrorCode.INVALID_TOPIC_EXCEPTION, -1),
    ]
