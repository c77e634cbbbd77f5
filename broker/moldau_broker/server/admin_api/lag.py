"""How far groups are behind, in records and in seconds. Pure.

The commit is always read before the log's end, so lag may be too large for a moment and is never negative. What is
not known stays out of the answer, because a zero would look like good news.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Position(NamedTuple):
    """A partition as its leader sees it.

    Attributes:
        log_start, high_watermark: the offsets that can be read.
        timestamp_ms: of the first record at or after the offset asked about; None if there is none, or it has none.
        offset_at_timestamp: the first offset at or after the time asked about, the high watermark where all is older.
    """

    log_start: int
    high_watermark: int
    timestamp_ms: int | None = None
    offset_at_timestamp: int | None = None


class Lag(NamedTuple):
    """How far behind: records that can still be read, and the age of the first of them; None is not known."""

    records: int | None
    seconds: float | None


UNKNOWN = Lag(None, None)


def partition_lag(committed: int | None, position: Position | None, now_ms: int) -> Lag:
    """The lag of one partition; nothing committed, or a leader that does not answer, is `UNKNOWN`."""
    if committed is None or position is None:
        return UNKNOWN
    records = max(position.high_watermark - max(committed, position.log_start), 0)
    if records == 0:
        return Lag(0, 0.0)
    if position.timestamp_ms is None:
        return Lag(records, None)
    return Lag(records, max(now_ms - position.timestamp_ms, 0) / 1000)


def total_lag(lags: Iterable[Lag]) -> Lag:
    """The lag of a group: the sum of records and the longest time, of the partitions it has committed.

    Half a sum is no lag: one partition that is not known makes the total unknown, and so does no partition at all.
    """
    found = list(lags)
    if not found:
        return UNKNOWN
    records = [lag.records for lag in found]
    seconds = [lag.seconds for lag in found]
    return Lag(
        None if None in records else sum(count for count in records if count is not None),
        None if None in seconds else max(age for age in seconds if age is not None),
    )
