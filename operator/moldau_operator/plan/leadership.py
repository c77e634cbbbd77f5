"""Who should lead what, and in which order the replicas should stand so that it stays so. Pure.

The number of leaderships comes first (`leaders`), their weight second and only where it is asked for
(`leader_weights`). Where the preferred leaders, the first of each list of replicas, are as good as the optimum and
hardly more changes away, they are taken: that is a broker's return, and needs an election and nothing else. Whatever
is chosen becomes the preferred leader too, as brokers give leaderships back to preferred leaders by themselves, and
two who want different things never come to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from moldau_operator.plan.leader_weights import even_out
from moldau_operator.plan.leaders import NO_LEADER, LeaderChange, LedPartition, plan_leaders
from moldau_operator.plan.partitions import SeenPartition

CHANGES_RATIO_MAX: Final = 1.05
"""Changes of leaders over the fewest possible that going back to the preferred leaders may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadershipPlan:
    """What to change, how good that is, and why it cannot be better.

    Attributes:
        changes: of leaders, at most one for each partition; carried out by a preferred election.
        orders: replicas in the order they should stand in; no data moves.
        before, after: leaderships by broker id.
        weight_before, weight_after: bytes a second led, by broker id.
        mean_bound: the mean rounded up; optimum: the smallest maximum the in-sync replicas allow.
        fewest: changes that any plan needs that reaches the optimum.
        proof: where the optimum is above the mean, the brokers that cannot share what they lead with others.
        weight_bound: no placement has a broker that carries less: the mean, or the heaviest partition.
        preferred_max: the maximum if every preferred leader that is in sync led.
        stuck: partitions without an in-sync replica on a broker that may lead.
    """

    changes: tuple[LeaderChange, ...]
    orders: Mapping[tuple[str, int], tuple[int, ...]]
    before: Mapping[int, int]
    after: Mapping[int, int]
    weight_before: Mapping[int, float]
    weight_after: Mapping[int, float]
    mean_bound: int
    optimum: int
    fewest: int
    proof: tuple[int, ...]
    weight_bound: float
    preferred_max: int
    stuck: int

    @property
    def max_before(self) -> int:
        """The largest number of leaderships on one broker now."""
        return max(self.before.values(), default=0)

    @property
    def max_after(self) -> int:
        """The largest number of leaderships on one broker when it is done."""
        return max(self.after.values(), default=0)


def plan_leadership(
    partitions: Sequence[SeenPartition], brokers: Collection[int], *, weigh: bool
) -> LeadershipPlan:
    """The optimum on `brokers`, those that may lead.

    Args:
        partitions: all of the cluster; those that are moving stay with whom they are.
        weigh: whether weights may change something, once counts are optimal.
    """
    able = frozenset(brokers)
    led = [_led(one, able) for one in partitions]
    plan = plan_leaders(led, able)
    fewest = len(plan.changes)
    back = _back_to_preferred(partitions, led, able)
    preferred = _counts(led, back, able)
    preferred_max = max(preferred.values(), default=0)
    if preferred_max <= plan.optimum and len(back) <= CHANGES_RATIO_MAX * fewest:
        plan = replace(plan, changes=back, after=preferred)
    else:
        plan = replace(plan, changes=_by_preference(partitions, led, plan.changes))
    changes = even_out(led, able, plan).changes if weigh else plan.changes
    after = {change.name: change.after for change in changes}
    return LeadershipPlan(
        changes=changes,
        orders=_orders(partitions, after, able),
        before=plan.before,
        after=_counts(led, changes, able),
        weight_before=led_weights(partitions, {}, able),
        weight_after=led_weights(partitions, after, able),
        mean_bound=plan.mean_bound,
        optimum=plan.optimum,
        fewest=fewest,
        proof=tuple(sorted(plan.proof)),
        weight_bound=_weight_bound(partitions, able),
        preferred_max=preferred_max,
        stuck=plan.stuck,
    )


def led_weights(
    partitions: Sequence[SeenPartition], after: Mapping[tuple[str, int], int], brokers: Collection[int]
) -> dict[int, float]:
    """Bytes a second led by each broker, once `after` leads what it names."""
    weights = dict.fromkeys(sorted(brokers), 0.0)
    for one in partitions:
        leader = after.get(one.name, one.leader)
        if leader in weights:
            weights[leader] += one.weight
    return weights


