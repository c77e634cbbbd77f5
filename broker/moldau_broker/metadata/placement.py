"""Which brokers get the replicas of new partitions: rack-aware round robin, in stripes. Pure.

Racks are taken in turn, and within a rack its brokers are taken in turn, each partition starting one
further than the one before; so leaders and followers spread evenly and two neighbours rarely share a whole
replica set. Spread over racks comes before spread over brokers. Fenced brokers are used only when a rack
has no others left, and never first: the first replica leads. The outcome has the properties of Kafka's
StripedReplicaPlacer (KIP-631); the draw of the first rack and broker comes from the caller's generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from random import Random


class PlacementBroker(NamedTuple):
    """What placement needs to know of a broker."""

    id: int
    rack: str | None
    fenced: bool


class PlacementError(Exception):
    """The partitions cannot be placed; the text is for the client (INVALID_REPLICATION_FACTOR)."""


class _Ring:
    """A circular list that hands out each member once a round, starting one further every round."""

    __slots__ = ("_members", "_round", "_start", "_taken")

    def __init__(self, members: list[int], start: int) -> None:
        self._members = members
        self._start = start
        self._round = 0
        self._taken = 0

    def next(self, round_: int) -> int | None:
        """The next member of this round, None once all were handed out."""
        size = len(self._members)
        if not size:
            return None
        if self._round != round_:
            self._round = round_
            self._taken = 0
            self._start = (self._start + 1) % size
        if self._taken == size:
            return None
        member = self._members[(self._start + self._taken) % size]
        self._taken += 1
        return member


class _Rack:
    __slots__ = ("fenced", "unfenced")

    def __init__(self, brokers: Sequence[PlacementBroker], last_used: int | None, rng: Random) -> None:
        live = sorted(broker.id for broker in brokers if not broker.fenced)
        fenced = sorted(broker.id for broker in brokers if broker.fenced)
        # The first round begins one after this.
        self.unfenced = _Ring(live, live.index(last_used) if last_used in live else _draw(rng, live))
        self.fenced = _Ring(fenced, _draw(rng, fenced))

    def next(self, round_: int) -> int | None:
        live = self.unfenced.next(round_)
        return self.fenced.next(round_) if live is None else live


def place(
    brokers: Iterable[PlacementBroker],
    partitions: int,
    replication_factor: int,
    rng: Random,
    existing: Sequence[Sequence[int]] = (),
) -> list[list[int]]:
    """Replica lists for `partitions` new partitions, the leader first.

    Args:
        brokers: all registered brokers.
        partitions: how many partitions to place.
        replication_factor: replicas of each.
        rng: draws where the stripes begin.
        existing: replica lists of the topic's partitions so far; the stripes go on where they end.

    Raises:
        PlacementError: fewer brokers than replicas, or none that could lead.
    """
    by_rack: dict[str | None, list[PlacementBroker]] = {}
    for broker in brokers:
        by_rack.setdefault(broker.rack, []).append(broker)
    everyone = [broker for rack in by_rack.values() for broker in rack]
    if replication_factor <= 0:
        raise PlacementError("Invalid replication factor: the replication factor must be positive.")
    if not any(not broker.fenced for broker in everyone):
        raise PlacementError("All brokers are currently fenced.")
    if replication_factor > len(everyone):
        raise PlacementError(
            f"The target replication factor of {replication_factor} cannot be reached because only "
            f"{len(everyone)} broker(s) are registered."
        )
    rack_of = {broker.id: broker.rack for broker in everyone}
    names = sorted(by_rack, key=lambda rack: (rack is not None, rack or ""))
    racks = [_Rack(by_rack[name], _last_used(existing, rack_of, name), rng) for name in names]
    last_leader = existing[-1][0] if existing else None
    first = names.index(rack_of[last_leader]) + 1 if last_leader in rack_of else _draw(rng, racks)
    return [
        _place_one(
            racks, (first + index) % len(racks), round_=index + 1, replication_factor=replication_factor
        )
        for index in range(partitions)
    ]


def _place_one(racks: list[_Rack], first: int, *, round_: int, replication_factor: int) -> list[int]:
    size = len(racks)
    for skip in range(size):  # a rack of fenced brokers only cannot give the leader
        leader = racks[(first + skip) % size].unfenced.next(round_)
        if leader is not None:
            break
    assert leader is not None, "some broker is unfenced"
    replicas = [leader]
    at = first + skip + 1
    while len(replicas) < replication_factor:
        replica = racks[at % size].next(round_)
        if replica is not None:
            replicas.append(replica)
        at += 1
    return replicas


def _last_used(
    existing: Sequence[Sequence[int]], rack_of: dict[int, str | None], rack: str | None
) -> int | None:
    """The broker of `rack` that the newest partition with a replica there names first."""
    for replicas in reversed(existing):
        for broker in replicas:
            if broker in rack_of and rack_of[broker] == rack:
                return broker
    return None


def _draw(rng: Random, members: Sequence[object]) -> int:
    return rng.randrange(len(members)) if members else 0
