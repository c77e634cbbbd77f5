"""The two walks of a cleaning round, batch by batch: index the dirty section, then filter the log. No I/O here.

What stays and what goes is Kafka's cleaner's rule set (`Cleaner`, `MemoryRecords.filterTo`, KIP-354, KIP-534):

- a record goes if a later one below the round's end has its key; a tombstone also once the delete horizon
  of its batch has passed. The horizon is stamped by the first round that meets the tombstone: attribute
  bit 6 is set and the base timestamp becomes the horizon;
- a batch keeps its base offset and last offset delta whatever it loses, and disappears with its last
  record, unless it holds the last sequence of a live producer or is the last batch of the cleanable
  range: then its header stays;
- data of aborted transactions goes, markers follow as `compaction_txn` says.

Batches that lose nothing are copied byte for byte; the others are recompressed with their own codec. A batch
whose body cannot be opened (it breaks a limit, or its codec's data is damaged) supersedes nothing and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from moldau_broker.base.limits import CLEANER_BATCH_BYTES_MAX, CLEANER_BATCH_RATIO_MAX
from moldau_broker.storage.batches import HEADER_SIZE, LENGTH_OVERHEAD, MAGIC, Batch
from moldau_broker.storage.compaction_records import (
    Body,
    DirtyIndex,
    index_records,
    keep_records,
    key_of_first,
    shift_timestamps,
)
from moldau_broker.storage.compaction_txn import TransactionTracker
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.compression import compress, decompress
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.records import (
    ATTRIBUTES_AT,
    CODEC_MASK,
    CRC_AT,
    DELETE_HORIZON,
    LOG_APPEND_TIME,
    NO_TIMESTAMP,
)

if TYPE_CHECKING:
    from moldau_broker.storage.txn_index import AbortedTxn

_HEADER: Final = Struct(">qiibIhiqqqhii")
_CRC: Final = Struct(">I")

Content: TypeAlias = bytes | memoryview


class LastRecord(NamedTuple):
    """Where a live producer left off: last offset of its newest data batch (None: only a marker), its epoch."""

    last_data_offset: int | None
    producer_epoch: int


@dataclass(frozen=True, slots=True)
class Filtered:
    """A batch to write: its bytes, and what the indexes need to know of it.

    `max_timestamp` is -1 for an empty batch: no record carries the one in its header. `changed` tells that
    the bytes are not those of the source. `aborted` is a transaction whose index entry must be kept.
    """

    content: Content
    last_offset: int
    max_timestamp: int
    records: int
    changed: bool = False
    aborted: AbortedTxn | None = None


class DirtyIndexer:
    """The first walk: feeds the batches of the dirty section, in order, into a `DirtyIndex`."""

    __slots__ = ("_now_ms", "_tracker", "index")

    def __init__(self, index: DirtyIndex, tracker: TransactionTracker, now_ms: int) -> None:
        self.index = index
        self._tracker = tracker
        self._now_ms = now_ms

    def add(self, batch: Batch, data: bytes, at: int) -> bool:
        """Index `batch`, whose bytes begin at data[at].

        Returns:
            False when the round must end before this batch because its keys do not fit any more. A round's
            first batch never ends it, so that every round makes progress: what does not fit stays.

        Raises:
            CorruptLog: its records do not parse, or the transaction index is incomplete.
        """
        index = self.index
        if batch.last_offset < index.first_dirty:
            return True
        fits = batch.last_offset < index.limit
        if batch.is_control:
            _on_marker(self._tracker, batch, data, at)
        elif batch.is_transactional and self._tracker.on_data(batch.producer_id, batch.last_offset):
            pass  # aborted: its records supersede nothing
        elif fits:
            body = _open(batch, data, at)
            if body is not None:
                fits = index_records(body, batch, index, horizon_passed=_horizon_passed(batch, self._now_ms))
        if not fits and index.end > index.first_dirty:
            return False
        index.end = max(index.end, batch.last_offset + 1)
        return True


class BatchFilter:
    """The second walk: takes every batch from the log's start and says what to write in its place.

    Attributes:
        unopened: batches that stay because their bodies could not be opened.
    """

    __slots__ = ("_horizon_ms", "_index", "_last_records", "_now_ms", "_tracker", "_upper_bound", "unopened")

    def __init__(
        self,
        index: DirtyIndex,
        tracker: TransactionTracker,
        last_records: Mapping[int, LastRecord],
        *,
        now_ms: int,
        delete_retention_ms: int,
        upper_bound: int,
    ) -> None:
        """Prepare the walk.

        Args:
            index: what the first walk found.
            tracker: a fresh one, with the aborted transactions of the whole log.
            last_records: the live producers by id.
            now_ms: wall time of the round; horizons are judged by it.
            delete_retention_ms: the topic's `delete.retention.ms`.
            upper_bound: end of the cleanable range; the batch that ends there is kept, empty if need be.
        """
        self._index = index
        self._tracker = tracker
        self._last_records = last_records
        self._now_ms = now_ms
        self._horizon_ms = now_ms + delete_retention_ms
        self._upper_bound = upper_bound
        self.unopened = 0

    def filter(self, batch: Batch, data: bytes, at: int) -> Filtered | None:
        """What to write for `batch`, whose bytes begin at data[at]; None if nothing.

        Raises:
            CorruptLog: its records do not parse, or the transaction index is incomplete.
        """
        if batch.is_control:
            return self._filter_marker(batch, data, at)
        aborted = batch.is_transactional and self._tracker.on_data(batch.producer_id, batch.last_offset)
        if batch.base_offset >= self._index.end:
            return _verbatim(batch, data, at)
        if aborted or not batch.record_count:
            return self._empty(batch, data, at)
        return self._filter_records(batch, data, at)

    def _filter_records(self, batch: Batch, data: bytes, at: int) -> Filtered | None:
        index = self._index
        dirty_tombstones = 0
        if batch.last_offset >= index.first_dirty:
            first = max(batch.base_offset, index.first_dirty)
            dropped = index.superseded.slice(first, batch.last_offset)
            dirty_tombstones = index.tombstones.slice(first, batch.last_offset) & ~dropped
            if dropped.bit_count() == batch.record_count:
                return self._empty(batch, data, at)
            if first == batch.base_offset and not dropped and not dirty_tombstones:
                return _verbatim(batch, data, at)
        body = _open(batch, data, at)
        if body is None:
            self.unopened += 1
            return _verbatim(batch, data, at)
        kept = keep_records(body, batch, index, horizon_passed=_horizon_passed(batch, self._now_ms))
        if not kept.records:
            return self._empty(batch, data, at)
        stamp = not batch.attributes & DELETE_HORIZON and (dirty_tombstones or kept.tombstones)
        if kept.records == batch.record_count and not stamp:
            return _verbatim(batch, data, at)
        horizon_ms = self._horizon_ms if stamp else None
        return _rebuild(batch, kept.chunks, kept.records, kept.max_timestamp_delta, horizon_ms)

    def _filter_marker(self, batch: Batch, data: bytes, at: int) -> Filtered | None:
        removable, aborted = _on_marker(self._tracker, batch, data, at)
        if batch.base_offset >= self._index.end or not removable:
            return _verbatim(batch, data, at, aborted)
        if not batch.record_count:
            return self._empty(batch, data, at)
        if not batch.attributes & DELETE_HORIZON:
            body = memoryview(data)[at + HEADER_SIZE : at + batch.size]
            delta = batch.max_timestamp - batch.base_timestamp
            return _rebuild(batch, [body], batch.record_count, delta, self._horizon_ms)
        if not _horizon_passed(batch, self._now_ms):
            return _verbatim(batch, data, at)
        return self._empty(batch, data, at)

    def _empty(self, batch: Batch, data: bytes, at: int) -> Filtered | None:
        """The batch's bare header if it is still needed, else None."""
        if not self._holds_last_sequence(batch) and batch.last_offset + 1 != self._upper_bound:
            return None
        if not batch.record_count:
            return _verbatim(batch, data, at)
        attributes = batch.attributes & ~(CODEC_MASK | DELETE_HORIZON)
        content = _pack(batch, attributes, NO_TIMESTAMP, batch.max_timestamp, 0, b"")
        return Filtered(content, batch.last_offset, NO_TIMESTAMP, 0, changed=True)

    def _holds_last_sequence(self, batch: Batch) -> bool:
        last = self._last_records.get(batch.producer_id) if batch.producer_id >= 0 else None
        if last is None:
            return False
        if last.last_data_offset is None:
            return batch.is_control and batch.producer_epoch == last.producer_epoch
        return batch.last_offset == last.last_data_offset


