"""The whole of a balance plan: leaderships and replicas together, and who gains what. Pure.

`plan_balance` is what may take seconds for a large cluster; it takes and gives plain values, so that it can run in
another process. Whether its answer is acted on is `balance_pace`'s to say, and how `execution`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from moldau_operator.names import counted
from moldau_operator.plan.leadership import LeadershipPlan, plan_leadership
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.rebalance import PlannedMove, ReplicaPlan, plan_rebalance
from moldau_operator.resources.balance_status import THROTTLE_BYTES

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceAsk:
    """What to plan.

    Attributes:
        brokers: those that serve and stay, with what limits them.
        weigh: whether the weight of leaderships may change something.
        leaders, replicas: which plans are wanted.
        budget_bytes: that moves may copy at most; None for as much as it takes.
        throttle_bytes: a second, for the time estimate.
        kept: moves of a plan that was made before and still fits.
    """

    brokers: tuple[PackBroker, ...]
    weigh: bool = False
    leaders: bool = True
    replicas: bool = False
    budget_bytes: int | None = None
    throttle_bytes: int = THROTTLE_BYTES
    kept: tuple[PlannedMove, ...] = ()


class BrokerRow(NamedTuple):
    """One broker before and after: leaderships, bytes a second led, replicas, bytes held."""

    id: int
    leaders: tuple[int, int]
    led_bytes: tuple[float, float]
    replicas: tuple[int, int]
    held_bytes: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancePlan:
    """What to change; a part that was not asked for is None."""

    leaders: LeadershipPlan | None
    replicas: ReplicaPlan | None

    def rows(self) -> list[BrokerRow]:
        """Every broker before and after, by id."""
        leaders, replicas = self.leaders, self.replicas
        ids = {*(leaders.before if leaders else ()), *(replicas.before if replicas else ())}
        return [
            BrokerRow(
                broker,
                (leaders.before[broker], leaders.after[broker]) if leaders else (0, 0),
                (leaders.weight_before[broker], leaders.weight_after[broker]) if leaders else (0.0, 0.0),
                (replicas.before[broker].replicas, replicas.after[broker].replicas) if replicas else (0, 0),
                (replicas.before[broker].size, replicas.after[broker].size) if replicas else (0, 0),
            )
            for broker in sorted(ids)
        ]


def plan_balance(partitions: Sequence[SeenPartition], ask: BalanceAsk) -> BalancePlan:
    """The best leaderships for replicas as they are, and where replicas should go."""
    return BalancePlan(
        leaders=plan_leadership(partitions, [one.id for one in ask.brokers], weigh=ask.weigh)
        if ask.leaders
        else None,
        replicas=plan_rebalance(
            partitions,
            ask.brokers,
            budget_bytes=ask.budget_bytes,
            throttle_bytes=ask.throttle_bytes,
            kept=ask.kept,
        )
        if ask.replicas
        else None,
    )


def say_proof(proof: Collection[int], optimum: int, mean_bound: int) -> str:
    """Why a smaller maximum is impossible, in words; empty where the mean itself is reached."""
    if not proof or optimum <= mean_bound:
        return ""
    brokers = ", ".join(map(str, sorted(proof)))
    who = f"broker {brokers} has" if len(proof) == 1 else f"brokers {brokers} have"
    return f"{who} every in-sync replica of what they lead, so {optimum:,} is the least (the mean is {mean_bound:,})"


def say_duration(seconds: float) -> str:
    """A time for people: 0s, 45s, 3m, 2h 5m, 1d 4h."""
    whole = int(seconds + 0.999)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{-(-whole // _MINUTE)}m"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def say_moves(plan: ReplicaPlan) -> str:
    """A plan to move replicas in a line."""
    words = f"{counted(len(plan.moves), 'replica')}, {plan.bytes_moved / 1e6:,.1f} MB"
    if plan.gap is not None:
        what = f"{plan.lower_bound / 1e6:,.1f} MB" if plan.by_bytes else counted(plan.lower_bound, "replica")
        words += f", {plan.gap:.1%} above the least possible ({what})"
    if plan.left_out:
        words += f"; {plan.left_out:,} more are left for the next plan"
    return words
