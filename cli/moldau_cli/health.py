"""What is wrong with a partition or topic, in words. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.reassignments import Reassignment
from moldau_broker.client.metadata import NO_LEADER, PartitionInfo, TopicInfo
from moldau_cli.out_of_sync import OutOfSync


def partition_troubles(
    info: PartitionInfo,
    live: Collection[int],
    min_insync: int = 1,
    lags: Mapping[int, int] | None = None,
    move: Reassignment | None = None,
    absences: Mapping[int, OutOfSync] | None = None,
) -> list[str]:
    """Everything a person should know, worst first; empty when all is well.

    Args:
        info: the partition.
        live: ids of the brokers that are up.
        min_insync: the topic's min.insync.replicas.
        lags: records that replicas lack, by broker, where they said so.
        move: where it is being moved to, if it is.
        absences: since when replicas are out of sync, by broker, where the leader said so.
    """
    known = absences or {}
    down = [node for node in info.replicas if node in info.offline or node not in live]
    troubles: list[str] = []
    if info.leader == NO_LEADER:
        who = f"; it returns with {_brokers(info.isr)}" if info.isr else ""
        troubles.append(f"no leader, not readable or writable{who}")
    elif len(info.isr) < min_insync:
        troubles.append(f"acks=all refused: {len(info.isr)} in sync, min.insync.replicas is {min_insync}")
    behind = [node for node in info.replicas if node not in info.isr]
    adding = move.adding if move is not None else ()
    behind_up = [node for node in behind if node not in down and node not in adding]
    troubles += [
        f"{_brokers([node])} {known[node].words((lags or {}).get(node, 0))}"
        for node in behind_up
        if node in known
    ]
    if silent := [node for node in behind_up if node not in known]:
        lag = max((lags or {}).get(node, 0) for node in silent)
        far = f" by {lag:,} records" if lag else ""
        troubles.append(f"{_brokers(silent)} {'is' if len(silent) == 1 else 'are'} behind{far}")
    troubles += [f"{_brokers([node])} is down, {known[node].words()}" for node in down if node in known]
    if silent := [node for node in down if node not in known]:
        troubles.append(f"{_brokers(silent)} {'is' if len(silent) == 1 else 'are'} down")
    if move is not None:
        troubles.append(f"moving to {','.join(map(str, move.target))}")
    if not troubles and info.replicas and info.leader != info.replicas[0]:
        troubles.append(f"led by {info.leader}, preferred is {info.replicas[0]}")
    return troubles


def advise(topic: TopicInfo, live: Collection[int], min_insync: int = 1) -> list[str]:
    """What a person can do about a topic's partitions, most urgent first; empty when all is well."""
    lost = {node for p in topic.partitions if p.leader == NO_LEADER for node in (p.isr or p.replicas)}
    down = {n for p in topic.partitions for n in p.replicas if n in p.offline or n not in live} - lost
    behind = {n for p in topic.partitions for n in p.replicas if n not in p.isr} - down - lost
    refused = any(p.leader != NO_LEADER and len(p.isr) < min_insync for p in topic.partitions)
    moved = any(p.leader != p.replicas[0] for p in topic.partitions if p.replicas and p.leader != NO_LEADER)
    advice = []
    if lost:
        advice.append(f"start {_brokers(sorted(lost))} again: what was acknowledged last lies there alone")
    if down:
        where = "`moldau status` says why it does not run" if len(down) == 1 else "`moldau status` says why"
        advice.append(f"{_brokers(sorted(down))} should come back and catch up; {where}")
    if behind:
        advice.append(
            f"{_brokers(sorted(behind))} should catch up; where that does not end, look at its log and its disk"
        )
    if refused:
        advice.append(
            "writers with acks=all wait until enough replicas are in sync; what is there can still be read"
        )
    if moved and not advice:
        advice.append("leaders go back to preferred brokers by themselves; now: `moldau cluster elect`")
    return advice


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
