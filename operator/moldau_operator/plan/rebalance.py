"""Which replicas should move where: asked for only where it matters, cut to a budget, named by a hash. Pure.

`packing` finds the moves. Here it is decided whether sizes matter at all (a cluster of a few megabytes is balanced by
counts), what a plan may cost, how long it takes, and by which name a person approves it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from moldau_operator.plan.fair_share import fair_shares, rack_limits
from moldau_operator.plan.packing import BrokerFill, PackBroker, PackPartition, pack_replicas
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.resources.balance_status import THROTTLE_BYTES

BAND: Final = 0.09
"""A plan brings everybody within this of the mean."""
TRIGGER: Final = 0.2
"""And is made only once somebody is further than this from it, so that growth does not ask for a plan every day."""
BYTES_MATTER: Final = 64 * 1024 * 1024
"""Mean bytes on a broker below which all replicas count alike: moving a megabyte evens nothing out."""
MOVES_PLANNED_MAX: Final = 5_000
"""Moves of one plan: it is kept in the resource's status, which etcd limits to 1.5 MB; the rest is the next plan's."""
HASH_CHARS: Final = 12


class PlannedMove(NamedTuple):
    """One replica of a partition goes from one broker to another."""

    name: tuple[str, int]
    source: int
    target: int


class SpreadReport(NamedTuple):
    """How replicas lie.

    Attributes:
        worst: how far the broker furthest from its fair share is from it, as a fraction; bytes and counts alike.
        words: who that is and why it matters, for people; empty while everybody is near enough.
    """

    worst: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPlan:
    """What to move.

    Attributes:
        moves: in the order in which they were chosen.
        sizes: bytes of one replica by partition, of those that move.
        before, after: by broker id; `after` is what these moves come to.
        by_bytes: whether sizes decided; else all replicas counted alike.
        lower_bound: bytes (or, without `by_bytes`, replicas) that any plan moves that ends inside the band.
        left_out: moves that the budget or the limit of moves has no room for.
        outside: brokers that end outside the band, as no legal move helps.
        homeless: replicas that should move and fit nowhere.
        seconds: how long copying takes at the throttle's rate.
    """

    moves: tuple[PlannedMove, ...]
    sizes: Mapping[tuple[str, int], int]
    before: Mapping[int, BrokerFill]
    after: Mapping[int, BrokerFill]
    by_bytes: bool
    lower_bound: int
    left_out: int
    outside: tuple[int, ...]
    homeless: int
    seconds: float

    @property
    def bytes_moved(self) -> int:
        """Bytes that are copied."""
        return sum(self.sizes[move.name] for move in self.moves)

    @property
    def gap(self) -> float | None:
        """How much more is moved than the bound, as a fraction; None without a bound, or where the plan was cut."""
        moved = self.bytes_moved if self.by_bytes else len(self.moves)
        return moved / self.lower_bound - 1 if self.lower_bound and not self.left_out else None

    @property
    def hash(self) -> str:
        """The plan's name: the same moves have the same one; empty for a plan without moves."""
        return hash_of(self.moves)


def spread(partitions: Sequence[SeenPartition], brokers: Sequence[PackBroker]) -> SpreadReport:
    """Whether replicas lie so unevenly, or so close together, that moving them is worth it."""
    there = {broker.id for broker in brokers}
    size, count = Counter[int](), Counter[int]()
    for one in partitions:
        for broker in one.replicas:
            if broker in there:
                size[broker] += one.size
                count[broker] += 1
    if not there or not count:
        return SpreadReport(0.0, "")
    crowded = _crowded(partitions, brokers)
    if crowded:
        return SpreadReport(1.0, f"{crowded} share a rack although another one has room")
    worst, words = 0.0, ""
    shares = fair_shares(
        ((len(one.replicas), one.size) for one in partitions), {broker.id: broker.rack for broker in brokers}
    )
    for broker, share in sorted(shares.items()):
        # A whole replica is not divided: being less than one away is as near as counts come.
        away = abs(count[broker] - share.replicas)
        found = [
            (
                away / share.replicas if away >= 1 and share.replicas else 0.0,
                f"{count[broker]:,} of {share.replicas:,.1f} replicas",
            )
        ]
        if share.size >= BYTES_MATTER:
            far = abs(size[broker] - share.size) / share.size
            found.append((far, f"{size[broker] / 1e9:,.1f} of {share.size / 1e9:,.1f} GB"))
        for distance, what in found:
            if distance > worst:
                worst, words = distance, f"broker {broker} has {what}"
    return SpreadReport(worst, words if worst > TRIGGER else "")


