"""Nodes that are no longer declared: emptied, taken out of the quorum, stopped and forgotten, one at a time. Pure.

Every step is decided from what is there, so a plan that was interrupted anywhere goes on from there. What cannot be
done is refused in words before anything moves: too few brokers for a replication factor, a rack or a disk too small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from moldau_operator.names import counted
from moldau_operator.plan.actions import (
    BrokerAction,
    DrainBroker,
    MoveReplicas,
    RemoveVoter,
    UnregisterBroker,
)
from moldau_operator.plan.packing import PackBroker, PackPartition, pack_replicas
from moldau_operator.plan.replicas import MOVES_MAX, choose_replicas, replica_counts
from moldau_operator.seams.broker_admin import (
    ClusterView,
    DrainView,
    MoveView,
    Partition,
    QuorumView,
    TopicView,
)
from moldau_operator.seams.platform import RetireNode

TOPICS_NAMED: Final = 5
"""Topics named in a refusal; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeen:
    """What the brokers say, asked for once a pass.

    Attributes:
        view, quorum: None while nobody could be asked.
        topics: all of them.
        wanted_replicas: what Topic resources declare, by topic name.
        overrides: settings that all brokers were given while they run; None while nobody could be asked.

    Asked for only while nodes leave:
        moves: under way.
        sizes: bytes of one replica, by partition.
        drains: by broker id.
    """

    view: ClusterView | None = None
    quorum: QuorumView | None = None
    topics: Mapping[str, TopicView] = field(default_factory=dict)
    wanted_replicas: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, str] | None = None
    moves: Mapping[Partition, MoveView] = field(default_factory=dict)
    sizes: Mapping[Partition, int] = field(default_factory=dict)
    drains: Mapping[int, DrainView] = field(default_factory=dict)

    def replicas_on(self, broker_id: int) -> int:
        """Partitions that live on a broker."""
        return sum(broker_id in one.replicas for topic in self.topics.values() for one in topic.placement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """The next step, if one is due; what is waited for, in words; or why nothing is done, in words."""

    actions: tuple[BrokerAction | RetireNode, ...] = ()
    waiting: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A broker that stays: its rack, and the bytes its disk holds where that is declared."""

    id: int
    rack: str | None = None
    capacity: int | None = None


def plan_departure(leaving: Sequence[int], staying: Sequence[Stay], seen: ClusterSeen) -> Departure:
    """The next step towards being without the leaving nodes, highest id first."""
    node = max(leaving)
    if seen.view is None or seen.quorum is None:
        return Departure(waiting=f"node {node} leaves once the brokers can be asked")
    words = refuse_departure(leaving, staying, seen)
    if words:
        return Departure(refusal=words)
    shrink = _shrink_internal(staying, seen)
    if shrink is not None:
        return shrink
    held = seen.replicas_on(node)
    progress = seen.drains.get(node)
    if held or (progress is not None and progress.replicas_left):
        left = held if progress is None else max(held, progress.replicas_left)
        waiting = f"node {node} is drained: {counted(left, 'replica')} left"
        if progress is not None and progress.bytes_left:
            waiting += f", {progress.bytes_left / 1e6:,.1f} MB"
        if progress is not None and progress.draining:
            return Departure(waiting=waiting)
        reason = f"it is no longer declared and holds {counted(left, 'replica')}"
        return Departure(actions=(DrainBroker(broker_id=node, reason=reason),), waiting=waiting)
    if progress is not None and not progress.draining:
        # Even an empty broker is marked first, or new partitions could be placed on it until it is gone.
        return Departure(actions=(DrainBroker(broker_id=node, reason="it is no longer declared"),))
    steps: list[BrokerAction | RetireNode] = []
    voter = seen.quorum.voter(node)
    if voter is not None:
        if len(seen.quorum.voters) == 1:
            return Departure(waiting=f"node {node} is the only voter; another one has to join first")
        steps.append(RemoveVoter(voter=voter, reason="it is drained"))
    # In the same pass, so that it does not ask to be a voter again meanwhile.
    steps.append(RetireNode(node_id=node, reason="it is drained; everything it held lives on other nodes"))
    return Departure(actions=tuple(steps))


def plan_forgotten(members: Collection[int], seen: ClusterSeen) -> tuple[BrokerAction, ...]:
    """What is left in the metadata of nodes that are gone for good.

    Args:
        members: every node that is declared or not removed yet.
    """
    steps: list[BrokerAction] = []
    if seen.quorum is not None and len(seen.quorum.voters) > 1:
        strangers = [voter for voter in seen.quorum.voters if voter.id not in members]
        steps += [
            RemoveVoter(voter=voter, reason="there is no such node any more") for voter in strangers[:1]
        ]
    if seen.view is not None:
        steps += [
            UnregisterBroker(broker_id=broker, reason="there is no such node any more")
            for broker in seen.view.fenced_ids
            if broker not in members and not seen.replicas_on(broker)
        ]
    return tuple(steps)


def refuse_departure(leaving: Sequence[int], staying: Sequence[Stay], seen: ClusterSeen) -> str:
    """Why the nodes cannot leave, and what to change; empty when they can."""
    left, gone = len(staying), frozenset(leaving)
    if not left:
        return "no broker would be left: keep one"
    many = [
        topic.name for topic in seen.topics.values() if not topic.internal and _replicas(topic, seen) > left
    ]
    if many:
        replicas = max(_replicas(seen.topics[name], seen) for name in many)
        return (
            f"{counted(left, 'broker')} would be left, but {_listed(many)} {'has' if len(many) == 1 else 'have'} "
            f"up to {replicas} replicas: lower spec.replicas of the topics first, or keep {replicas} nodes"
        )
    partitions = [
        PackPartition(
            (topic.name, number),
            _stays(one.replicas, min(_replicas(topic, seen), left), gone),
            seen.sizes.get(Partition(topic.name, number), 0),
        )
        for topic in seen.topics.values()
        for number, one in enumerate(topic.placement)
    ]
    brokers = [PackBroker(one.id, one.rack, one.capacity) for one in staying]
    if not _homeless(partitions, brokers, leaving):
        return ""
    homeless = _homeless(partitions, [PackBroker(one.id, one.rack) for one in staying], leaving)
    if homeless:
        return (
            f"the racks that would be left cannot hold {_listed(homeless)} apart: keep a node in another rack, or "
            "lower spec.replicas of the topics"
        )
    size = sum(one.size for one in partitions for node in one.replicas if node in gone)
    return (
        f"{size / 1e9:,.1f} GB would have to move, and the disks that would be left are too small: raise "
        "spec.storage.size, delete records, or keep the nodes"
    )


def _homeless(
    partitions: Sequence[PackPartition], staying: Sequence[PackBroker], leaving: Sequence[int]
) -> list[str]:
    """Topics with a replica on a leaving node that fits nowhere else."""
    going = [PackBroker(node) for node in leaving]
    plan = pack_replicas(partitions, [*staying, *going], leaving=leaving)
    return sorted({topic for (topic, _), source in plan.homeless if source in leaving})


def _stays(replicas: tuple[int, ...], factor: int, leaving: frozenset[int]) -> tuple[int, ...]:
    """The replicas once the factor is what it will be: those on nodes that leave go first."""
    return tuple(sorted(replicas, key=lambda node: node in leaving))[:factor]


def _shrink_internal(staying: Sequence[Stay], seen: ClusterSeen) -> Departure | None:
    """Topics of the brokers' own have as many replicas as fit; nobody declares them, so they follow."""
    brokers = {one.id: one.rack for one in staying}
    targets: dict[Partition, tuple[int, ...]] = {}
    wide = [t for t in seen.topics.values() if t.internal and t.replicas > len(brokers)]
    if not wide:
        return None
    load = replica_counts([topic.placement for topic in seen.topics.values()])
    for topic in wide:
        for number, replicas in choose_replicas(topic.placement, len(brokers), brokers, load).items():
            targets[Partition(topic.name, number)] = replicas
    names = _listed([topic.name for topic in wide])
    waiting = f"{names} {'goes' if len(wide) == 1 else 'go'} down to {counted(len(brokers), 'replica')}"
    fresh = dict([(at, to) for at, to in targets.items() if at not in seen.moves][:MOVES_MAX])
    if not fresh or len(seen.moves) >= MOVES_MAX:
        return Departure(waiting=waiting)
    return Departure(actions=(MoveReplicas(targets=fresh, reason=waiting),), waiting=waiting)


def _replicas(topic: TopicView, seen: ClusterSeen) -> int:
    """A topic's replicas once its resource is carried out."""
    return min(topic.replicas, seen.wanted_replicas.get(topic.name, topic.replicas))


def _listed(topics: Sequence[str]) -> str:
    shown = ", ".join(sorted(topics)[:TOPICS_NAMED])
    more = len(topics) - TOPICS_NAMED
    return f"topic{'' if len(topics) == 1 else 's'} {shown}" + (f" and {more} more" if more > 0 else "")
