"""What to clean next and how to cut it: dirtiness, cleanable range, segment groups. No I/O here.

A log is a clean section, then a dirty one that is cleanable up to the first segment that must not be
touched: the active one, the one that holds the last stable offset, or the first within
`min.compaction.lag.ms`. Source: Kafka's `LogCleanerManager` and `Cleaner.groupSegmentsBySize`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from moldau_broker.base.topic_config import TopicConfig

RELATIVE_OFFSET_MAX: Final = (1 << 31) - 1  # what an index entry of Kafka's can hold


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What planning needs to know of one segment.

    `first_timestamp` is that of the segment's first batch (None: not looked up), `max_timestamp` the
    newest in it; index sizes are in bytes.
    """

    base_offset: int
    size: int
    max_timestamp: int
    index_size: int = 0
    time_index_size: int = 0
    first_timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class CleanPlan:
    """One log's cleanable range, and how urgent it is.

    The dirty section is [first_dirty, upper_bound), a whole number of segments above `first_dirty`.
    `overdue` means that `max.compaction.lag.ms` has passed for some record in it.
    """

    first_dirty: int
    upper_bound: int
    clean_bytes: int
    dirty_bytes: int
    overdue: bool

    @property
    def ratio(self) -> float:
        """Share of dirty bytes in what a round would read, 0 to 1."""
        total = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / total if total else 0.0

    def due(self, config: TopicConfig) -> bool:
        """Whether the log should be cleaned now under `config`."""
        return self.dirty_bytes > 0 and (self.overdue or self.ratio > config.min_cleanable_dirty_ratio)


def plan_clean(
    segments: Sequence[SegmentFacts],
    config: TopicConfig,
    *,
    checkpoint: int | None,
    log_start_offset: int,
    log_end_offset: int,
    stable_offset: int,
    now_ms: int,
) -> CleanPlan | None:
    """The cleanable range of a log whose last segment is the active one; None if there is none.

    Args:
        segments: all segments by base offset.
        config: the topic's settings.
        checkpoint: the log's line in `cleaner-offset-checkpoint`: the end of its clean section.
        log_start_offset: first offset of the log.
        log_end_offset: next offset to be appended.
        stable_offset: the lesser of last stable offset and high watermark.
        now_ms: wall time.
    """
    if len(segments) < 2:
        return None
    first_dirty = log_start_offset
    if checkpoint is not None and log_start_offset <= checkpoint <= log_end_offset:
        first_dirty = checkpoint
    closed = segments[:-1]
    limit = min(stable_offset, segments[-1].base_offset)
    if config.min_compaction_lag_ms > 0:
        young_from = now_ms - config.min_compaction_lag_ms
        for facts, following in zip(closed, segments[1:], strict=True):
            if following.base_offset > first_dirty and facts.max_timestamp > young_from:
                limit = min(limit, facts.base_offset)
                break
    clean_bytes = dirty_bytes = 0
    upper_bound = first_dirty
    overdue_before = now_ms - config.max_compaction_lag_ms
    overdue = False
    for facts, following in zip(closed, segments[1:], strict=True):
        if following.base_offset > limit:
            break
        if following.base_offset <= first_dirty:
            clean_bytes += facts.size
            continue
        dirty_bytes += facts.size
        upper_bound = following.base_offset
        if facts.first_timestamp is not None and 0 < facts.first_timestamp < overdue_before:
            overdue = True
    if not dirty_bytes:
        return None
    return CleanPlan(first_dirty, upper_bound, clean_bytes, dirty_bytes, overdue)


def group_segments(
    segments: Iterable[SegmentFacts], *, end: int, upper_bound: int, config: TopicConfig, files_max: int
) -> list[list[int]]:
    """Cut the segments that begin below `end` into groups, each to be rewritten into one segment.

    A group is at most `segment.bytes` of log, `segment.index.bytes` of either index, 2**31 offsets and
    `files_max` segments long (the swap is done by the thread that serves clients).

    Returns:
        The base offsets of each group's segments, ascending.
    """
    listed = [facts for facts in segments if facts.base_offset < end]
    groups: list[list[int]] = []
    log_size = index_size = time_index_size = 0
    for position, facts in enumerate(listed):
        next_base = listed[position + 1].base_offset if position + 1 < len(listed) else upper_bound
        log_size += facts.size
        index_size += facts.index_size
        time_index_size += facts.time_index_size
        if (
            groups
            and len(groups[-1]) < files_max
            and log_size <= config.segment_bytes
            and index_size <= config.segment_index_bytes
            and time_index_size <= config.segment_index_bytes
            and next_base - 1 - groups[-1][0] <= RELATIVE_OFFSET_MAX
        ):
            groups[-1].append(facts.base_offset)
            continue
        groups.append([facts.base_offset])
        log_size, index_size, time_index_size = facts.size, facts.index_size, facts.time_index_size
    return groups
