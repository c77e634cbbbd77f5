"""Replicas on brokers, as packing changes them: what lies where, what may move where, what it comes to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, floor
from typing import Final, NamedTuple

from moldau_operator.plan.fair_share import fair_shares, rack_limits

_NOWHERE: Final = "\0"
"""The rack of brokers that are not there: no broker's own."""
_ROUNDING: Final = 1e-6
"""What sums of fractions are off by at most; a bound that is not one by a hair would not be one."""


class PackBroker(NamedTuple):
    """A broker as packing sees it; `capacity` in bytes, None for as much as it takes."""

    id: int
    rack: str | None = None
    capacity: int | None = None


class PackPartition(NamedTuple):
    """A partition: its replicas' brokers and the bytes of one replica."""

    name: tuple[str, int]
    replicas: tuple[int, ...]
    size: int


class ReplicaMove(NamedTuple):
    """One replica of `name` goes from `source` to `target`; `size` bytes are copied."""

    name: tuple[str, int]
    source: int
    target: int
    size: int


class BrokerFill(NamedTuple):
    """What lies on a broker: bytes and number of replicas."""

    size: int
    replicas: int


class Placement:
    """All replicas of a cluster, while they are moved.

    Attributes:
        homeless: replicas that have to move and find no legal broker: (partition, its broker).
    """

    def __init__(
        self,
        partitions: Sequence[PackPartition],
        brokers: Sequence[PackBroker],
        leaving: frozenset[int],
        band: float,
    ) -> None:
        self._partitions = partitions
        self._brokers = {broker.id: broker for broker in brokers}
        self._staying = [broker.id for broker in brokers if broker.id not in leaving]
        self._stays = frozenset(self._staying)
        self._racks = {broker.id: broker.rack for broker in brokers}
        self._rack_sizes = tuple(Counter(self._racks[broker] for broker in self._staying).values())
        self._rack_max_of = rack_limits((len(one.replicas) for one in partitions), self._rack_sizes)
        self._replicas = [set(partition.replicas) for partition in partitions]
        self._size = dict.fromkeys(self._brokers, 0)
        self._count = dict.fromkeys(self._brokers, 0)
        self._movable: dict[int, list[tuple[int, int]]] = {broker: [] for broker in self._brokers}
        self._foreign: list[tuple[int, int]] = []  # (partition, broker that is not there)
        for index, partition in enumerate(partitions):
            for broker in partition.replicas:
                if broker not in self._brokers:
                    self._foreign.append((index, broker))
                    continue
                self._size[broker] += partition.size
                self._count[broker] += 1
                self._movable[broker].append((partition.size, index))
        for held in self._movable.values():
            held.sort()
        shares = fair_shares(
            ((len(one.replicas), one.size) for one in partitions),
            {broker: self._racks[broker] for broker in self._staying},
        )
        self._mean_size = {broker: share.size for broker, share in shares.items()}
        self._mean_count = {broker: share.replicas for broker, share in shares.items()}
        self._size_low = {broker: mean * (1 - band) for broker, mean in self._mean_size.items()}
        self._size_high = {broker: mean * (1 + band) for broker, mean in self._mean_size.items()}
        # At least one replica of play: a mean of 2.5 has no whole number within nine percent.
        self._count_low = {
            broker: min(mean * (1 - band), float(floor(mean))) for broker, mean in self._mean_count.items()
        }
        self._count_high = {
            broker: max(mean * (1 + band), float(ceil(mean))) for broker, mean in self._mean_count.items()
        }
        self._made: list[tuple[int, int, int]] = []  # (partition, source, target)
        self._forced = 0
        self.homeless: list[tuple[tuple[str, int], int]] = []

    # -- looking ------------------------------------------------------------------------------------------

    def fills(self) -> dict[int, BrokerFill]:
        """What lies on each broker now."""
        return {broker: BrokerFill(self._size[broker], self._count[broker]) for broker in self._brokers}

    def lower_bound(self) -> int:
        """Bytes over the band must go, bytes under it must come; what leaves goes whole, wherever it lies.

        Rounded up: bytes are whole, and so are replicas where each of them counts as one byte.
        """
        over = sum(
            max(0.0, size - self._size_high.get(broker, 0)) for broker, size in self._size.items()
        ) + sum(self._partitions[index].size for index, _ in self._foreign)
        under = sum(max(0.0, self._size_low[broker] - self._size[broker]) for broker in self._staying)
        return ceil(max(over, under) - _ROUNDING)

    def outside(self) -> Iterator[int]:
        """Brokers that stay and are not inside the band."""
        for broker in self._staying:
            if not (
                self._size_low[broker] - 1 <= self._size[broker] <= self._size_high[broker] + 1
                and self._count_low[broker] <= self._count[broker] <= self._count_high[broker]
            ):
                yield broker

    def _rack_max(self, index: int) -> int:
        """Replicas of a partition that one rack may hold."""
        return self._rack_max_of[len(self._partitions[index].replicas)]

    def _rack_load(self, index: int, rack: str | None, without: int) -> int:
        racks = self._racks
        return sum(
            1 for held in self._replicas[index] if held != without and racks.get(held, _NOWHERE) == rack
        )

    def _fits(self, index: int, source: int, target: int) -> bool:
        """Whether a replica may move: not two on one broker, racks, capacity."""
        if target in self._replicas[index]:
            return False
        capacity = self._brokers[target].capacity
        if capacity is not None and self._size[target] + self._partitions[index].size > capacity:
            return False
        if len(self._rack_sizes) <= 1:
            return True
        rack = self._racks[target]
        if rack == self._racks.get(source, _NOWHERE):
            return True  # as many in that rack as before
        return self._rack_load(index, rack, source) < self._rack_max(index)

    def _move(self, index: int, source: int, target: int) -> None:
        partition = self._partitions[index]
        self._replicas[index].discard(source)
        self._replicas[index].add(target)
        if source in self._brokers:
            self._size[source] -= partition.size
            self._count[source] -= 1
        self._size[target] += partition.size
        self._count[target] += 1
        self._made.append((index, source, target))

    def _undo(self, at: int) -> None:
        """Take a move back that nothing has been built on."""
        index, source, target = self._made[at]
        size = self._partitions[index].size
        self._replicas[index].discard(target)
        self._replicas[index].add(source)
        self._size[source] += size
        self._count[source] += 1
        self._size[target] -= size
        self._count[target] -= 1

    @property
    def moves(self) -> list[ReplicaMove]:
        """All moves that were not taken back, in the order in which they were made."""
        return [
            ReplicaMove(partition.name, source, target, partition.size)
            for partition, source, target in (
                (self._partitions[index], source, target) for index, source, target in self._made
            )
        ]