def _horizon_passed(batch: Batch, now_ms: int) -> bool:
    """Whether tombstones (and removable markers) of this batch may go: its base timestamp is the horizon."""
    return batch.attributes & DELETE_HORIZON != 0 and batch.base_timestamp <= now_ms


def _verbatim(batch: Batch, data: bytes, at: int, aborted: AbortedTxn | None = None) -> Filtered:
    timestamp = batch.max_timestamp if batch.record_count else NO_TIMESTAMP
    content = memoryview(data)[at : at + batch.size]
    return Filtered(content, batch.last_offset, timestamp, batch.record_count, aborted=aborted)


def _rebuild(
    batch: Batch, chunks: list[memoryview], count: int, newest_delta: int, horizon_ms: int | None
) -> Filtered:
    """A batch with the records in `chunks`, at the same offsets, stamped with `horizon_ms` if given."""
    attributes = batch.attributes
    base_timestamp = batch.base_timestamp
    max_timestamp = batch.max_timestamp
    if not attributes & LOG_APPEND_TIME:
        max_timestamp = base_timestamp + newest_delta
    if horizon_ms is None:
        body = b"".join(chunks)
    else:
        attributes |= DELETE_HORIZON
        body = shift_timestamps(chunks, base_timestamp - horizon_ms)
        base_timestamp = horizon_ms
    if attributes & CODEC_MASK:
        body = compress(attributes & CODEC_MASK, body)
    content = _pack(batch, attributes, base_timestamp, max_timestamp, count, body)
    return Filtered(content, batch.last_offset, max_timestamp, count, changed=True)


