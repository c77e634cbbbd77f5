"""Moving replicas for the cluster's own sake: off a broker that shall go, and onto brokers that came. Pure.

A replica's new place is a broker that holds none of the partition, in a rack that keeps the partition in as many racks
as before, and among those the one with the fewest replicas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from moldau_broker.base.topics import INTERNAL_TOPICS
from moldau_broker.metadata.assignment import replica_counts
from moldau_broker.metadata.image import BrokerImage, MetadataImage, PartitionImage, TopicImage
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.reassignments import Reassigner, is_moving, target_replicas

MOVES_MAX: Final = 1_000
"""Partitions one operation moves: what is left is moved by asking again, and a broker is not asked to fetch
everything at once."""


class Move(NamedTuple):
    """A partition and the replicas it shall have."""

    topic: str
    partition: int
    replicas: tuple[int, ...]


class Drain(NamedTuple):
    """What a drain came to.

    Attributes:
        begun: moves that this call began.
        under_way: partitions that still have a replica on the broker and are being moved off it already.
        left: partitions still to be moved by another call.
        refused: why it cannot be done, in words; nothing was begun then.
    """

    begun: tuple[Move, ...] = ()
    under_way: int = 0
    left: int = 0
    refused: str | None = None

    @property
    def done(self) -> bool:
        """Whether the broker holds no replica any more."""
        return self.refused is None and not (self.begun or self.under_way or self.left)


class _Places:
    """Finds places for replicas; what it gave out counts."""

    __slots__ = ("_brokers", "_held", "_most")

    def __init__(self, view: View, without: int | None = None) -> None:
        self._brokers = {
            broker.id: broker
            for broker in view.image.brokers.values()
            if broker.active and broker.id != without and not view.image.is_cordoned(broker.id)
        }
        self._held = replica_counts(view.image)
        self._most = view.settings.topics.partitions_per_broker_max

    def candidates(self, present: Sequence[int]) -> list[BrokerImage]:
        """Active brokers that are not among `present` and may hold more, the emptiest first."""
        free = [
            broker
            for broker in self._brokers.values()
            if broker.id not in present and self._held[broker.id] < self._most
        ]
        return sorted(free, key=lambda broker: (self._held[broker.id], broker.id))

    def take(self, broker_id: int) -> None:
        """A replica goes there."""
        self._held[broker_id] += 1

    @property
    def others(self) -> int:
        """How many brokers there are to choose from."""
        return len(self._brokers)


def drain_broker(view: View, broker_id: int) -> Result[Drain]:
    """Begin to move every replica off a broker; to be asked again until it is done.

    All or nothing: where one partition has nowhere to go, no other moves either.
    """
    image = view.image
    if broker_id not in image.brokers:
        return Result(Drain(refused=f"broker {broker_id} is not registered"))
    places = _Places(view, without=broker_id)
    moves: list[tuple[TopicImage, Move]] = []
    under_way = 0
    for topic, index, partition in _partitions_on(image, broker_id):
        target = target_replicas(partition)
        if broker_id not in target:
            under_way += 1
            continue
        chosen = _instead_of(image, places, broker_id, target)
        if isinstance(chosen, str):
            return Result(Drain(refused=f"partition {topic.name}-{index} cannot leave it: {chosen}"))
        places.take(chosen)
        replicas = tuple(chosen if replica == broker_id else replica for replica in target)
        moves.append((topic, Move(topic.name, index, replicas)))
    reassigner = Reassigner(view)
    for topic, move in moves[:MOVES_MAX]:
        refusal = reassigner.move(topic, move.partition, move.replicas)
        if refusal is not None:
            return Result(
                Drain(refused=f"partition {move.topic}-{move.partition} cannot leave it: {refusal.message}")
            )
    begun = tuple(move for _, move in moves[:MOVES_MAX])
    return Result(Drain(begun, under_way, len(moves) - len(begun)), tuple(reassigner.records))


def _partitions_on(image: MetadataImage, broker_id: int) -> Iterator[tuple[TopicImage, int, PartitionImage]]:
    for _, topic in sorted(image.topics.items()):
        for index, partition in enumerate(topic.partitions):
            if broker_id in partition.replicas:
                yield topic, index, partition


def _instead_of(image: MetadataImage, places: _Places, broker_id: int, target: Sequence[int]) -> int | str:
    """The broker for a replica that leaves `broker_id`, or why there is none."""
    factor = len(target)
    candidates = places.candidates(target)
    if not candidates:
        if places.others < factor:
            return f"it has {factor} replicas, and without broker {broker_id} only {places.others} brokers are active"
        return "no other active broker may hold another replica (max.partitions.per.broker)"
    staying = [replica for replica in target if replica != broker_id]
    racks_before = len(_racks(image, target))
    for broker in candidates:
        if len(_racks(image, [*staying, broker.id])) >= racks_before:
            return broker.id
    return (
        f"its {factor} replicas are in {racks_before} racks, and without broker {broker_id} no active broker "
        "that could hold one keeps it so"
    )


def _racks(image: MetadataImage, replicas: Sequence[int]) -> set[str | None]:
    return {image.brokers[replica].rack for replica in replicas if replica in image.brokers}


# -- internal topics --------------------------------------------------------------------------------------


def raise_internal_factor(view: View) -> Result[None]:
    """Internal topics made when there were fewer brokers get the replicas their setting asks for.

    As many as `offsets.topic.replication.factor` says and active brokers allow. The least used broker comes first,
    so that leaderships spread as well.
    """
    reassigner = Reassigner(view)
    places = _Places(view)
    factor = min(view.settings.groups.offsets_replication_factor, places.others)
    for name in sorted(INTERNAL_TOPICS):
        topic = view.image.topics.get(name)
        if topic is None or any(is_moving(partition) for partition in topic.partitions):
            continue
        first: Counter[int] = Counter()
        for index, partition in enumerate(topic.partitions):
            replicas = list(partition.replicas)
            if len(replicas) >= factor:
                continue
            while len(replicas) < factor:
                added = _best_addition(view.image, places, replicas)
                if added is None:
                    break
                places.take(added)
                replicas.append(added)
            replicas.sort(key=lambda broker: first[broker])
            first[replicas[0]] += 1
            if len(replicas) > len(partition.replicas):
                reassigner.move(topic, index, replicas)
    return Result(None, tuple(reassigner.records))


def internal_factor_is_low(view: View) -> bool:
    """Whether `raise_internal_factor` has something to do."""
    wanted = view.settings.groups.offsets_replication_factor
    image = view.image
    active = sum(1 for broker in image.brokers.values() if broker.active and not image.is_cordoned(broker.id))
    return any(
        len(partition.replicas) < min(wanted, active) and not is_moving(partition)
        for name in INTERNAL_TOPICS
        if (topic := view.image.topics.get(name)) is not None
        for partition in topic.partitions
    )


def _best_addition(image: MetadataImage, places: _Places, replicas: Sequence[int]) -> int | None:
    candidates = places.candidates(replicas)
    racks = _racks(image, replicas)
    # Sorting keeps the order among equals: the emptiest broker of a new rack, else the emptiest.
    candidates.sort(key=lambda broker: broker.rack in racks)
    return candidates[0].id if candidates else None
