"""Another replication factor, planned by the packer that drains and replaces brokers: racks and capacity hard. Pure.

A replica that is to be added is one that lies on a broker nobody knows: so the packer finds a home for it as for what a
lost broker held, largest first, and the bytes that are copied are those that are added and no others. Lowering copies
nothing; what goes is out of sync, doubled in a rack or on the fullest broker, and never the leader if it can stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from moldau_operator.plan.fair_share import Share, fair_shares
from moldau_operator.plan.packing import PackBroker, PackPartition, rehouse_replicas
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.seams.broker_admin import PartitionView

Name = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorAsk:
    """What to plan.

    Attributes:
        wanted: replicas of each partition that has to change.
        homes: brokers that stay, with what limits them; replicas on any other one have to move.
        away: those of them that do not serve now: they keep what they have, and get nothing.
    """

    wanted: Mapping[Name, int]
    homes: tuple[PackBroker, ...]
    away: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorPlan:
    """What to change.

    Attributes:
        targets: the brokers of each partition: those that stay in their order, then those that come.
        bytes_added: that are copied: no plan copies less.
        crowded: partitions for which racks leave no room; `full`: those for which disks do not.
    """

    targets: Mapping[Name, tuple[int, ...]] = field(default_factory=dict)
    bytes_added: int = 0
    crowded: frozenset[Name] = frozenset()
    full: frozenset[Name] = frozenset()


class _Fills(NamedTuple):
    """What lies on each broker, and what each of those that stay should carry."""

    size: Counter[int]
    replicas: Counter[int]
    shares: Mapping[int, Share]

    def fullness(self, node: int) -> float:
        """Bytes and count together, against the broker's share; by count alone where nothing has a size."""
        share = self.shares.get(node, Share(0, 0))
        return self.size[node] / (share.size or 1) + self.replicas[node] / (share.replicas or 1)


def plan_factors(partitions: Sequence[SeenPartition], ask: FactorAsk) -> FactorPlan:
    """Where the partitions that have to change should live.

    Args:
        partitions: all of the cluster, as what lies on a broker is what limits it.
    """
    kept = _shed(partitions, ask)
    # Brokers that nobody knows hold what is to be made: ids below zero, as no broker has one.
    made = {name: tuple(range(-1, len(left) - ask.wanted[name] - 1, -1)) for name, left in kept.items()}
    packed = [
        PackPartition(
            one.name, (*kept[one.name], *made[one.name]) if one.name in kept else one.replicas, one.size
        )
        for one in partitions
    ]
    moves, homeless = rehouse_replicas(packed, ask.homes, leaving=(), closed=ask.away)
    lost = {name for name, _ in homeless} & kept.keys()
    crowded: set[Name] = set()
    if lost:
        boundless = [broker._replace(capacity=None) for broker in ask.homes]
        crowded = lost & {
            name for name, _ in rehouse_replicas(packed, boundless, leaving=(), closed=ask.away).homeless
        }
    homes: dict[Name, dict[int, int]] = {}
    added = 0
    for move in moves:
        if move.name in kept and move.name not in lost:
            homes.setdefault(move.name, {})[move.source] = move.target
            added += move.size
    stays = {broker.id for broker in ask.homes}
    targets = {
        # Who stays keeps its place, and who comes stands behind: it has to copy before it may lead.
        name: (*(node for node in left if node in stays), *homes.get(name, {}).values())
        for name, left in kept.items()
        if name not in lost
    }
    return FactorPlan(
        targets=targets, bytes_added=added, crowded=frozenset(crowded), full=frozenset(lost - crowded)
    )


def spread_leaders(
    placement: Sequence[PartitionView], targets: Mapping[int, tuple[int, ...]]
) -> dict[int, tuple[int, ...]]:
    """The same brokers, in an order that lets each of them be preferred leader of as many partitions as the others.

    Only where replicas are added: what one broker led alone would else be led by it for ever.
    """
    first = Counter(one.replicas[0] for number, one in enumerate(placement) if number not in targets)
    spread: dict[int, tuple[int, ...]] = {}
    for number, target in targets.items():
        chosen = target[0]
        if len(target) > len(placement[number].replicas):
            chosen = min(target, key=lambda node: (first[node], target.index(node)))
        first[chosen] += 1
        spread[number] = (chosen, *(node for node in target if node != chosen))
    return spread


def _shed(partitions: Sequence[SeenPartition], ask: FactorAsk) -> dict[Name, tuple[int, ...]]:
    """What stays of each partition that changes: as many as are wanted at most, largest partition first."""
    racks = {broker.id: broker.rack for broker in ask.homes}
    fills = _fills(partitions, ask, racks)
    kept: dict[Name, tuple[int, ...]] = {}
    for one in sorted(
        (one for one in partitions if one.name in ask.wanted), key=lambda one: (-one.size, one.name)
    ):
        left = list(one.replicas)
        while len(left) > ask.wanted[one.name]:
            node = max(left, key=lambda node: _dispensable(node, one, left, racks, fills))
            left.remove(node)
            fills.size[node] -= one.size
            fills.replicas[node] -= 1
        kept[one.name] = tuple(left)
    return kept


def _fills(partitions: Sequence[SeenPartition], ask: FactorAsk, racks: Mapping[int, str | None]) -> _Fills:
    size, count = Counter[int](), Counter[int]()
    for one in partitions:
        for node in one.replicas:
            size[node] += one.size
            count[node] += 1
    wanted = ((ask.wanted.get(one.name, len(one.replicas)), one.size) for one in partitions)
    return _Fills(size, count, fair_shares(wanted, racks))


def _dispensable(
    node: int,
    partition: SeenPartition,
    left: Sequence[int],
    racks: Mapping[int, str | None],
    fills: _Fills,
) -> tuple[bool, bool, bool, int, float, int]:
    """The greater, the sooner this replica goes."""
    rack = racks.get(node)
    doubled = sum(rack is not None and racks.get(other) == rack for other in left)
    return (
        node not in racks,
        node != partition.leader,
        node not in partition.isr,
        doubled,
        fills.fullness(node),
        node,
    )