def _pack(
    batch: Batch, attributes: int, base_timestamp: int, max_timestamp: int, count: int, body: bytes
) -> bytes:
    content = bytearray(HEADER_SIZE + len(body))
    _HEADER.pack_into(
        content,
        0,
        batch.base_offset,
        len(content) - LENGTH_OVERHEAD,
        batch.leader_epoch,
        MAGIC,
        0,
        attributes,
        batch.last_offset - batch.base_offset,
        base_timestamp,
        max_timestamp,
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        count,
    )
    content[HEADER_SIZE:] = body
    _CRC.pack_into(content, CRC_AT, crc32c(memoryview(content)[ATTRIBUTES_AT:]))
    return bytes(content)


def _open(batch: Batch, data: bytes, at: int) -> Body | None:
    """The batch's records uncompressed; None if they cannot be had."""
    start, end = at + HEADER_SIZE, at + batch.size
    codec = batch.attributes & CODEC_MASK
    if not codec:
        return Body(data, start, end)
    try:
        opened = decompress(
            codec, memoryview(data)[start:end], CLEANER_BATCH_BYTES_MAX, CLEANER_BATCH_RATIO_MAX
        )
    except WireError:
        return None
    return Body(bytes(opened), 0, len(opened))


def _on_marker(
    tracker: TransactionTracker, batch: Batch, data: bytes, at: int
) -> tuple[bool, AbortedTxn | None]:
    """Feed a control batch to the tracker; see `TransactionTracker.on_marker`."""
    if not batch.record_count:
        return True, None  # emptied by an earlier round, which had found it removable
    key = key_of_first(data, at + HEADER_SIZE)
    if len(key) < 4:
        raise CorruptLog(f"the control batch at offset {batch.base_offset} has no type")
    return tracker.on_marker(batch.producer_id, batch.last_offset, int.from_bytes(key[2:4], "big"))
