"""What is wrong with a partition, in words."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.reassignments import Reassignment
from moldau_broker.client.metadata import PartitionInfo, TopicInfo
from moldau_cli.health import advise, partition_troubles, replication_factor, topic_state

LIVE = {1, 2, 3}


def partition(
    leader: int = 1, isr: tuple[int, ...] = (1, 2, 3), offline: tuple[int, ...] = ()
) -> PartitionInfo:
    return PartitionInfo(0, leader, 0, (1, 2, 3), isr, offline, ErrorCode.NONE)


@pytest.mark.parametrize(
    ("info", "live", "needed", "words"),
    [
        (partition(), LIVE, 2, []),
        (partition(isr=(1, 2)), LIVE, 2, ["broker 3 is behind"]),
        (partition(isr=(1, 2)), {1, 2}, 2, ["broker 3 is down"]),
        (
            partition(isr=(1,), offline=(2,)),
            LIVE,
            2,
            [
                "acks=all refused: 1 in sync, min.insync.replicas is 2",
                "broker 3 is behind",
                "broker 2 is down",
            ],
        ),
        (
            partition(leader=-1, isr=(2,)),
            {1},
            2,
            [
                "no leader, not readable or writable; it returns with broker 2",
                "broker 1 is behind",
                "brokers 2, 3 are down",
            ],
        ),
        (partition(leader=2), LIVE, 1, ["led by 2, preferred is 1"]),
    ],
    ids=["well", "behind", "down", "under min.insync", "no leader", "moved leader"],
)
def test_partition_troubles_worst_first(
    info: PartitionInfo, live: set[int], needed: int, words: list[str]
) -> None:
    """Leadership, then writability, then redundancy."""
    assert partition_troubles(info, live, needed) == words


def test_a_replica_that_is_behind_says_how_far() -> None:
    """Where its broker told."""
    found = partition_troubles(partition(isr=(1, 2)), LIVE, 2, {1: 0, 3: 1_204})
    assert found == ["broker 3 is behind by 1,204 records"]


def test_a_partition_that_moves_says_where_to() -> None:
    """Who is only coming is not called behind."""
    move = Reassignment((1, 2, 3), (3,), (1,))
    assert partition_troubles(partition(isr=(1, 2)), LIVE, 1, None, move) == ["moving to 2,3"]


@pytest.mark.parametrize(
    ("info", "live", "needed", "words"),
    [
        (partition(), LIVE, 2, []),
        (partition(isr=(1, 2)), LIVE, 2, ["broker 3 should catch up; where that does not end"]),
        (partition(isr=(1, 2)), {1, 2}, 2, ["broker 3 should come back and catch up; `moldau status`"]),
        (
            partition(isr=(1,)),
            {1, 2},
            2,
            ["broker 3 should come back", "broker 2 should catch up", "writers with acks=all wait"],
        ),
        (partition(leader=-1, isr=(2,)), {1, 3}, 2, ["start broker 2 again", "brokers 1, 3 should catch up"]),
        (partition(leader=2), LIVE, 1, ["leaders go back to preferred brokers by themselves; now"]),
    ],
    ids=["well", "behind", "down", "under min.insync", "no leader", "moved leader"],
)
def test_advice_names_what_to_do(info: PartitionInfo, live: set[int], needed: int, words: list[str]) -> None:
    """The most urgent first; nothing when all is well."""
    topic = TopicInfo("t", b"", False, (info,), ErrorCode.NONE)
    found = advise(topic, live, needed)
    assert len(found) == len(words)
    assert all(line.startswith(start) for line, start in zip(found, words, strict=True)), found


def test_topic_state_is_the_worst_of_its_partitions() -> None:
    """One phrase for a list."""

    def topic(*partitions: PartitionInfo, error: ErrorCode = ErrorCode.NONE) -> TopicInfo:
        return TopicInfo("t", bytes(16), False, partitions, error)

    assert topic_state(topic(partition(), partition())) == "ok"
    assert topic_state(topic(partition(), partition(isr=(1,)))) == "1 of 2 under-replicated"
    assert topic_state(topic(partition(leader=-1), partition(isr=(1,)))) == "1 of 2 without leader"
    assert topic_state(topic(error=ErrorCode.INVALID_TOPIC_EXCEPTION)) == "invalid topic exception"
    assert replication_factor(topic(partition())) == 3
    assert replication_factor(topic()) == 0
