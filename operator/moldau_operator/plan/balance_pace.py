"""When to act on imbalance, so that nothing flaps: a trouble has to last, and an act has to be worth it. Pure.

A state machine without a clock of its own: what was seen goes in with the time, and out come a verdict and the state
for the next look. Counts of leaderships are exact, so they are acted on as soon as they have been off for a while.
Weights are averages and never stand still: what they came to when they were decided on last is remembered, and only a
distance from the bound that has grown by more than a threshold since then is a reason to look again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from moldau_operator.plan.leader_weights import GAIN_MIN

TOLERANCE: Final = 0.05
"""How far the largest number of leaderships may be above its optimum, as a fraction of it; at least one has to be
gained. In a large cluster every new topic is off by one or two."""
WEIGHT_MIN: Final = 256 * 1024.0
"""Bytes a second on the heaviest broker below which weights are nobody's trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How patient balancing is, in milliseconds.

    Attributes:
        settle_ms: how long counts are off before leaders change: restarts and new topics come in bursts.
        weight_settle_ms: how long weights are off; the averages behind them reach back five minutes.
        rest_ms: between two changes for weights' sake.
        absence_ms: how long a broker that is away is expected back; until then its leaderships are kept for it.
        sync_ms: how long replicas that catch up are waited for.
        spread_ms: how long replicas lie unevenly before a plan to move them is made.
        look_ms: between two looks while nothing is under way.
    """

    settle_ms: int = 15_000
    weight_settle_ms: int = 60_000
    rest_ms: int = 600_000
    absence_ms: int = 600_000
    sync_ms: int = 300_000
    spread_ms: int = 30_000
    look_ms: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceState:
    """What is remembered between two looks; times are monotonic milliseconds, None for "not now".

    Attributes:
        absent_since: by broker.
        behind_since: since when some live replica has been out of sync.
        count_since, weight_since, spread_since: since when leaderships, their weights, replicas have been off.
        settled_ratio: heaviest broker over the bound, as it was when weights were decided on last.
        weighed_ms: when weights changed something last.
    """

    absent_since: Mapping[int, int] = field(default_factory=dict)
    behind_since: int | None = None
    count_since: int | None = None
    weight_since: int | None = None
    spread_since: int | None = None
    settled_ratio: float | None = None
    weighed_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look has found.

    Attributes:
        absent: brokers that hold replicas and do not serve.
        behind: partitions with a replica out of sync on a broker that serves.
        max_leaders, optimum: the largest number of leaderships on a broker, and what it could be.
        preferred_max: what it would be if all preferred leaders led.
        ratio: weight of the heaviest broker over the least it could be; heaviest in bytes a second.
        spread: whether replicas lie too unevenly.
    """

    absent: Collection[int] = ()
    behind: int = 0
    max_leaders: int = 0
    optimum: int = 0
    preferred_max: int = 0
    ratio: float = 1.0
    heaviest: float = 0.0
    spread: bool = False

    @property
    def counts_are_off(self) -> bool:
        """Whether leaderships are worth changing, or would be once brokers return to their preferred leaders."""
        return max(self.max_leaders, self.preferred_max) - self.optimum >= max(1, TOLERANCE * self.optimum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is due.

    Attributes:
        leaders: change leaders now. weigh: with weights.
        replicas: make a plan to move replicas.
        waiting: for what, in words.
    """

    leaders: bool = False
    weigh: bool = False
    replicas: bool = False
    waiting: str = ""


def judge(look: Look, state: PaceState, now_ms: int, pacing: Pacing) -> tuple[Verdict, PaceState]:
    """What is due at `now_ms`, and the state for the next look."""
    state = replace(
        state,
        absent_since={node: state.absent_since.get(node, now_ms) for node in sorted(look.absent)},
        behind_since=_since(look.behind > 0, state.behind_since, now_ms),
    )
    expected = [node for node, since in state.absent_since.items() if now_ms - since < pacing.absence_ms]
    if expected:
        words = f"node {expected[0]} is away: leaderships are kept for it, and nothing is moved"
        return Verdict(waiting=words), _calm(state)
    if state.behind_since is not None and now_ms - state.behind_since < pacing.sync_ms:
        return Verdict(waiting="replicas catch up"), _calm(state)
    weights_off = look.heaviest >= WEIGHT_MIN and _is_worse(look.ratio, state.settled_ratio)
    state = replace(
        state,
        count_since=_since(look.counts_are_off, state.count_since, now_ms),
        weight_since=_since(weights_off, state.weight_since, now_ms),
        spread_since=_since(look.spread, state.spread_since, now_ms),
    )
    rested = state.weighed_ms is None or now_ms - state.weighed_ms >= pacing.rest_ms
    weigh = rested and _lasted(state.weight_since, now_ms, pacing.weight_settle_ms)
    counts = _lasted(state.count_since, now_ms, pacing.settle_ms)
    weigh = weigh or (
        counts and rested and look.heaviest >= WEIGHT_MIN
    )  # clients are disturbed once, not twice
    replicas = _lasted(state.spread_since, now_ms, pacing.spread_ms)
    waiting = ""
    if not (counts or weigh) and (
        state.count_since is not None or (state.weight_since is not None and rested)
    ):
        what = "leaderships are" if state.count_since is not None else "the load of leaders is"
        waiting = f"{what} uneven; leaders change if that lasts"
    return Verdict(leaders=counts or weigh, weigh=weigh, replicas=replicas, waiting=waiting), state


def decided(state: PaceState, ratio: float, *, weighed: bool, changed: bool, now_ms: int) -> PaceState:
    """The state after a verdict was followed.

    Args:
        ratio: heaviest over bound as the plan leaves it; where it changed nothing, as it is.
        weighed: whether weights were looked at.
        changed: whether weights changed something.
    """
    state = replace(state, count_since=None, weight_since=None)
    if weighed:
        state = replace(state, settled_ratio=ratio, weighed_ms=now_ms if changed else state.weighed_ms)
    return state


def _calm(state: PaceState) -> PaceState:
    """While a broker is away or catches up nothing else is a trouble of its own."""
    return replace(state, count_since=None, weight_since=None, spread_since=None)


def _is_worse(ratio: float, settled: float | None) -> bool:
    """Whether a step could gain the threshold, and things got worse by it since they were decided on."""
    return ratio >= 1 + GAIN_MIN and (settled is None or ratio >= settled * (1 + GAIN_MIN))


def _since(is_so: bool, since_ms: int | None, now_ms: int) -> int | None:
    if not is_so:
        return None
    return now_ms if since_ms is None else since_ms


def _lasted(since_ms: int | None, now_ms: int, long_ms: int) -> bool:
    return since_ms is not None and now_ms - since_ms >= long_ms
