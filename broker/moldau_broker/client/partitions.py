"""The name of a partition, and the offsets people ask for in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class TopicPartition(NamedTuple):
    """One partition of one topic; sorts the way people list them."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


# Special timestamps of ListOffsets (KIP-79, KIP-734, KIP-405): what to ask instead of a time.
LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3


def by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    """Partition numbers grouped by topic, the shape most requests want."""
    grouped: dict[str, list[int]] = {}
    for topic, partition in partitions:
        grouped.setdefault(topic, []).append(partition)
    return grouped
