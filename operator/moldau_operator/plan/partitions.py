"""Partitions as balancing sees them: where they lie, what they weigh on a disk and on a leader. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from moldau_operator.plan.leaders import NO_LEADER
from moldau_operator.seams.broker_admin import Partition, PartitionLoad, TopicView

REQUEST_BYTES: Final = 1_024
"""What a request costs its leader beside its bytes, in bytes: many small requests are work too."""


class SeenPartition(NamedTuple):
    """One partition.

    Attributes:
        name: (topic, partition).
        leader: broker id, or `NO_LEADER`.
        replicas: brokers that hold it, the preferred leader first; those that come with a move under way included.
        isr: in-sync replicas.
        size: bytes of one replica.
        weight: bytes a second that leading it costs.
        moving: whether a move is under way.
    """

    name: tuple[str, int]
    leader: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    size: int = 0
    weight: float = 0.0
    moving: bool = False


def see(
    topics: Mapping[str, TopicView],
    sizes: Mapping[Partition, int],
    loads: Mapping[Partition, PartitionLoad],
    moves: Collection[Partition] = (),
) -> list[SeenPartition]:
    """Everything that is known of each partition; what nobody told of its size or load counts as nothing."""
    found: list[SeenPartition] = []
    for topic in topics.values():
        for number, one in enumerate(topic.placement):
            place = Partition(topic.name, number)
            load = loads.get(place)
            found.append(
                SeenPartition(
                    (topic.name, number),
                    NO_LEADER if one.leader is None else one.leader,
                    one.replicas,
                    one.in_sync,
                    sizes.get(place, 0),
                    0.0 if load is None else leading_cost(load, len(one.replicas)),
                    place in moves,
                )
            )
    return found


def leading_cost(load: PartitionLoad, replicas: int) -> float:
    """Bytes a second through a leader: in once, out to consumers and to every other replica, and a fee per request."""
    return load.bytes_in * replicas + load.bytes_out + load.requests * REQUEST_BYTES