def weight_ratio(partitions: Sequence[SeenPartition], brokers: Collection[int]) -> float:
    """How much the heaviest broker carries, over the least that it could; 1.0 where nothing is carried."""
    able = frozenset(brokers)
    bound = _weight_bound(partitions, able)
    heaviest = max(led_weights(partitions, {}, able).values(), default=0.0)
    return heaviest / bound if bound > 0 else 1.0


def _led(one: SeenPartition, able: frozenset[int]) -> LedPartition:
    if one.moving:  # its replicas are about to change; the next plan sees where it has arrived
        return LedPartition(one.name, one.leader, (one.leader,) if one.leader in able else (), one.weight)
    return LedPartition(one.name, one.leader, one.isr, one.weight)


def _back_to_preferred(
    partitions: Sequence[SeenPartition], led: Sequence[LedPartition], able: frozenset[int]
) -> tuple[LeaderChange, ...]:
    """What a preferred election of everything would change."""
    changes = []
    for one, item in zip(partitions, led, strict=True):
        first = one.replicas[0] if one.replicas else NO_LEADER
        if first != one.leader and first in able and first in item.isr:
            changes.append(LeaderChange(one.name, one.leader, first))
        elif one.leader not in able and (others := [broker for broker in item.isr if broker in able]):
            changes.append(LeaderChange(one.name, one.leader, others[0]))
    return tuple(changes)


def _by_preference(
    partitions: Sequence[SeenPartition], led: Sequence[LedPartition], changes: Sequence[LeaderChange]
) -> tuple[LeaderChange, ...]:
    """As many changes between the same brokers, of partitions that prefer where they go as far as there are such.

    It is all the same to counts, and fewer replicas have to be put in another order.
    """
    wanted = Counter((change.before, change.after) for change in changes)
    planned = {change.name: change for change in changes}
    willing: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for one, item in zip(partitions, led, strict=True):
        way = (one.leader, one.replicas[0] if one.replicas else NO_LEADER)
        # What is planned for elsewhere stays so; it may have nowhere else to go.
        if (
            way in wanted
            and way[1] in item.isr
            and (one.name not in planned or planned[one.name].after == way[1])
        ):
            willing.setdefault(way, []).append(one.name)
    taken = {way: names[: wanted[way]] for way, names in willing.items() if way[0] != NO_LEADER}
    room = {way: wanted[way] - len(names) for way, names in taken.items()}
    found = [LeaderChange(name, *way) for way, names in taken.items() for name in names]
    chosen = {change.name for change in found}
    for change in changes:
        way = change.before, change.after
        if change.name in chosen or room.get(way, 1) <= 0:
            continue
        if way in room:
            room[way] -= 1
        found.append(change)
    return tuple(found)


def _counts(
    led: Sequence[LedPartition], changes: Sequence[LeaderChange], able: frozenset[int]
) -> dict[int, int]:
    counts = Counter(one.leader for one in led)
    for change in changes:
        counts[change.before] -= 1
        counts[change.after] += 1
    return {broker: counts[broker] for broker in sorted(able)}


def _weight_bound(partitions: Sequence[SeenPartition], able: frozenset[int]) -> float:
    """The mean over brokers that can lead anything at all, or the heaviest partition."""
    led = [one for one in partitions if not able.isdisjoint(one.isr)]
    brokers = able & {broker for one in led for broker in one.isr}
    heaviest = max((one.weight for one in led), default=0.0)
    return max(sum(one.weight for one in led) / max(1, len(brokers)), heaviest)


def _orders(
    partitions: Sequence[SeenPartition], after: Mapping[tuple[str, int], int], able: frozenset[int]
) -> dict[tuple[str, int], tuple[int, ...]]:
    orders = {}
    for one in partitions:
        leader = after.get(one.name, one.leader)
        if not one.moving and leader in able and leader in one.replicas and one.replicas[0] != leader:
            orders[one.name] = (leader, *(broker for broker in one.replicas if broker != leader))
    return orders
