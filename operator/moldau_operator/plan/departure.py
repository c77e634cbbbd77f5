"""Nodes that are no longer declared: emptied, taken out of the quorum, stopped and forgotten, one at a time. Pure.

Every step is decided from what is there, so a plan that was interrupted anywhere goes on from there. What cannot be
done is refused in words before anything moves: too few brokers for a replication factor, a rack or a disk too small.

The brokers' own topics are kept at as many replicas as there are brokers, and the controller raises them again at once.
Where one has more replicas than will fit, the node stops with its share, of which others have a copy, and the share
is taken off the list of replicas afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from moldau_operator.names import counted
from moldau_operator.plan.actions import (
    BrokerAction,
    MoveReplicas,
    RemoveVoter,
    UnregisterBroker,
)
from moldau_operator.plan.execution import IN_FLIGHT_MAX
from moldau_operator.plan.fair_share import rack_max
from moldau_operator.plan.packing import PackBroker, PackPartition, rehouse_replicas
from moldau_operator.seams.broker_admin import (
    ClusterView,
    MoveView,
    Partition,
    PartitionView,
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
    """

    view: ClusterView | None = None
    quorum: QuorumView | None = None
    topics: Mapping[str, TopicView] = field(default_factory=dict)
    wanted_replicas: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, str] | None = None
    moves: Mapping[Partition, MoveView] = field(default_factory=dict)
    sizes: Mapping[Partition, int] = field(default_factory=dict)

    def living_on(self, broker_id: int) -> Iterator[tuple[TopicView, int, PartitionView]]:
        """Partitions that live on a broker: topic, number, where."""
        for topic in self.topics.values():
            for number, one in enumerate(topic.placement):
                if broker_id in one.replicas:
                    yield topic, number, one


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
    left = len({*seen.view.broker_ids, *seen.view.fenced_ids} - {node})
    stuck = [
        (topic, number, one)
        for topic, number, one in seen.living_on(node)
        if not (topic.internal and len(one.replicas) > left)
    ]
    if stuck:
        return _drain(node, [one.id for one in staying], stuck, staying, seen)
    alone = [
        f"{topic.name}-{number}" for topic, number, one in seen.living_on(node) if one.in_sync == (node,)
    ]
    if alone:
        return Departure(waiting=f"node {node} has the only copy of {alone[0]} that is in sync")
    steps: list[BrokerAction | RetireNode] = []
    voter = seen.quorum.voter(node)
    if voter is not None:
        if len(seen.quorum.voters) == 1:
            return Departure(waiting=f"node {node} is the only voter; another one has to join first")
        steps.append(RemoveVoter(voter=voter, reason="it is drained"))
    # In the same pass: what was a voter does not ask to be one again while it runs, but might after a restart.
    steps.append(RetireNode(node_id=node, reason="it is drained; everything it held lives on other nodes"))
    return Departure(actions=tuple(steps))


def _drain(
    node: int,
    homes: Collection[int],
    stuck: Sequence[tuple[TopicView, int, PartitionView]],
    staying: Sequence[Stay],
    seen: ClusterSeen,
) -> Departure:
    """Moves of what lives on a node to nodes that stay, so many at once."""
    size = sum(seen.sizes.get(Partition(topic.name, number), 0) for topic, number, _ in stuck)
    waiting = f"node {node} is drained: {counted(len(stuck), 'replica')} left, {size / 1e6:,.1f} MB"
    assert seen.view is not None
    # What nobody declares cannot shrink yet, and lives with nodes that leave later as long as it must.
    longer = [Stay(id=one) for one in seen.view.broker_ids if one != node and one not in homes]
    clinging = any(topic.internal and len(one.replicas) > len(homes) for topic, _, one in stuck)
    packed = _rehoused(seen, staying)
    clung = _rehoused(seen, [*staying, *longer]) if clinging else {}
    targets: dict[Partition, tuple[int, ...]] = {}
    for topic, number, one in stuck:
        place = Partition(topic.name, number)
        clings = topic.internal and len(one.replicas) > len(homes)
        stays = {*homes, *(other.id for other in longer)} if clings else homes
        elsewhere = (clung if clings else packed).get(place, {})
        if place in seen.moves or any(held not in stays and held not in elsewhere for held in one.replicas):
            continue  # on its way, or its own resource lowers its replicas first
        if len(targets) + len(seen.moves) < IN_FLIGHT_MAX:
            # Who stays keeps its place in the list, and who comes stands behind: it has to copy before it may lead.
            targets[place] = (*(held for held in one.replicas if held in stays), *elsewhere.values())
    if not targets:
        return Departure(waiting=waiting)
    reason = f"node {node} is no longer declared"
    return Departure(actions=(MoveReplicas(targets=targets, reason=reason),), waiting=waiting)