def plan_rebalance(
    partitions: Sequence[SeenPartition],
    brokers: Sequence[PackBroker],
    *,
    budget_bytes: int | None = None,
    throttle_bytes: int = THROTTLE_BYTES,
    kept: Sequence[PlannedMove] = (),
) -> ReplicaPlan:
    """Moves that bring every broker inside the band, as many as the budget allows.

    Args:
        brokers: those that serve and stay.
        kept: the moves of a plan that was made before; where there are some, it is that plan as things are now.
    """
    share = sum(one.size * len(one.replicas) for one in partitions) / max(1, len(brokers))
    by_bytes = share >= BYTES_MATTER
    # Of replicas that count alike the packer takes the first: the smallest should go.
    listed = partitions if by_bytes else sorted(partitions, key=lambda one: one.size)
    packed = [PackPartition(one.name, one.replicas, one.size if by_bytes else 1) for one in listed]
    plan = pack_replicas(packed, brokers, band=BAND)
    sizes = {one.name: one.size for one in partitions}
    moves = [PlannedMove(one.name, one.source, one.target) for one in plan.moves]
    taken = list(kept) or cut_to(moves, sizes, budget_bytes)
    wanted = {move.name for move in taken}
    return ReplicaPlan(
        moves=tuple(taken),
        sizes={name: sizes[name] for name in wanted},
        before=_fills(partitions, brokers, ()),
        after=_fills(partitions, brokers, taken),
        by_bytes=by_bytes,
        lower_bound=plan.lower_bound,
        left_out=0 if kept else len(moves) - len(taken),
        outside=plan.outside,
        homeless=len(plan.homeless),
        seconds=seconds_for(taken, sizes, {one.name: one.leader for one in partitions}, throttle_bytes),
    )


def cut_to(
    moves: Sequence[PlannedMove], sizes: Mapping[tuple[str, int], int], budget_bytes: int | None
) -> list[PlannedMove]:
    """The moves there is room for, in their order: what has to move comes first in a plan.

    Of a partition with several moves the later ones may need the room in a rack that the earlier ones make.
    """
    taken: list[PlannedMove] = []
    spent = 0
    short: set[tuple[str, int]] = set()
    for move in moves:
        if len(taken) == MOVES_PLANNED_MAX:
            break
        if move.name in short or (budget_bytes is not None and spent + sizes[move.name] > budget_bytes):
            short.add(move.name)
            continue
        spent += sizes[move.name]
        taken.append(move)
    return taken


def seconds_for(
    moves: Iterable[PlannedMove],
    sizes: Mapping[tuple[str, int], int],
    leaders: Mapping[tuple[str, int], int],
    throttle_bytes: int,
) -> float:
    """How long the busiest broker needs at its throttle: it takes what comes, and sends what it leads."""
    taken, sent = Counter[int](), Counter[int]()
    for move in moves:
        taken[move.target] += sizes.get(move.name, 0)
        sent[leaders.get(move.name, move.source)] += sizes.get(move.name, 0)
    busiest = max([*taken.values(), *sent.values()], default=0)
    return busiest / throttle_bytes


# -- a plan's name, and a plan as text ------------------------------------------------------------------------


def hash_of(moves: Collection[PlannedMove]) -> str:
    """Hexadecimal; the order of moves does not matter, as any order leads to the same placement."""
    if not moves:
        return ""
    lines = sorted(f"{topic} {number} {source} {target}" for (topic, number), source, target in moves)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:HASH_CHARS]


def encode_moves(moves: Iterable[PlannedMove]) -> str:
    """Moves as short text, for a status: JSON by topic, compressed, base64."""
    by_topic: dict[str, list[list[int]]] = {}
    for (topic, number), source, target in moves:
        by_topic.setdefault(topic, []).append([number, source, target])
    return base64.b64encode(zlib.compress(json.dumps(by_topic, separators=(",", ":")).encode(), 9)).decode()


def decode_moves(text: str) -> tuple[PlannedMove, ...]:
    """The inverse of `encode_moves`.

    Raises:
        ValueError: it is no such text.
    """
    try:
        found = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        return tuple(
            PlannedMove((str(topic), int(number)), int(source), int(target))
            for topic, moves in found.items()
            for number, source, target in moves
        )
    except (zlib.error, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"no plan: {error}") from error


def _crowded(partitions: Sequence[SeenPartition], brokers: Sequence[PackBroker]) -> str:
    """A partition with more replicas in a rack than racks make necessary; empty when there is none."""
    racks = {broker.id: broker.rack for broker in brokers}
    sizes = Counter(racks.values()).values()
    if len(sizes) <= 1:
        return ""
    limits = rack_limits((len(one.replicas) for one in partitions), sizes)
    for one in partitions:
        held = Counter(racks[broker] for broker in one.replicas if broker in racks)
        if held and max(held.values()) > limits[len(one.replicas)]:
            return f"replicas of {one.name[0]}-{one.name[1]}"
    return ""


def _fills(
    partitions: Sequence[SeenPartition], brokers: Sequence[PackBroker], moves: Iterable[PlannedMove]
) -> dict[int, BrokerFill]:
    size = {broker.id: 0 for broker in brokers}
    count = {broker.id: 0 for broker in brokers}
    sizes = {one.name: one.size for one in partitions}
    for one in partitions:
        for broker in one.replicas:
            if broker in size:
                size[broker] += one.size
                count[broker] += 1
    for move in moves:
        for broker, sign in ((move.source, -1), (move.target, 1)):
            if broker in size:
                size[broker] += sign * sizes[move.name]
                count[broker] += sign
    return {broker: BrokerFill(size[broker], count[broker]) for broker in sorted(size)}
