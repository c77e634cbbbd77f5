"""Groups as metrics show them: what is committed, and how much lies behind it. Pure.

One list per kind of number instead of one object per partition: a coordinator may have tens of thousands, and the
garbage collector would walk them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from moldau_broker.base.ids import Uuid

if TYPE_CHECKING:
    from moldau_broker.coordinator.offsets import CommittedOffset


class TopicRows:
    """A group's commits in one topic.

    Attributes:
        topic, topic_id: which.
        indexes, offsets: partitions and the offsets committed there, in order.
        records: lag of each, None where it is not known.
        stamps: timestamp (ms) of the first record not consumed, None where it is not known or there is none.
    """

    __slots__ = ("indexes", "offsets", "records", "stamps", "topic", "topic_id")

    def __init__(self, topic: str, topic_id: Uuid, indexes: list[int], offsets: list[int]) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.indexes = indexes
        self.offsets = offsets
        self.records: list[int | None] = [None] * len(indexes)
        self.stamps: list[int | None] = [None] * len(indexes)

    @property
    def lag(self) -> int | None:
        """Of all of them together; half a sum is no sum."""
        return _sum(self.records)

    def seconds(self, at: int, now_ms: int) -> float | None:
        """The lag of the one at that place in time; None where it is not known."""
        if self.records[at] == 0:
            return 0.0
        stamp = self.stamps[at]
        return None if stamp is None else max(now_ms - stamp, 0) / 1000


class GroupRows:
    """A group and its commits.

    Attributes:
        group_id, state, members: see `GroupSketch`.
        shard: the partition of the offsets topic that it belongs to.
        topics: those in which it has committed something.
    """

    __slots__ = ("group_id", "members", "shard", "state", "topics")

    def __init__(self, group_id: str, shard: int, state: str, members: int, topics: list[TopicRows]) -> None:
        self.group_id = group_id
        self.shard = shard
        self.state = state
        self.members = members
        self.topics = topics

    @property
    def lag(self) -> int | None:
        """Over everything committed; None where nothing is, or part of it is not known."""
        return _sum([topic.lag for topic in self.topics]) if self.topics else None

    @property
    def max_lag(self) -> int | None:
        """The largest of them, under the same terms."""
        if self.lag is None:
            return None
        return max(records or 0 for topic in self.topics for records in topic.records)

    def max_seconds(self, now_ms: int) -> float | None:
        """The longest of them, under the same terms."""
        longest: float | None = None
        for topic in self.topics:
            for at in range(len(topic.indexes)):
                seconds = topic.seconds(at, now_ms)
                if seconds is None:
                    return None
                longest = seconds if longest is None else max(longest, seconds)
        return longest


def _sum(parts: list[int | None]) -> int | None:
    return None if None in parts else sum(part for part in parts if part is not None)


def topic_rows(
    topic: str, topic_id: Uuid, partitions: int, commits: Mapping[int, CommittedOffset]
) -> TopicRows | None:
    """A group's commits in a topic that has so many partitions; None where all of them belong to a namesake."""
    places = sorted(
        index for index, commit in commits.items() if index < partitions and commit.is_of(topic_id)
    )
    if not places:
        return None
    return TopicRows(topic, topic_id, places, [commits[index].offset for index in places])


def fill_records(rows: TopicRows, ends: Iterable[tuple[int, int] | None]) -> None:
    """Lag from (first readable offset, high watermark) of each partition, read after the commits."""
    rows.records = [
        None if end is None else max(end[1] - max(offset, end[0]), 0)
        for offset, end in zip(rows.offsets, ends, strict=True)
    ]
