"""Replicas move (KIP-455): begun, completed, replaced, cancelled, refused, listed."""

from __future__ import annotations

from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import NO_LEADER, RECOVERING
from moldau_broker.testing.control import ControlBench, directory_id
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopic,
)
from moldau_broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsTopics,
)


@pytest.fixture
def cluster() -> ControlBench:
    """Six brokers, topic t on 1, 2, 3 with two that must be in sync."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3, 4, 5, 6)
    bench.create_topic("t", [[1, 2, 3]], min_insync_replicas="2")
    return bench


def move(
    cluster: ControlBench, replicas: list[int] | None, topic: str = "t", index: int = 0, **request: Any
) -> ReassignablePartitionResponse:
    response = cluster.ask(
        ApiKey.ALTER_PARTITION_REASSIGNMENTS,
        AlterPartitionReassignmentsRequest(
            topics=[
                ReassignableTopic(
                    name=topic,
                    partitions=[ReassignablePartition(partition_index=index, replicas=replicas)],
                )
            ],
            **request,
        ),
    )
    assert (response.error_code, response.error_message) == (0, None)
    answer = response.responses[0].partitions[0]
    assert isinstance(answer, ReassignablePartitionResponse)
    return answer


def test_reassignment_adds_first_and_removes_when_the_added_are_in_sync(cluster: ControlBench) -> None:
    """The leader's AlterPartition that brings the last one in completes it, and moves the leadership."""
    assert move(cluster, [4, 5, 6]).error_code == 0
    moving = cluster.partition("t")
    assert (moving.replicas, moving.adding, moving.removing) == ((4, 5, 6, 1, 2, 3), (4, 5, 6), (1, 2, 3))
    assert moving.directory_of(5) == directory_id(5)
    assert (moving.isr, moving.leader) == ((1, 2, 3), 1)
    cluster.alter_isr("t", [1, 2, 3, 4, 5])
    assert cluster.partition("t").adding == (4, 5, 6)
    answer = cluster.alter_isr("t", [1, 2, 3, 4, 5, 6])
    assert answer.error_code == ErrorCode.NEW_LEADER_ELECTED
    done = cluster.partition("t")
    assert (done.replicas, done.adding, done.removing) == ((4, 5, 6), (), ())
    assert (done.isr, done.leader) == ((4, 5, 6), 4)
    assert len(done.directories) == 3


def test_reassignment_under_a_leader_that_stays_begins_a_new_epoch(cluster: ControlBench) -> None:
    """Who is no replica any more must not go on fetching under the old one."""
    move(cluster, [1, 4])
    answer = cluster.alter_isr("t", [1, 2, 3, 4])
    done = cluster.partition("t")
    assert (answer.error_code, done.replicas, done.isr, done.leader) == (0, (1, 4), (1, 4), 1)
    assert done.leader_epoch == 1


def test_reordering_completes_at_once(cluster: ControlBench) -> None:
    """Only the preferred leader changes; nobody is moved."""
    move(cluster, [3, 2, 1])
    done = cluster.partition("t")
    assert (done.replicas, done.leader, done.leader_epoch, done.removing) == ((3, 2, 1), 1, 0, ())


def test_removal_waits_until_enough_stay_in_sync(cluster: ControlBench) -> None:
    """Kafka takes one: the partition would refuse acks=all from then on."""
    cluster.alter_isr("t", [1, 3])
    move(cluster, [1, 2])
    assert cluster.partition("t").removing == (3,)
    cluster.alter_isr("t", [1, 3, 2])
    done = cluster.partition("t")
    assert (done.replicas, done.isr) == ((1, 2), (1, 2))


def test_reassignment_asked_twice_still_waits_for_all_it_adds(cluster: ControlBench) -> None:
    """Kafka takes what is being added for granted the second time, and drops the others at once."""
    move(cluster, [4, 2, 3])
    move(cluster, [4, 2, 3])
    moving = cluster.partition("t")
    assert (moving.replicas, moving.adding, moving.removing) == ((4, 2, 3, 1), (4,), (1,))


def test_reassignment_replaces_the_one_under_way(cluster: ControlBench) -> None:
    """What the first was adding goes at once, unless it already counts for acks=all."""
    move(cluster, [4, 5, 3])
    cluster.alter_isr("t", [1, 2, 3, 4])
    move(cluster, [6, 2, 3])
    moving = cluster.partition("t")
    assert (moving.replicas, moving.adding, moving.removing) == ((6, 2, 3, 1), (6,), (1,))
    assert moving.isr == (1, 2, 3)


def test_replaced_reassignment_keeps_what_it_added_while_it_is_needed(cluster: ControlBench) -> None:
    """The ISR must not fall below min.insync.replicas by a change of mind."""
    move(cluster, [1, 2, 3, 4, 6])
    cluster.alter_isr("t", [1, 4])
    move(cluster, [1, 2, 5])
    moving = cluster.partition("t")
    assert (moving.isr, moving.adding, moving.removing) == ((1, 4), (5,), (3, 4, 6))


