"""Committed offsets of one shard's groups, as a plain table. Pure; what may be committed is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from moldau_broker.base.ids import NULL_UUID, Uuid

NO_OFFSET: Final = -1
NO_EPOCH: Final = -1
NO_EXPIRY: Final = -1

_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class CommittedOffset(NamedTuple):
    """Where a group has read to in one partition.

    Attributes:
        offset: the next offset to read.
        leader_epoch: epoch of the last record read, -1 if the client did not say (KIP-320).
        metadata: the client's own note, given back as it came.
        committed_ms: wall clock of the commit.
        expires_ms: set by clients older than 2.1 that chose a retention of their own; else -1.
        topic_id: the topic's id at the time, or the zero id when the record is older than that field.
    """

    offset: int
    leader_epoch: int
    metadata: str
    committed_ms: int
    expires_ms: int = NO_EXPIRY
    topic_id: Uuid = NULL_UUID

    def is_of(self, topic_id: bytes) -> bool:
        """False where both sides name a topic id and they differ: the topic was deleted and made anew."""
        return NULL_UUID in (self.topic_id, topic_id) or self.topic_id == topic_id

    def is_expired(self, now_ms: int, since_ms: int, retention_ms: int) -> bool:
        """Whether it may go; `since_ms` is when the retention time began."""
        if self.expires_ms != NO_EXPIRY:
            return now_ms >= self.expires_ms
        return now_ms - since_ms >= retention_ms


class OffsetTable:
    """(group, topic, partition) -> `CommittedOffset`, and which of them an open transaction is about to change."""

    __slots__ = ("_groups", "_open")

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, dict[int, CommittedOffset]]] = {}
        self._open: dict[str, dict[tuple[str, int], set[int]]] = {}

    def get(self, group_id: str, topic: str, partition: int) -> CommittedOffset | None:
        """The committed offset, or None."""
        committed: CommittedOffset | None = (
            self._groups.get(group_id, _NOTHING).get(topic, _NOTHING).get(partition)
        )
        return committed

    def put(self, group_id: str, topic: str, partition: int, committed: CommittedOffset) -> None:
        """Remember a commit; the last one wins."""
        self._groups.setdefault(group_id, {}).setdefault(topic, {})[partition] = committed

    def remove(self, group_id: str, topic: str, partition: int) -> None:
        """Forget a commit, and that a transaction is about to make one."""
        self._close(group_id, topic, partition)
        topics = self._groups.get(group_id)
        if topics is None or (partitions := topics.get(topic)) is None:
            return
        partitions.pop(partition, None)
        if not partitions:
            del topics[topic]
            if not topics:
                del self._groups[group_id]

    def of_group(self, group_id: str) -> Mapping[str, Mapping[int, CommittedOffset]]:
        """topic -> partition -> offset; the live table, not to be kept."""
        return self._groups.get(group_id, _NOTHING)

    def of_topic(self, topic: str) -> Iterator[tuple[str, int, CommittedOffset]]:
        """(group, partition, offset) of every commit for that topic."""
        for group_id, topics in self._groups.items():
            for partition, committed in topics.get(topic, _NOTHING).items():
                yield group_id, partition, committed

    def hold(self, producer_id: int, group_id: str, topic: str, partition: int) -> None:
        """A commit for this partition is part of the open transaction of `producer_id` (KIP-447)."""
        self._open.setdefault(group_id, {}).setdefault((topic, partition), set()).add(producer_id)

    def is_unstable(self, group_id: str, topic: str, partition: int) -> bool:
        """Whether an open transaction may still change this offset."""
        return (topic, partition) in self._open.get(group_id, _NOTHING)

    def unstable(self, group_id: str) -> Iterator[tuple[str, int]]:
        """(topic, partition) of everything open transactions may still change."""
        return iter(tuple(self._open.get(group_id, _NOTHING)))

    def __len__(self) -> int:
        return sum(len(partitions) for topics in self._groups.values() for partitions in topics.values())

    def _close(self, group_id: str, topic: str, partition: int) -> None:
        held = self._open.get(group_id)
        if held is not None and held.pop((topic, partition), None) is not None and not held:
            del self._open[group_id]
