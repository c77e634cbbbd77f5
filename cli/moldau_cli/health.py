"""What is wrong with a partition or topic, in words. Pure."""

from __future__ import annotations

from collections.abc import Collection

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.metadata import NO_LEADER, PartitionInfo, TopicInfo


def partition_troubles(info: PartitionInfo, live: Collection[int], min_insync: int = 1) -> list[str]:
    """Everything a person should know, worst first; empty when all is well.

    Args:
        info: the partition.
        live: ids of the brokers that are up.
        min_insync: the topic's min.insync.replicas.
    """
    down = [node for node in info.replicas if node in info.offline or node not in live]
    troubles: list[str] = []
    if info.leader == NO_LEADER:
        who = f"; it returns with {_brokers(info.isr)}" if info.isr else ""
        troubles.append(f"no leader, not readable or writable{who}")
    elif len(info.isr) < min_insync:
        troubles.append(f"acks=all refused: {len(info.isr)} in sync, min.insync.replicas is {min_insync}")
    behind = [node for node in info.replicas if node not in info.isr]
    if behind_up := [node for node in behind if node not in down]:
        troubles.append(f"{_brokers(behind_up)} {'is' if len(behind_up) == 1 else 'are'} behind")
    if down:
        troubles.append(f"{_brokers(down)} {'is' if len(down) == 1 else 'are'} down")
    if not troubles and info.replicas and info.leader != info.replicas[0]:
        troubles.append(f"led by {info.leader}, preferred is {info.replicas[0]}")
    return troubles


def topic_state(topic: TopicInfo) -> str:
    """One word or two for a list: ok, or the worst that any partition has."""
    if topic.error is not ErrorCode.NONE:
        return topic.error.name.replace("_", " ").lower()
    leaderless = sum(p.leader == NO_LEADER for p in topic.partitions)
    if leaderless:
        return f"{leaderless} of {len(topic.partitions)} without leader"
    under = sum(len(p.isr) < len(p.replicas) for p in topic.partitions)
    if under:
        return f"{under} of {len(topic.partitions)} under-replicated"
    return "ok"


def replication_factor(topic: TopicInfo) -> int:
    """The number of replicas of the best-replicated partition (they differ only during a reassignment)."""
    return max((len(p.replicas) for p in topic.partitions), default=0)


def _brokers(nodes: Collection[int]) -> str:
    names = ", ".join(str(node) for node in nodes)
    return f"broker {names}" if len(nodes) == 1 else f"brokers {names}"
