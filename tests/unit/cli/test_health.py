"""What is wrong with a partition, in words."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.metadata import PartitionInfo, TopicInfo
from moldau_cli.health import partition_troubles, replication_factor, topic_state

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
