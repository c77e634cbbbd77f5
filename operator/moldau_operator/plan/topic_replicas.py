"""A topic's replicas brought to what is declared, in stages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from moldau_operator.names import counted
from moldau_operator.plan.execution import IN_FLIGHT_MAX
from moldau_operator.plan.factors import FactorPlan, spread_leaders
from moldau_operator.seams.broker_admin import MoveView, Partition, PartitionView, TopicView


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where replicas should lie, and how many may be sent on their way.

    Attributes:
        open: brokers that can take replicas.
        plan: of every partition whose number of replicas is not as declared.
        moves: under way.
        room: partitions that may still be sent on their way now.
    """

    open: int
    plan: FactorPlan = field(default_factory=FactorPlan)
    moves: Mapping[Partition, MoveView] = field(default_factory=dict)
    room: int = IN_FLIGHT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStage:
    """What to move now, why, and what is waited for; all empty when every partition is as declared.

    Attributes:
        refusal: once all that fits is there: why the rest cannot have so many replicas, and what to change.
    """

    targets: Mapping[Partition, tuple[int, ...]] = field(default_factory=dict)
    reason: str = ""
    waiting: str = ""
    refusal: str = ""


def plan_replicas(observed: TopicView, wanted: int | None, places: Places | None) -> ReplicaStage:
    """The next stage.

    Args:
        wanted: replicas of every partition; None leaves them as they are.
        places: None while the brokers were not asked.
    """
    wrong = wrong_partitions(observed, wanted)
    if not wrong or wanted is None:
        return ReplicaStage()
    done = observed.partitions - len(wrong)
    reason = f"replicas {_factors(observed, wanted)} -> {wanted}"
    waiting = f"{reason}: {done} of {counted(observed.partitions, 'partition')} done"
    if places is None or wanted > places.open:
        there = 0 if places is None else places.open
        return ReplicaStage(waiting=f"{reason}: waits for brokers, {there} of {wanted} can take replicas")
    named = [Partition(observed.name, number) for number in wrong]
    targets = {
        place.number: places.plan.targets[place]
        for place in named
        if place in places.plan.targets and place not in places.moves
    }
    targets = dict(list(targets.items())[: places.room])
    spread = spread_leaders(observed.placement, targets)
    return ReplicaStage(
        targets={Partition(observed.name, number): target for number, target in spread.items()},
        reason=reason,
        waiting=waiting,
        refusal=""
        if targets or any(place in places.moves for place in named)
        else _refusal(named, reason, places.plan),
    )


def as_it_will_be(
    observed: TopicView, placement: Sequence[PartitionView], moves: Mapping[Partition, MoveView]
) -> TopicView:
    """The topic with its newest placement, and partitions that move without another factor where they move to."""
    settled = []
    for number, one in enumerate(placement):
        move = moves.get(Partition(observed.name, number))
        if move is not None and len(move.adding) == len(move.removing):
            left = tuple(node for node in one.replicas if node not in move.removing)
            settled.append(
                one._replace(replicas=(*left, *(node for node in move.adding if node not in left)))
            )
        else:
            settled.append(one)
    factor = max((len(one.replicas) for one in settled), default=observed.replicas)
    return replace(observed, placement=tuple(settled), partitions=len(settled), replicas=factor)


def wrong_partitions(observed: TopicView, wanted: int | None) -> list[int]:
    """Partitions that do not have so many replicas; one on its way counts as wrong until it has arrived."""
    if wanted is None:
        return []
    return [number for number, one in enumerate(observed.placement) if len(one.replicas) != wanted]


def _factors(observed: TopicView, wanted: int) -> str:
    """The factors that are there now, for example `1` or `1 to 3`."""
    found = sorted({len(one.replicas) for one in observed.placement} - {wanted})
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _refusal(named: Sequence[Partition], reason: str, plan: FactorPlan) -> str:
    """Why no home was found for replicas of some of these partitions; empty where there is one for all."""
    crowded, full = (sum(place in found for place in named) for found in (plan.crowded, plan.full))
    if crowded:
        return (
            f"{reason}: the racks there are cannot hold {counted(crowded, 'partition')} apart: add brokers in another "
            "rack, or lower replicas"
        )
    if full:
        return (
            f"{reason}: the disks there are cannot hold {counted(full, 'partition')} more: raise the Cluster's "
            "storage.size, add brokers, delete records, or lower replicas"
        )
    return ""
