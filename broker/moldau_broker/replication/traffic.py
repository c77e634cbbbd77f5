"""What clients and followers have moved, by topic, also of replicas that are no longer hosted here. Pure.

Partitions count for themselves; a sum over them would fall when a replica leaves, and whoever computes rates from it
would take that for a restart and see traffic that never was. So what a replica had counted stays here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition


class Counts(NamedTuple):
    """Counters since the process began; see `PartitionBase`."""

    records_in: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    replica_bytes_in: int = 0
    replica_bytes_out: int = 0
    produces: int = 0
    fetches: int = 0
    failed_produces: int = 0
    failed_fetches: int = 0

    def plus(self, other: Counts) -> Counts:
        """The sum."""
        return Counts(*(mine + its for mine, its in zip(self, other, strict=True)))


def counts_of(partition: Partition) -> Counts:
    """What one replica has counted."""
    return Counts(
        partition.records_in,
        partition.bytes_in,
        partition.bytes_out,
        partition.replica_bytes_in,
        partition.replica_bytes_out,
        partition.produces,
        partition.fetches,
        partition.failed_produces,
        partition.failed_fetches,
    )


class Traffic:
    """The counters of replicas that are gone, and the sums of them with those that are here."""

    __slots__ = ("_gone", "_gone_by_topic")

    def __init__(self) -> None:
        self._gone = Counts()
        self._gone_by_topic: dict[str, Counts] = {}

    def replica_gone(self, partition: Partition) -> None:
        """It is hosted here no more."""
        counts = counts_of(partition)
        self._gone = self._gone.plus(counts)
        self._gone_by_topic[partition.topic] = self._gone_by_topic.get(partition.topic, Counts()).plus(counts)

    def topic_gone(self, topic: str) -> None:
        """It was deleted: a namesake begins at zero; what is counted over all topics stays."""
        self._gone_by_topic.pop(topic, None)

    def by_topic(self, partitions: Iterable[Partition]) -> dict[str, Counts]:
        """Every topic that is, or was, hosted here."""
        sums = {topic: list(counts) for topic, counts in self._gone_by_topic.items()}
        for partition in partitions:
            counts = counts_of(partition)
            known = sums.get(partition.topic)
            if known is None:
                sums[partition.topic] = list(counts)
            else:
                for index, count in enumerate(counts):
                    known[index] += count
        return {topic: Counts(*counts) for topic, counts in sums.items()}

    def total(self, by_topic: Iterable[Counts]) -> Counts:
        """Over all topics, deleted ones included; `by_topic` as given by that method."""
        total = self._gone
        for counts in self._gone_by_topic.values():
            total = total.plus(Counts(*(-count for count in counts)))
        for counts in by_topic:
            total = total.plus(counts)
        return total
