"""A plan of moves carried out: what to begin now, what is on its way, what is done. Pure.

Nothing is remembered but the plan itself: what is done is read off the partitions' replicas, what is on its way off the
moves that brokers tell of. So it goes on from wherever it was stopped, by whomever.

At most one replica of a partition is in flight, at most so many moves touch one broker as it can serve, and the next
move is one between the brokers that are least busy, which is round-robin over sources and destinations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from moldau_operator.plan.rebalance import PlannedMove
from moldau_operator.seams.broker_admin import MoveView, Partition, PartitionView, TopicView

IN_FLIGHT_MAX: Final = 50
"""Moves under way in a cluster: enough to keep every disk busy, few enough that a stop is soon."""
PER_BROKER_MAX: Final = 5
"""Moves under way into one broker, or from one leader: each competes with its clients for a disk and a link."""


class MoveState(StrEnum):
    """Where one move is."""

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DONE = "done"
    VOID = "void"
    """Somebody else changed the partition's replicas, or it is gone: the move means nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A plan held against the cluster.

    Attributes:
        states: of every move, in the plan's order.
        foreign: moves under way that are not the plan's.
    """

    states: tuple[MoveState, ...]
    foreign: int = 0

    def count(self, state: MoveState) -> int:
        """Moves in this state."""
        return sum(one is state for one in self.states)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(one in {MoveState.DONE, MoveState.VOID} for one in self.states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What to begin now.

    Attributes:
        targets: the replicas of each partition afterwards, the preferred leader first.
        adding: the brokers that come to each partition, of moves that begin and of the plan's moves under way.
    """

    targets: Mapping[Partition, tuple[int, ...]] = field(default_factory=dict)
    adding: Mapping[Partition, frozenset[int]] = field(default_factory=dict)


def measure(
    moves: Sequence[PlannedMove], topics: Mapping[str, TopicView], flying: Mapping[Partition, MoveView]
) -> Progress:
    """How far a plan is."""
    ours: set[Partition] = set()
    states = []
    for move in moves:
        state = _state(move, _placed(move, topics), flying.get(Partition(*move.name)))
        if state is MoveState.IN_FLIGHT:
            ours.add(Partition(*move.name))
        states.append(state)
    return Progress(states=tuple(states), foreign=len(flying.keys() - ours))


def next_wave(
    moves: Sequence[PlannedMove],
    topics: Mapping[str, TopicView],
    flying: Mapping[Partition, MoveView],
    live: frozenset[int],
) -> Wave:
    """The moves that may begin now; none of a partition that is moving, and none to a broker that is away."""
    progress = measure(moves, topics, flying)
    busy = set(flying)
    coming, sending = Counter[int](), Counter[int]()
    for place, under_way in flying.items():
        coming.update(under_way.adding)
        sending[_leader(place, topics)] += 1
    adding = {
        Partition(*move.name): frozenset(flying[Partition(*move.name)].adding)
        for move, state in zip(moves, progress.states, strict=True)
        if state is MoveState.IN_FLIGHT
    }
    waiting = [move for move, state in zip(moves, progress.states, strict=True) if state is MoveState.WAITING]
    targets: dict[Partition, tuple[int, ...]] = {}
    room = IN_FLIGHT_MAX - len(flying)
    while len(targets) < room:
        best: tuple[int, int] | None = None
        for index, move in enumerate(waiting):
            place = Partition(*move.name)
            leader = _leader(place, topics)
            load = max(coming[move.target], sending[leader])
            if place in busy or move.target not in live or leader not in live or load >= PER_BROKER_MAX:
                continue
            if best is None or load < best[0]:
                best = load, index
                if load == 0:
                    break
        if best is None:
            break
        move = waiting.pop(best[1])
        place = Partition(*move.name)
        placed = _placed(move, topics)
        assert placed is not None, "a move whose partition is gone is void"
        targets[place] = tuple(move.target if one == move.source else one for one in placed.replicas)
        adding[place] = frozenset({move.target})
        busy.add(place)
        coming[move.target] += 1
        sending[_leader(place, topics)] += 1
    return Wave(targets=targets, adding=adding)


def _state(move: PlannedMove, placed: PartitionView | None, flying: MoveView | None) -> MoveState:
    if placed is None:
        return MoveState.VOID
    if flying is not None:
        if move.target in flying.adding and move.source in flying.removing:
            return MoveState.IN_FLIGHT
        settled = (set(placed.replicas) | set(flying.removing)) - set(flying.adding)
        if move.source in settled and move.target not in settled:
            return MoveState.WAITING  # another replica of the partition is on its way
    replicas = placed.replicas
    if move.target in replicas and move.source not in replicas:
        return MoveState.DONE
    if move.source in replicas and move.target not in replicas:
        return MoveState.WAITING
    return MoveState.VOID


def _placed(move: PlannedMove, topics: Mapping[str, TopicView]) -> PartitionView | None:
    topic = topics.get(move.name[0])
    if topic is None or move.name[1] >= len(topic.placement):
        return None
    return topic.placement[move.name[1]]


def _leader(place: Partition, topics: Mapping[str, TopicView]) -> int:
    topic = topics.get(place.topic)
    if topic is None or place.number >= len(topic.placement):
        return -1
    leader = topic.placement[place.number].leader
    return -1 if leader is None else leader
