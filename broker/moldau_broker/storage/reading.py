"""Reads over a chain of segments: by offset, and by time. Any thread.

Nothing here changes anything; a caller on another thread than the log's compares the log's generation before
and after. Source: `UnifiedLog.read`, `fetchOffsetByTimestamp`, `LogSegment.findOffsetByTimestamp`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from moldau_broker.base.limits import OPENED_ITEMS_MAX
from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import Batch
from moldau_broker.storage.disk import Buffer
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.names import TXN_INDEX
from moldau_broker.storage.place import Place
from moldau_broker.storage.segment import Segment
from moldau_broker.storage.segment_base import NEVER
from moldau_broker.storage.txn_index import AbortedTxn
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.records import ReadLimits, crc_ok, read_records

_LIMITS: Final = ReadLimits(items_max=OPENED_ITEMS_MAX)
_BASE: Final = attrgetter("base_offset")


class TimestampedOffset(NamedTuple):
    """A record found by time: its offset, its timestamp in ms, the leader epoch it was written in."""

    offset: int
    timestamp: int
    leader_epoch: int


def read_from(
    segments: Sequence[Segment], offset: int, max_bytes: int, limit: int, *, min_one: bool, nowait: bool
) -> Buffer:
    """Whole batches from the first that ends at or after `offset`; none reaches offset `limit`.

    Raises:
        Cold: with `nowait`, if that would wait for the disk.
    """
    last = len(segments) - 1
    at = last
    if offset < segments[-1].base_offset:
        at = max(0, bisect_right(segments, offset, key=_BASE) - 1)
    while True:
        segment = segments[at]
        bound = NEVER if at < last and segments[at + 1].base_offset <= limit else limit
        data = segment.read(offset, max_bytes, bound, min_one=min_one, nowait=nowait)
        if data or at == last or bound != NEVER or segment.locate(offset, nowait=nowait) < segment.size:
            return data
        at += 1  # compaction left nothing here from `offset` on


def find_by_time(segments: Sequence[Segment], timestamp: int, start_offset: int) -> TimestampedOffset | None:
    """The first record at or after `start_offset` with a timestamp of `timestamp` or later.

    A batch that was written as something nobody can open counts as one record: its first, with its largest
    timestamp. Records are opaque when they come, so that is its producer's doing and no damage.

    Raises:
        CorruptLog: a batch that has to be opened is damaged.
    """
    for segment in segments:
        if segment.size == 0 or segment.max_timestamp < timestamp:
            continue
        entry = segment.time_index.floor(0, timestamp)
        offset = max(start_offset, segment.base_offset + (entry[1] if entry else 0))
        for batch in segment.batches(segment.locate(offset)):
            if batch.max_timestamp >= timestamp and batch.last_offset >= start_offset:
                for found in _records(segment, batch, start_offset):
                    if found.timestamp >= timestamp and found.offset >= start_offset:
                        return found
    return None


def find_newest(segments: Sequence[Segment], start_offset: int) -> TimestampedOffset | None:
    """The first record with the largest timestamp of all.

    Raises:
        CorruptLog: the batch that holds it is damaged.
    """
    holding = [segment for segment in segments if segment.size and segment.max_timestamp >= 0]
    if not holding:
        return None
    segment = max(holding, key=attrgetter("max_timestamp"))
    for batch in segment.batches(segment.locate(segment.max_timestamp_offset)):
        records = [found for found in _records(segment, batch, start_offset) if found.offset >= start_offset]
        return max(records, key=attrgetter("timestamp"), default=None)
    return None


def _records(segment: Segment, batch: Batch, start_offset: int) -> Iterator[TimestampedOffset]:
    data = segment.handle().pread(batch.size, batch.position)
    try:
        for record in read_records(data, 0, _LIMITS):
            yield TimestampedOffset(record.offset, record.timestamp, batch.leader_epoch)
    except WireError as error:
        if len(data) < batch.size or not crc_ok(data, 0, batch.size):
            raise CorruptLog(str(error), position=batch.position, offset=batch.base_offset) from error
        first = max(batch.base_offset, start_offset)
        yield TimestampedOffset(first, batch.max_timestamp, batch.leader_epoch)


def aborted_in(segments: Sequence[Segment], place: Place, start: int, end: int) -> list[AbortedTxn]:
    """Aborted transactions that touch offsets `start` to `end`, by first offset, as Fetch lists them."""
    found: list[AbortedTxn] = []
    first = max(0, bisect_right(segments, start, key=_BASE) - 1)
    for segment in segments[first:]:
        entries = txn_index.read(place, segment.name(TXN_INDEX))
        found += [entry for entry in entries if entry.last_offset >= start and entry.first_offset < end]
        if any(entry.last_stable_offset >= end for entry in entries):
            break
    return sorted(found, key=attrgetter("first_offset"))
