"""Where replicas should lie: racks and capacity hard, bytes and counts in a band, the fewest bytes moved. Pure.

This is generalised assignment with a cost of moving, which is NP-hard; a best-fit packer comes within a few percent of
the lower bound that is handed out beside every plan. Replicas that cannot stay (their broker leaves, or their rack has
too many of the partition) go first, largest first. Then the broker that lacks most, in bytes and count together, is
filled from the fullest brokers: it asks for the replica whose size is nearest to bytes lacking / replicas lacking,
so that both run out at the same time, and is filled to the lower edge of the band only, as every byte beyond it
would be moved for nothing. Brokers above the band then give what is too much to the emptiest. No replica moves twice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from moldau_operator.plan.neighbours import outwards
from moldau_operator.plan.placement import BrokerFill, PackBroker, PackPartition, Placement, ReplicaMove

__all__ = [
    "BrokerFill",
    "PackBroker",
    "PackPartition",
    "PackingPlan",
    "Rehousing",
    "ReplicaMove",
    "pack_replicas",
    "rehouse_replicas",
]

NEIGHBOURS_TRIED_MAX: Final = 200
"""How far around the ideal size a donor's replicas are looked at; beyond it another donor fits better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingPlan:
    """What to move, and how far that is from the least possible.

    Attributes:
        moves: at most one per replica.
        before, after: by broker id; leaving brokers included.
        lower_bound: bytes that any plan moves that ends inside the band.
        homeless: replicas that have to move and find no legal broker: (partition, its broker).
        outside: brokers that end outside the band, as no legal move helps; 0 or more, in words for people elsewhere.
    """

    moves: tuple[ReplicaMove, ...]
    before: dict[int, BrokerFill]
    after: dict[int, BrokerFill]
    lower_bound: int
    homeless: tuple[tuple[tuple[str, int], int], ...]
    outside: tuple[int, ...]

    @property
    def bytes_moved(self) -> int:
        """Bytes copied by all moves."""
        return sum(move.size for move in self.moves)


def pack_replicas(
    partitions: Sequence[PackPartition],
    brokers: Sequence[PackBroker],
    *,
    leaving: Collection[int] = (),
    band: float = 0.09,
) -> PackingPlan:
    """Moves that bring every broker's bytes and replica count within `band` of its fair share.

    Args:
        partitions: all of the cluster; replicas on unknown brokers have to move, like those on `leaving` ones.
        brokers: all that are there, the leaving ones too.
        leaving: these end empty.
        band: 0.09 is from 91 % to 109 % of what a broker should carry, see `fair_share`.
    """
    packer = _Packer(partitions, brokers, frozenset(leaving), band)
    before = packer.fills()
    bound = packer.lower_bound()
    packer.rehouse()
    packer.fill_up()
    packer.skim()
    packer.trim()
    return PackingPlan(
        moves=tuple(packer.moves),
        before=before,
        after=packer.fills(),
        lower_bound=bound,
        homeless=tuple(packer.homeless),
        outside=tuple(packer.outside()),
    )


class Rehousing(NamedTuple):
    """Where replicas go that cannot stay: `moves`, and `homeless` ones as in a `PackingPlan`."""

    moves: tuple[ReplicaMove, ...]
    homeless: tuple[tuple[tuple[str, int], int], ...]


def rehouse_replicas(
    partitions: Sequence[PackPartition],
    brokers: Sequence[PackBroker],
    *,
    leaving: Collection[int],
    closed: Collection[int] = (),
) -> Rehousing:
    """Only what cannot stay on its broker: the first step of `pack_replicas`, and linear in what it moves.

    Replicas that merely crowd a rack stay: that is a plan of its own, and here nobody would carry it out.

    Args:
        leaving: brokers that end empty, like those that are not there.
        closed: brokers that keep what they have and get nothing.
    """
    packer = _Packer(partitions, brokers, frozenset(leaving), band=0.0)
    packer.rehouse(closed=frozenset(closed), crowded=False)
    return Rehousing(tuple(packer.moves), tuple(packer.homeless))


