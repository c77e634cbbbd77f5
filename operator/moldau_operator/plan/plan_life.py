"""The life of a plan to move replicas: made, approved, carried out, stopped, done. Pure.

```
WaitingForApproval -> Moving -> Done
        ^               |  ^
        |  (replanned)  v  |
        +----------- Stopped
```
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from moldau_operator.plan.balance import say_duration, say_moves
from moldau_operator.plan.execution import MoveState, Progress
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.rebalance import PlannedMove, ReplicaPlan, decode_moves, encode_moves, seconds_for
from moldau_operator.resources.balance_status import BrokerShare, PlanState, PlanStatus

TRANSITIONS: Final[Mapping[PlanState, frozenset[PlanState]]] = {
    PlanState.WAITING: frozenset({PlanState.MOVING}),
    PlanState.MOVING: frozenset({PlanState.STOPPED, PlanState.DONE}),
    PlanState.STOPPED: frozenset({PlanState.MOVING}),
    PlanState.DONE: frozenset(),
}
"""What may become of a plan; one that no longer fits the cluster is replaced by another one, or by none."""

GROWTH_MAX: Final = 0.25
"""A plan that waits is made anew when its bytes have changed by more than this: it is not what was looked at."""


def begun(plan: ReplicaPlan, why: str) -> PlanStatus:
    """A new plan, waiting."""
    return PlanStatus(
        hash=plan.hash,
        state=PlanState.WAITING,
        moves=len(plan.moves),
        bytes=plan.bytes_moved,
        lower_bound=plan.lower_bound if plan.by_bytes else 0,
        gap_percent=-1.0 if plan.gap is None else round(plan.gap * 100, 2),
        eta=say_duration(plan.seconds),
        summary=f"{why}: {say_moves(plan)}",
        encoded=encode_moves(plan.moves),
        brokers=tuple(
            BrokerShare(
                broker, before.replicas, plan.after[broker].replicas, before.size, plan.after[broker].size
            )
            for broker, before in plan.before.items()
        ),
    )


def become(plan: PlanStatus, state: PlanState) -> PlanStatus:
    """The plan in another state."""
    assert state in TRANSITIONS[plan.state], f"a plan that is {plan.state} cannot be {state}"
    return replace(plan, state=state)


def moves_of(plan: PlanStatus | None) -> tuple[PlannedMove, ...]:
    """A plan's moves; none where they cannot be read, which is a plan that no longer fits."""
    if plan is None or not plan.encoded:
        return ()
    try:
        return decode_moves(plan.encoded)
    except ValueError:
        return ()


def still_fits(
    plan: PlanStatus, progress: Progress, partitions: Sequence[SeenPartition], brokers: Collection[int]
) -> bool:
    """Whether a plan that waits or is stopped would still be made of what is there.

    Args:
        brokers: that serve and stay.
    """
    if not progress.states or MoveState.VOID in progress.states or progress.finished:
        return False
    if {one.id for one in plan.brokers} != set(brokers):
        return False
    sizes = {one.name: one.size for one in partitions}
    now = sum(sizes.get(move.name, 0) for move in moves_of(plan))
    return abs(now - plan.bytes) <= max(GROWTH_MAX * plan.bytes, 1 << 20)


def advanced(
    plan: PlanStatus, progress: Progress, partitions: Sequence[SeenPartition], throttle_bytes: int
) -> PlanStatus:
    """The plan with how far it is."""
    done = progress.count(MoveState.DONE) + progress.count(MoveState.VOID)
    in_flight = progress.count(MoveState.IN_FLIGHT)
    if (done, in_flight) == (plan.done, plan.in_flight):
        return plan
    left = [
        move
        for move, state in zip(moves_of(plan), progress.states, strict=True)
        if state in {MoveState.WAITING, MoveState.IN_FLIGHT}
    ]
    sizes = {one.name: one.size for one in partitions}
    leaders = {one.name: one.leader for one in partitions}
    eta = say_duration(seconds_for(left, sizes, leaders, throttle_bytes))
    return replace(plan, done=done, in_flight=in_flight, eta=eta)


def say_plan(plan: PlanStatus | None) -> str:
    """What a person should know or do about a plan, in words; empty where nothing."""
    if plan is None:
        return ""
    match plan.state:
        case PlanState.WAITING:
            return f"plan {plan.hash} waits for spec.balance.approvedPlan: {plan.hash}"
        case PlanState.MOVING:
            return f"plan {plan.hash}: {plan.done:,} of {plan.moves:,} moved, {plan.eta} left"
        case PlanState.STOPPED:
            return f"plan {plan.hash} is stopped after {plan.done:,} of {plan.moves:,}; approve it to go on"
        case PlanState.DONE:
            return ""
