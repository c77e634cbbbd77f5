"""The lines of a status: declared topics and groups first, then whatever else the cluster holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from moldau_operator.errors import AdminError
from moldau_operator.local.memory import Memory
from moldau_operator.local.snapshot import (
    UNAVAILABLE,
    UNMANAGED,
    GroupLine,
    PartitionsLine,
    QuorumLine,
    TopicLine,
    VoterLine,
    message_of,
    state_of,
)
from moldau_operator.plan.consumergroup import lag_by_topic
from moldau_operator.reconcile.consumergroup import look_at_groups
from moldau_operator.resources.bundle import Bundle
from moldau_operator.resources.consumergroup import Edge
from moldau_operator.resources.status import GroupStatus, TopicStatus
from moldau_operator.seams.broker_admin import BrokerAdmin, Partition, QuorumView, TopicView

STRANGERS_MAX: Final = 100
"""Undeclared topics and groups shown: a status is a look, and `moldau group list` lists them all."""

COUNTED_PARTITIONS_MAX: Final = 2_000
"""Partitions whose records are counted for a status; two offsets each are asked for."""

UNKNOWN: Final = "Unknown"


class Share(NamedTuple):
    """What one broker has: partitions it leads, holds, and holds in sync."""

    leaders: int = 0
    replicas: int = 0
    in_sync: int = 0


@dataclass(frozen=True, slots=True)
class Overview:
    """Topics and groups as a status shows them, and what each broker has of them."""

    topics: tuple[TopicLine, ...] = ()
    groups: tuple[GroupLine, ...] = ()
    shares: Mapping[int, Share] = field(default_factory=dict)
    partitions: PartitionsLine | None = None
    quorum: QuorumLine | None = None

    def unavailable(self) -> Overview:
        """The same while no broker can be asked: what may have changed since is not claimed."""
        return Overview(
            tuple(
                replace(
                    topic, state=UNAVAILABLE, records=None, under_replicated=None, offline=None, message=""
                )
                for topic in self.topics
            ),
            tuple(replace(one, state=UNKNOWN, members=0, lag=None, message="") for one in self.groups),
        )


def remembered(memory: Memory) -> Overview:
    """What is known while no broker can be asked."""
    topics: dict[str, TopicLine] = {}
    for status in memory.statuses(TopicStatus).values():
        if not status.lost_to and status.topic_name:
            topics[status.topic_name] = TopicLine(
                name=status.topic_name,
                partitions=status.partitions,
                replicas=status.replicas,
                state=UNAVAILABLE,
            )
    groups = [
        GroupLine(id=status.group_id, state=UNKNOWN, members=0, lag=None)
        for status in memory.statuses(GroupStatus).values()
    ]
    return Overview(tuple(topics.values()), tuple(groups))


async def look_around(
    admin: BrokerAdmin, bundle: Bundle, memory: Memory, quorum: QuorumView | None = None
) -> Overview:
    """Ask the brokers for everything a status shows.

    Args:
        quorum: as it was when it was asked last.

    Raises:
        AdminError: they could not be asked.
    """
    everything = await admin.list_topics()
    views = {name: view for name, view in everything.items() if not view.internal}
    records = await _count_records(admin, views)
    declared = _declared_topics(bundle, memory, views, records)
    names = {line.name for line in declared}
    strangers = [
        TopicLine(
            name=view.name,
            partitions=view.partitions,
            replicas=view.replicas,
            state=UNMANAGED,
            records=records.get(view.name),
            under_replicated=view.under_replicated,
            offline=view.leaderless,
        )
        for view in sorted(views.values(), key=lambda one: one.name)
        if view.name not in names
    ]
    groups = await _groups(admin, bundle, memory)
    return Overview(
        (*declared, *strangers[:STRANGERS_MAX]),
        groups,
        _shares(everything.values()),
        PartitionsLine(
            total=sum(view.partitions for view in everything.values()),
            under_replicated=sum(view.under_replicated for view in everything.values()),
            offline=sum(view.leaderless for view in everything.values()),
        ),
        _quorum_line(quorum),
    )


def _shares(views: Iterable[TopicView]) -> dict[int, Share]:
    leaders: Counter[int] = Counter()
    replicas: Counter[int] = Counter()
    in_sync: Counter[int] = Counter()
    for view in views:
        for one in view.placement:
            leaders.update(() if one.leader is None else (one.leader,))
            replicas.update(one.replicas)
            in_sync.update(one.in_sync)
    return {node: Share(leaders[node], replicas[node], in_sync[node]) for node in replicas | leaders}


def _quorum_line(quorum: QuorumView | None) -> QuorumLine | None:
    if quorum is None:
        return None
    voters, observers = (
        tuple(VoterLine(id=one.id, lag=one.lag) for one in members)
        for members in (quorum.voters, quorum.observers)
    )
    return QuorumLine(leader=quorum.leader_id, epoch=quorum.leader_epoch, voters=voters, observers=observers)


def _declared_topics(
    bundle: Bundle, memory: Memory, views: dict[str, TopicView], records: dict[str, int]
) -> list[TopicLine]:
    statuses = memory.statuses(TopicStatus)
    lines: dict[str, TopicLine] = {}
    for topic in bundle.topics:
        status = statuses.get(topic.key)
        name = topic.spec.topic_name
        if status is None or status.lost_to:
            continue  # not looked at yet, or shown by the resource that has the topic
        view = views.get(name)
        lines[name] = TopicLine(
            name=name,
            partitions=view.partitions if view else 0,
            replicas=view.replicas if view else 0,
            state=state_of(status.conditions),
            records=records.get(name),
            message=message_of(status.conditions),
            under_replicated=view.under_replicated if view else None,
            offline=view.leaderless if view else None,
        )
    return list(lines.values())


async def _count_records(admin: BrokerAdmin, views: dict[str, TopicView]) -> dict[str, int]:
    partitions = [
        Partition(name, number) for name, view in views.items() for number in range(view.partitions)
    ]
    if not partitions or len(partitions) > COUNTED_PARTITIONS_MAX:
        return {}
    starts = await admin.offsets_at(partitions, Edge.EARLIEST)
    ends = await admin.offsets_at(partitions, Edge.LATEST)
    counts: dict[str, int] = {}
    unknown: set[str] = set()
    for partition in partitions:
        start, end = starts[partition], ends[partition]
        if isinstance(start, AdminError) or isinstance(end, AdminError):
            unknown.add(partition.topic)
        else:
            counts[partition.topic] = counts.get(partition.topic, 0) + max(end - start, 0)
    return {name: count for name, count in counts.items() if name not in unknown}


async def _groups(admin: BrokerAdmin, bundle: Bundle, memory: Memory) -> tuple[GroupLine, ...]:
    statuses = memory.statuses(GroupStatus)
    lines: dict[str, GroupLine] = {}
    for group in bundle.groups:
        status = statuses.get(group.key)
        if status is not None and group.spec.group_id not in lines:
            lines[group.spec.group_id] = GroupLine(
                id=group.spec.group_id,
                state=status.state or UNKNOWN,
                members=status.members,
                lag=status.lag,
                budget=group.spec.max_lag.records,
                budget_seconds=group.spec.max_lag.seconds,
                message=message_of(status.conditions),
            )
    strangers = [group_id for group_id in await admin.list_groups() if group_id not in lines][:STRANGERS_MAX]
    for group_id, look in (await look_at_groups(admin, strangers)).items():
        if isinstance(look, AdminError):
            lines[group_id] = GroupLine(id=group_id, state=UNKNOWN, members=0, lag=None, message=str(look))
            continue
        by_topic = lag_by_topic(look)
        lag = sum(by_topic.values()) if by_topic is not None and look.committed else None
        lines[group_id] = GroupLine(id=group_id, state=look.view.state, members=look.view.members, lag=lag)
    behind = [line.id for line in lines.values() if line.lag is not None]
    ages = await admin.group_ages(behind) if behind else {}
    return tuple(
        replace(line, lag_seconds=ages[line.id].seconds) if line.id in ages else line
        for line in lines.values()
    )
