"""A topic's replicas brought to what is declared, in stages. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from moldau_operator.names import counted
from moldau_operator.plan.replicas import MOVES_MAX, choose_replicas, spread_leaders
from moldau_operator.seams.broker_admin import MoveView, Partition, PartitionView, TopicView


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where replicas may lie, as the brokers say.

    Attributes:
        homes: brokers that serve and stay, with their racks.
        load: replicas on each broker.
        moves: under way.
        room: partitions that may still be sent on their way now.
    """

    homes: Mapping[int, str | None]
    load: Mapping[int, int] = field(default_factory=dict)
    moves: Mapping[Partition, MoveView] = field(default_factory=dict)
    room: int = MOVES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStage:
    """What to move now, why, and what is waited for; all empty when every partition is as declared."""

    targets: Mapping[Partition, tuple[int, ...]] = field(default_factory=dict)
    reason: str = ""
    waiting: str = ""


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
    if places is None or wanted > len(places.homes):
        there = 0 if places is None else len(places.homes)
        return ReplicaStage(waiting=f"{reason}: waits for brokers, {there} of {wanted} can take replicas")
    targets: dict[int, tuple[int, ...]] = {}
    load = Counter(places.load)
    for number in wrong:
        one = observed.placement[number]
        if Partition(observed.name, number) in places.moves or len(targets) >= places.room:
            continue
        (targets[number],) = choose_replicas([one], wanted, places.homes, load).values()
        load.update(set(targets[number]) - set(one.replicas))
        load.subtract(set(one.replicas) - set(targets[number]))
    spread = spread_leaders(observed.placement, targets)
    named = {Partition(observed.name, number): target for number, target in spread.items()}
    return ReplicaStage(targets=named, reason=reason, waiting=waiting)


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
