"""Which partition a record goes to, exactly as the Java client decides. Pure.

Source: `org.apache.kafka.common.utils.Utils.murmur2` and KIP-480 (sticky partitions for null keys).
"""

from __future__ import annotations

from random import Random
from typing import Final, Protocol

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash of `data`, unsigned, with Kafka's seed."""
    length = len(data)
    h = _SEED ^ length
    tail = length & ~3
    for i in range(0, tail, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if tail != length:
        h = (h ^ int.from_bytes(data[tail:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def partition_for_key(key: bytes, partitions: int) -> int:
    """The partition of a keyed record among `partitions` (> 0), the one the Java client would choose."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class Partitioner(Protocol):
    """Where the records of one topic go; one instance per topic."""

    def partition(self, key: bytes | None, available: list[int], partitions: int) -> int:
        """The partition of the next record.

        `available` are the partitions that have a leader now (keyless records avoid the others);
        `partitions` is the topic's whole count, which alone decides for keys.
        """
        ...

    def batch_full(self, partition: int, available: list[int]) -> None:
        """Told when a batch of `partition` is closed."""
        ...


class StickyPartitioner:
    """Keyless records of a topic share a partition until its batch is full, then move on at random.

    Batches stay large, and over many batches every partition gets its share.
    """

    __slots__ = ("_current", "_rng")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._current: int | None = None

    def partition(self, key: bytes | None, available: list[int], partitions: int) -> int:
        """By key, or the partition of the batch being filled."""
        if key is not None:
            return partition_for_key(key, partitions)
        if self._current is None or (available and self._current not in available):
            self._current = self._rng.choice(available) if available else self._rng.randrange(partitions)
        return self._current

    def batch_full(self, partition: int, available: list[int]) -> None:
        """The next keyless record goes to another partition."""
        if partition == self._current:
            others = [candidate for candidate in available if candidate != partition]
            self._current = self._rng.choice(others) if others else None


class RoundRobinPartitioner:
    """Keyless records take turns over the partitions: an even spread also for few records."""

    __slots__ = ("_next",)

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def partition(self, key: bytes | None, available: list[int], partitions: int) -> int:
        """By key, or the next partition in turn."""
        if key is not None:
            return partition_for_key(key, partitions)
        turn = self._next
        self._next = turn + 1
        return available[turn % len(available)] if available else turn % partitions

    def batch_full(self, partition: int, available: list[int]) -> None:
        """Turns do not depend on batches."""