def test_cancel_goes_back(cluster: ControlBench) -> None:
    """To the replicas from before, in the order the move left them in."""
    move(cluster, [4, 2, 3])
    cluster.alter_isr("t", [1, 2, 3])
    assert move(cluster, None).error_code == 0
    back = cluster.partition("t")
    assert (sorted(back.replicas), back.adding, back.removing) == ([1, 2, 3], (), ())
    assert back.leader == 1


def test_cancel_of_nothing_is_refused(cluster: ControlBench) -> None:
    """In Kafka's words."""
    answer = move(cluster, None)
    assert answer.error_code == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
    assert answer.error_message == "No partition reassignment is in progress."


def test_cancel_that_would_lose_records_needs_leave(cluster: ControlBench) -> None:
    """Everybody in sync is one that was added: going back is an unclean election."""
    for topic, allowed in (("dear", "false"), ("cheap", "true")):
        cluster.create_topic(topic, [[1, 2]], unclean_leader_election_enable=allowed)
        move(cluster, [3, 4], topic)
        cluster.alter_isr(topic, [1, 3])
    for broker in (1, 2):
        cluster.kill(broker)
    refused = move(cluster, None, "dear")
    assert refused.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert "unclean leader election" in (refused.error_message or "")
    cluster.restart(2)
    assert move(cluster, None, "cheap").error_code == 0
    back = cluster.partition("cheap")
    assert (back.leader, back.isr, back.leader_recovery_state) == (2, (2,), RECOVERING)


@pytest.mark.parametrize(
    ("topic", "index", "replicas", "error"),
    [
        ("t", 0, [], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ("t", 0, [1, 1], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ("t", 0, [1, 99], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ("t", 7, [1], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("nope", 0, [1], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
def test_reassignment_is_refused(
    cluster: ControlBench, topic: str, index: int, replicas: list[int], error: ErrorCode
) -> None:
    """And changes nothing."""
    before = cluster.image
    assert move(cluster, replicas, topic, index).error_code == error
    assert cluster.image is before


def test_replication_factor_changes_only_where_it_may(cluster: ControlBench) -> None:
    """The flag of version 1 (KIP-860); the factor meant is the one the move under way leads to."""
    refused = move(cluster, [1, 2], allow_replication_factor_change=False)
    assert refused.error_code == ErrorCode.INVALID_REPLICATION_FACTOR
    assert refused.error_message == "The replication factor is changed from 3 to 2"
    assert move(cluster, [1, 2, 3, 4]).error_code == 0
    assert move(cluster, [1, 2, 5, 4], allow_replication_factor_change=False).error_code == 0


def test_reassignment_respects_what_a_broker_may_hold() -> None:
    """Replicas on their way count."""
    bench = ControlBench()
    bench.settings = bench.settings._replace(topics=type(bench.settings.topics)(partitions_per_broker_max=1))
    bench.add_brokers(1, 2, 3)
    bench.create_topic("t", [[1], [2]])
    assert move(bench, [3]).error_code == 0
    assert move(bench, [3], index=1).error_code == ErrorCode.POLICY_VIOLATION


def test_reassignment_with_a_dead_leader_goes_on(cluster: ControlBench) -> None:
    """Deaths and moves mix: the ISR shrinks, somebody else leads, the added still have to come in."""
    move(cluster, [4, 5, 6])
    cluster.kill(1)
    cluster.kill(4)
    moving = cluster.partition("t")
    assert (moving.leader, moving.isr, moving.adding) == (2, (2, 3), (4, 5, 6))
    cluster.restart(4)
    cluster.alter_isr("t", [2, 3, 4, 5, 6])
    done = cluster.partition("t")
    assert (done.replicas, done.leader) == ((4, 5, 6), 4)


def test_removed_replica_is_in_no_elr(cluster: ControlBench) -> None:
    """It will not be there to lead."""
    cluster.kill(3)
    cluster.kill(2)
    assert cluster.partition("t").elr == (2,)
    move(cluster, [1])
    assert cluster.partition("t").removing == ()
    done = cluster.partition("t")
    assert (done.replicas, done.elr, done.isr) == ((1,), (), (1,))
    cluster.kill(1)
    assert cluster.partition("t").leader == NO_LEADER


def test_moves_are_listed(cluster: ControlBench) -> None:
    """All of them, or those asked for that are under way."""
    cluster.create_topic("u", [[1, 2], [2, 3]])
    move(cluster, [4, 2, 3])
    move(cluster, [5, 3], "u", 1)
    everything = cluster.ask(
        ApiKey.LIST_PARTITION_REASSIGNMENTS, ListPartitionReassignmentsRequest(topics=None)
    )
    assert [topic.name for topic in everything.topics] == ["t", "u"]
    one = everything.topics[1].partitions[0]
    assert (one.partition_index, one.replicas) == (1, (5, 3, 2))
    assert (one.adding_replicas, one.removing_replicas) == ((5,), (2,))
    some = cluster.ask(
        ApiKey.LIST_PARTITION_REASSIGNMENTS,
        ListPartitionReassignmentsRequest(
            topics=[
                ListPartitionReassignmentsTopics(name="u", partition_indexes=[0, 9]),
                ListPartitionReassignmentsTopics(name="nope", partition_indexes=[0]),
            ]
        ),
    )
    assert (some.topics, some.error_message) == ([], None)
