"""After the count is right: the weight of what brokers lead, evened out where that is worth it. Pure.

Weighing is makespan on restricted machines, which is NP-hard; the mean is a bound that is tight when partitions are
many and small. So this step is a local search from the optimal counts: it never makes the largest number of
leaderships larger, and it is thrown away unless the heaviest broker gets lighter by a threshold.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from moldau_operator.plan.leaders import LeaderChange, LeaderPlan, LedPartition
from moldau_operator.plan.neighbours import outwards

GAIN_MIN: Final = 0.1
"""How much lighter the heaviest broker has to become for the step to be taken: less is within the noise of a moving
average, and every change costs clients a refresh of their metadata."""
STEPS_MAX: Final = 2_000
"""Changes of one step at most; a plan beyond it is carried out first and measured anew."""
CANDIDATES_MAX: Final = 64
"""Partitions of the heaviest broker that a step looks at, the heaviest first."""
PARTNERS_MAX: Final = 64
"""Partitions looked at in exchange for one, those nearest to the ideal weight first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightStep:
    """What the weights gain.

    Attributes:
        changes: to be made instead of the count plan's; they include it.
        heaviest_before: after the count plan alone. heaviest_after: after `changes`.
        bound: no placement can be below: the mean, or the heaviest single partition.
    """

    changes: tuple[LeaderChange, ...]
    heaviest_before: float
    heaviest_after: float
    bound: float


def even_out(partitions: Sequence[LedPartition], brokers: Collection[int], plan: LeaderPlan) -> WeightStep:
    """Lower the largest weight led by one broker, keeping `plan.optimum` as the largest count."""
    search = _Search(partitions, brokers, plan)
    before = search.heaviest()
    for _ in range(STEPS_MAX):
        if not search.improve():
            break
    after = search.heaviest()
    worth = before > 0 and (before - after) / before >= GAIN_MIN
    return WeightStep(
        changes=search.changes() if worth else plan.changes,
        heaviest_before=before,
        heaviest_after=after if worth else before,
        bound=search.bound(),
    )


class _Search:
    def __init__(
        self, partitions: Sequence[LedPartition], brokers: Collection[int], plan: LeaderPlan
    ) -> None:
        planned = {change.name: change.after for change in plan.changes}
        self._brokers = sorted(brokers)
        self._able = frozenset(brokers)
        self._items = [one for one in partitions if not self._able.isdisjoint(one.isr)]
        self._leader = {one.name: planned.get(one.name, one.leader) for one in self._items}
        self._led: dict[int, list[tuple[float, int]]] = {broker: [] for broker in self._brokers}  # by weight
        self._index = {one.name: index for index, one in enumerate(self._items)}
        self._weight = dict.fromkeys(self._brokers, 0.0)
        self._count_max = plan.optimum
        for index, one in enumerate(self._items):
            leader = self._leader[one.name]
            self._led[leader].append((one.weight, index))
            self._weight[leader] += one.weight
        for led in self._led.values():
            led.sort()

    def _give(self, one: LedPartition, start: int, end: int) -> None:
        entry = (one.weight, self._index[one.name])
        del self._led[start][bisect_left(self._led[start], entry)]
        insort(self._led[end], entry)
        self._weight[start] -= one.weight
        self._weight[end] += one.weight
        self._leader[one.name] = end

    def heaviest(self) -> float:
        return max(self._weight.values(), default=0.0)

    def bound(self) -> float:
        if not self._brokers:
            return 0.0
        mean = sum(one.weight for one in self._items) / len(self._brokers)
        return max(mean, max((one.weight for one in self._items), default=0.0))

    def changes(self) -> tuple[LeaderChange, ...]:
        return tuple(
            LeaderChange(one.name, one.leader, self._leader[one.name])
            for one in self._items
            if self._leader[one.name] != one.leader
        )

    def improve(self) -> bool:
        """One move, or one swap, that makes the heaviest broker lighter and nobody as heavy; whether there was one."""
        weight = self._weight
        start = max(self._brokers, key=weight.__getitem__, default=None)
        if start is None:
            return False
        best: tuple[float, LedPartition, int, LedPartition | None] | None = None
        for _, index in reversed(self._led[start][-CANDIDATES_MAX:]):
            one = self._items[index]
            for end in one.isr:
                if end == start or end not in self._able:
                    continue
                gap = weight[start] - weight[end]
                if gap <= 0:
                    continue
                found: tuple[float, LedPartition, int, LedPartition | None] | None = None
                if len(self._led[end]) < self._count_max and 0 < one.weight < gap:
                    found = (max(weight[start] - one.weight, weight[end] + one.weight), one, end, None)
                else:
                    found = self._best_swap(one, start, end, gap)
                if found is not None and (best is None or found[0] < best[0]):
                    best = found
        if best is None or best[0] >= weight[start]:
            return False
        _, one, end, back = best
        self._give(one, start, end)
        if back is not None:
            self._give(back, end, start)
        return True

    def _best_swap(
        self, one: LedPartition, start: int, end: int, gap: float
    ) -> tuple[float, LedPartition, int, LedPartition | None] | None:
        """The partition to take back from `end` that leaves the heavier of both lightest: half the gap is ideal."""
        led = self._led[end]
        for at in outwards(led, one.weight - gap / 2, PARTNERS_MAX):
            other = self._items[led[at][1]]
            shift = one.weight - other.weight
            if 0 < shift < gap and start in other.isr:
                height = max(self._weight[start] - shift, self._weight[end] + shift)
                return height, one, end, other
        return None