def _rehoused(seen: ClusterSeen, staying: Sequence[Stay]) -> dict[Partition, dict[int, int]]:
    """Where every replica goes that cannot stay, by its broker: racks and disks kept, bytes and counts spread."""
    partitions = [
        PackPartition((topic.name, number), one.replicas, seen.sizes.get(Partition(topic.name, number), 0))
        for topic in seen.topics.values()
        for number, one in enumerate(topic.placement)
    ]
    seen_racks = seen.view.racks if seen.view is not None else {}
    homes = [PackBroker(one.id, one.rack or seen_racks.get(one.id), one.capacity) for one in staying]
    stays = {one.id for one in staying}
    going = sorted({node for one in partitions for node in one.replicas} - stays)
    found: dict[Partition, dict[int, int]] = {}
    for move in rehouse_replicas(partitions, [*homes, *map(PackBroker, going)], leaving=going).moves:
        if move.source not in stays:
            found.setdefault(Partition(*move.name), {})[move.source] = move.target
    return found


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
    if seen.view is None:
        return tuple(steps)
    for broker in seen.view.fenced_ids:
        if broker in members:
            continue
        targets = {
            place: left
            for topic, number, one in seen.living_on(broker)
            if (place := Partition(topic.name, number)) not in seen.moves
            and (left := tuple(node for node in one.replicas if node in members))
        }
        if targets:
            steps.append(MoveReplicas(targets=targets, reason=f"node {broker} is gone"))
        elif not any(seen.living_on(broker)):
            steps.append(UnregisterBroker(broker_id=broker, reason="there is no such node any more"))
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
    crowded = _crowded(partitions, staying, gone, seen)
    if crowded:
        return (
            f"the racks that would be left cannot hold {_listed(crowded)} apart: keep a node in another rack, or "
            "lower spec.replicas of the topics"
        )
    brokers = [PackBroker(one.id, one.rack, one.capacity) for one in staying]
    if not _homeless(partitions, brokers, leaving):
        return ""
    size = sum(one.size for one in partitions for node in one.replicas if node in gone)
    return (
        f"{size / 1e9:,.1f} GB would have to move, and the disks that would be left are too small: raise "
        "spec.storage.size, delete records, or keep the nodes"
    )


def _crowded(
    partitions: Sequence[PackPartition], staying: Sequence[Stay], leaving: frozenset[int], seen: ClusterSeen
) -> list[str]:
    """Topics on leaving nodes of which one rack would hold more than its part, and more than it has to hold now."""
    racks = seen.view.racks if seen.view is not None else {}
    after = Counter(one.rack or racks.get(one.id) for one in staying)
    before = after + Counter(racks.get(node, f"that of node {node}") for node in leaving)
    moved = {
        (one.name[0], len(one.replicas))
        for one in partitions
        if any(node in leaving for node in one.replicas)
    }
    return sorted(
        {
            topic
            for topic, replicas in moved
            if rack_max(replicas, after.values())
            > max(rack_max(replicas, before.values()), -(-replicas // len(after)))
        }
    )


def _homeless(
    partitions: Sequence[PackPartition], staying: Sequence[PackBroker], leaving: Sequence[int]
) -> list[str]:
    """Topics with a replica on a leaving node that fits nowhere else."""
    going = [PackBroker(node) for node in leaving]
    plan = rehouse_replicas(partitions, [*staying, *going], leaving=leaving)
    return sorted({topic for (topic, _), source in plan.homeless if source in leaving})


def _stays(replicas: tuple[int, ...], factor: int, leaving: frozenset[int]) -> tuple[int, ...]:
    """The replicas once the factor is what it will be: those on nodes that leave go first."""
    return tuple(sorted(replicas, key=lambda node: node in leaving))[:factor]


def _replicas(topic: TopicView, seen: ClusterSeen) -> int:
    """A topic's replicas once its resource is carried out."""
    return min(topic.replicas, seen.wanted_replicas.get(topic.name, topic.replicas))


def _listed(topics: Sequence[str]) -> str:
    shown = ", ".join(sorted(topics)[:TOPICS_NAMED])
    more = len(topics) - TOPICS_NAMED
    return f"topic{'' if len(topics) == 1 else 's'} {shown}" + (f" and {more} more" if more > 0 else "")
