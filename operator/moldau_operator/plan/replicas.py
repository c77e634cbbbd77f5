"""Another replication factor: which brokers a topic's partitions should live on then. Pure.

The least is moved: brokers that hold a partition keep it as long as the factor allows, so raising copies only what is
added and lowering copies nothing. New replicas go to racks that lack the partition, then to the brokers with the fewest
replicas; what goes is out of sync, doubled in a rack or on the fullest broker, and never the leader if it can stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from moldau_operator.seams.broker_admin import PartitionView

MOVES_MAX: Final = 50
"""Partitions on their way at once: enough to keep every disk busy, few enough that a stop is soon."""


def replica_counts(placements: Collection[Sequence[PartitionView]]) -> Counter[int]:
    """How many replicas lie on each broker."""
    return Counter(node for placement in placements for one in placement for node in one.replicas)


def choose_replicas(
    placement: Sequence[PartitionView],
    factor: int,
    brokers: Mapping[int, str | None],
    load: Mapping[int, int],
) -> dict[int, tuple[int, ...]]:
    """The brokers of each partition that has to change, the preferred leader first.

    Args:
        placement: the topic's partitions now.
        factor: replicas wanted; at most as many as there are brokers.
        brokers: those that may hold replicas, with their racks.
        load: replicas on each broker now, of all topics.
    """
    assert factor <= len(brokers), "the plan is refused before"
    counts = Counter(load)
    found: dict[int, tuple[int, ...]] = {}
    for number, partition in enumerate(placement):
        replicas = list(partition.replicas)
        while len(replicas) > factor or any(node not in brokers for node in replicas):
            node = max(replicas, key=lambda one: _dispensable(one, partition, replicas, brokers, counts))
            replicas.remove(node)
            counts[node] -= 1
        while len(replicas) < factor:
            node = min(brokers.keys() - set(replicas), key=lambda one: _rank(one, replicas, brokers, counts))
            replicas.append(node)
            counts[node] += 1
        if tuple(replicas) != partition.replicas:
            found[number] = tuple(replicas)
    return found


def spread_leaders(
    placement: Sequence[PartitionView], targets: Mapping[int, tuple[int, ...]]
) -> dict[int, tuple[int, ...]]:
    """The same brokers, in an order that lets each of them be preferred leader of as many partitions as the others.

    Only where replicas are added: what one broker led alone would else be led by it for ever.
    """
    first = Counter(one.replicas[0] for number, one in enumerate(placement) if number not in targets)
    spread: dict[int, tuple[int, ...]] = {}
    for number, target in targets.items():
        chosen = target[0]
        if len(target) > len(placement[number].replicas):
            chosen = min(target, key=lambda node: (first[node], target.index(node)))
        first[chosen] += 1
        spread[number] = (chosen, *(node for node in target if node != chosen))
    return spread


def _dispensable(
    node: int,
    partition: PartitionView,
    replicas: Sequence[int],
    brokers: Mapping[int, str | None],
    counts: Counter[int],
) -> tuple[bool, bool, bool, int, int, int]:
    """The greater, the sooner this replica goes."""
    rack = brokers.get(node)
    doubled = sum(rack is not None and brokers.get(other) == rack for other in replicas)
    return (
        node not in brokers,
        node != partition.leader,
        node not in partition.in_sync,
        doubled,
        counts[node],
        node,
    )


def _rank(
    node: int, replicas: Sequence[int], brokers: Mapping[int, str | None], counts: Counter[int]
) -> tuple[int, int, int]:
    """The smaller, the sooner this broker gets a replica."""
    rack = brokers[node]
    return (sum(brokers.get(other) == rack for other in replicas if rack is not None), counts[node], node)