class _Packer(Placement):
    """The steps of `pack_replicas`, in its order."""

    # -- what cannot stay -----------------------------------------------------------------------------------

    def rehouse(self, closed: frozenset[int] = frozenset(), *, crowded: bool = True) -> None:
        """Replicas on brokers that leave or are gone, and (`crowded`) those that crowd a rack, largest first."""
        forced = list(self._foreign)
        forced += [
            (index, broker)
            for broker in self._brokers
            if broker not in self._stays
            for _, index in self._movable[broker]
        ]
        forced += self._crowded() if crowded else ()
        forced.sort(key=lambda one: (-self._partitions[one[0]].size, one))
        for index, source in forced:
            held = self._movable.get(source)
            if held is not None:
                at = bisect_left(held, (self._partitions[index].size, index))
                if at < len(held) and held[at][1] == index:
                    del held[at]
            targets = [
                broker
                for broker in self._staying
                if broker not in closed and self._fits(index, source, broker)
            ]
            if targets:
                self._move(index, source, max(targets, key=self._lack_of_both))
            else:
                self.homeless.append((self._partitions[index].name, source))
        self._forced = len(self._made)

    def _crowded(self) -> Iterator[tuple[int, int]]:
        if len(self._rack_sizes) <= 1:
            return
        for index, partition in enumerate(self._partitions):
            allowed = self._rack_max(index)
            seen: dict[str | None, int] = {}
            for broker in partition.replicas:
                if broker in self._stays:
                    rack = self._racks[broker]
                    seen[rack] = seen.get(rack, 0) + 1
                    if seen[rack] > allowed:
                        yield index, broker

    # -- evening out ------------------------------------------------------------------------------------------

    def _lack(self, broker: int) -> float:
        """How far a broker is below its shares, bytes and count together, as a fraction; negative above."""
        lack = 0.0
        size, count = self._mean_size[broker], self._mean_count[broker]
        if size:
            lack = (size - self._size[broker]) / size
        if count:
            lack = max(lack, (count - self._count[broker]) / count)
        return lack

    def _lack_of_both(self, broker: int) -> float:
        """As `_lack`, but the sum: what goes anyway should serve bytes and count alike."""
        size, count = self._mean_size[broker] or 1.0, self._mean_count[broker] or 1.0
        return (size - self._size[broker]) / size + (count - self._count[broker]) / count

    def fill_up(self) -> None:
        """Until nobody is below the band, or nobody can give."""
        given_up: set[int] = set()
        while True:
            needy = [
                broker
                for broker in self._staying
                if broker not in given_up
                and (
                    self._size[broker] < self._size_low[broker]
                    or self._count[broker] < self._count_low[broker]
                )
            ]
            if not needy:
                return
            receiver = max(needy, key=self._lack)
            if not self._receive(receiver):
                given_up.add(receiver)

    def _receive(self, receiver: int) -> bool:
        lacking = self._size_low[receiver] - self._size[receiver]
        replicas = max(1.0, self._count_low[receiver] - self._count[receiver])
        ideal = max(0.0, lacking) / replicas
        donors = sorted((broker for broker in self._staying if broker != receiver), key=self._lack)
        for donor in donors:
            if self._lack(donor) >= self._lack(receiver):
                break
            index = self._pick(donor, receiver, ideal)
            if index is not None:
                self._move(index, donor, receiver)
                return True
        return lacking > 0 and self._swap(receiver, donors, lacking)

    def _pick(self, donor: int, receiver: int, ideal: float) -> int | None:
        """The donor's legal replica nearest to the ideal size that leaves both inside the band; taken out."""
        spare = self._size[donor] - self._size_low[donor]
        room = self._size_high[receiver] - self._size[receiver]
        if (
            self._count[donor] - 1 < self._count_low[donor]
            or self._count[receiver] + 1 > self._count_high[receiver]
        ):
            return None
        held = self._movable[donor]
        for at in outwards(held, ideal, NEIGHBOURS_TRIED_MAX):
            size, index = held[at]
            if size <= spare and size <= room and self._fits(index, donor, receiver):
                del held[at]
                return index
        return None

    def _swap(self, receiver: int, donors: Sequence[int], lacking: float) -> bool:
        """Bytes without replicas: a large one comes, a small one goes back; where counts or capacity are tight."""
        small = self._movable[receiver]
        for donor in donors:
            spare = self._size[donor] - self._size_low[donor]
            if spare <= 0:
                continue
            for back_at in range(min(len(small), 20)):
                back_size, back = small[back_at]
                held = self._movable[donor]
                for at in outwards(held, back_size + lacking, NEIGHBOURS_TRIED_MAX):
                    size, index = held[at]
                    gain = size - back_size
                    if (
                        0 < gain <= min(spare, self._size_high[receiver] - self._size[receiver])
                        and index != back
                        and self._fits(index, donor, receiver)
                        and self._fits(back, receiver, donor)
                    ):
                        del held[at]
                        del small[back_at]
                        self._move(index, donor, receiver)
                        self._move(back, receiver, donor)
                        return True
        return False

    def skim(self) -> None:
        """Until nobody is above the band, or nobody can take."""
        given_up: set[int] = set()
        while True:
            full = [
                broker
                for broker in self._staying
                if broker not in given_up
                and (
                    self._size[broker] > self._size_high[broker]
                    or self._count[broker] > self._count_high[broker]
                )
            ]
            if not full:
                return
            donor = min(full, key=self._lack)
            if not self._give(donor):
                given_up.add(donor)

    def _give(self, donor: int) -> bool:
        excess = self._size[donor] - self._size_high[donor]
        replicas = max(1.0, self._count[donor] - self._count_high[donor])
        ideal = max(0.0, excess) / replicas
        filled, mean = (self._size, self._mean_size) if excess > 0 else (self._count, self._mean_count)
        for receiver in sorted(self._staying, key=lambda broker: filled[broker] / (mean[broker] or 1.0)):
            if receiver == donor:
                continue
            index = self._pick(donor, receiver, ideal)
            if index is not None:
                self._move(index, donor, receiver)
                return True
        return False

    # -- what was moved for nothing -------------------------------------------------------------------------------

    def trim(self) -> None:
        """The last replica into a broker usually overshoots: take moves back, or move a smaller one instead."""
        order = sorted(
            range(self._forced, len(self._made)), key=lambda at: -self._partitions[self._made[at][0]].size
        )
        dropped: set[int] = set()
        for at in order:
            index, source, target = self._made[at]
            if not self._fits(index, target, source):
                continue  # another replica of the partition has taken that rack since
            slack = min(
                self._size[target] - self._size_low[target], self._size_high[source] - self._size[source]
            )
            size = self._partitions[index].size
            if slack <= 0:
                continue
            if (
                size <= slack
                and self._count[target] - 1 >= self._count_low[target]
                and self._count[source] + 1 <= self._count_high[source]
            ):
                self._undo(at)
                insort(self._movable[source], (size, index))
                dropped.add(at)
                continue
            self._replace(at, size - slack)
        self._made = [move for at, move in enumerate(self._made) if at not in dropped]

    def _replace(self, at: int, smallest: float) -> None:
        """Move the smallest replica of at least this size from the same broker instead, if it is smaller."""
        index, source, target = self._made[at]
        size = self._partitions[index].size
        held = self._movable[source]
        self._undo(at)
        start = bisect_left(held, (smallest,))
        for place in range(start, min(len(held), start + NEIGHBOURS_TRIED_MAX)):
            other_size, other = held[place]
            if other_size >= size:
                break
            if self._fits(other, source, target):
                del held[place]
                insort(held, (size, index))
                index = other
                break
        self._move(index, source, target)
        self._made[at] = self._made.pop()
