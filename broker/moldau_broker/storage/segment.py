"""One segment of a log: the batches from one base offset on, with its indexes.

The loop thread appends; other threads may read at the same time. What a reader needs is taken once from the
attributes, sizes only grow, and truncation replaces objects instead of changing them.

Source: protocol guide of Kafka 4.3, on-disk format; `LogSegment`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import HEADER_SIZE, Batch
from moldau_broker.storage.disk import Buffer
from moldau_broker.storage.errors import CorruptLog, DiskFull, StorageError
from moldau_broker.storage.index import OFFSET_ENTRY
from moldau_broker.storage.names import (
    TXN_INDEX,
)
from moldau_broker.storage.segment_base import NO_TIMESTAMP
from moldau_broker.storage.segment_read import SegmentRead
from moldau_broker.storage.tail import TAIL_BATCHES_MAX, Tail


class Segment(SegmentRead):
    """Batches from `base_offset` on. Its attributes are documented at `SegmentBase`."""

    __slots__ = ()

    # --- writing -------------------------------------------------------------------------------------

    def append(self, batch: Buffer, size: int, last_offset: int, max_timestamp: int) -> None:
        """Write one whole batch of `size` bytes. On failure nothing of it remains.

        Raises:
            DiskFull: and the segment is as before.
            StorageError: and the segment must not be appended to any more.
        """
        file = self.file
        if file is None:
            file = self.handle()
        try:
            file.append(batch)
        except StorageError:
            file.truncate(self.size)
            raise
        self.note(last_offset, size, max_timestamp)

    def append_many(self, data: Buffer, batches: Sequence[Batch]) -> None:
        """Write several whole batches that are consecutive in `data`, as `append` does one."""
        file = self.handle()
        try:
            file.append(data)
        except StorageError:
            file.truncate(self.size)
            raise
        for batch in batches:
            self.note(batch.last_offset, batch.size, batch.max_timestamp)

    def note(self, last_offset: int, size: int, max_timestamp: int) -> None:
        """Account for a batch that now stands in the file after the last one."""
        position = self.size
        relative = last_offset - self.base_offset
        known = self._max_timestamp
        if known is None:
            known = self.max_timestamp
        if max_timestamp > known:
            self._max_timestamp = max_timestamp
            self._max_timestamp_offset = last_offset
        if position == 0:
            self.first_timestamp = max_timestamp
        tail = self.tail
        if tail is not None:
            tail.position.append(position)
            tail.last.append(relative)
            if len(tail.last) > TAIL_BATCHES_MAX:
                self.tail = tail.trimmed()
        if self._bytes_since_entry > self._interval:
            self._index(relative, position)
        self._bytes_since_entry += size
        self.size = position + size

    def _index(self, relative: int, position: int) -> None:
        """An entry for the batch at `position` in both indexes, if they have room."""
        self._bytes_since_entry = 0
        index = self.offset_index
        entries = len(index)
        if entries < self._entries_max:
            index.append(relative, position)
            entries += 1
        self._index_time()
        if not index.pending:  # its file has just been written: the other goes with it, or both count as lost
            with contextlib.suppress(StorageError):
                self.time_index.write_pending()
        self.index_full = entries >= self._entries_max or len(self.time_index) >= self._time_entries_max

    def _index_time(self) -> None:
        """The largest timestamp so far enters the time index, if it grew since the last entry."""
        indexed = self._timestamp_indexed
        if indexed is None:
            last = self.time_index.last()
            indexed = last[0] if last else NO_TIMESTAMP
        newest = self.max_timestamp
        if newest > indexed:
            self.time_index.append(newest, self._max_timestamp_offset - self.base_offset)
            indexed = newest
        self._timestamp_indexed = indexed

    @property
    def max_timestamp(self) -> int:
        """Largest batch timestamp in ms, -1 without one. May read the time index."""
        known = self._max_timestamp
        if known is None:
            last = self.time_index.last()
            known, relative = last or (NO_TIMESTAMP, 0)
            self._max_timestamp_offset = self.base_offset + relative
            self._max_timestamp = known
        return known

    @property
    def max_timestamp_offset(self) -> int:
        """Last offset of the batch with the largest timestamp."""
        return self._max_timestamp_offset if self.max_timestamp >= 0 else self.base_offset

    def finish(self) -> None:
        """No more will be appended: the final time entry, and the indexes' files brought up to date."""
        if self.size:
            with contextlib.suppress(StorageError):  # rebuilt from the log if lost
                self._index_time()
            self.write_indexes()
        self.tail = None

    def write_indexes(self) -> None:
        """Bring the indexes' files up to date. A failure is tried again later."""
        with contextlib.suppress(StorageError):
            self.offset_index.write_pending()
            self.time_index.write_pending()
            self.indexes_written = True

    def sync(self, *, finished: bool) -> None:
        """Make what it holds now durable, and what its indexes' files hold. Blocks; any thread.

        `finished`: no more will be appended, so that the indexes are brought up to date, too.

        Raises:
            StorageError: what is on disk is unknown from now on.
        """
        size = self.size
        if size > self.synced_size:
            self.handle().datasync()
            self.synced_size = size
        with contextlib.suppress(DiskFull):  # the entries wait in memory for space
            if finished:
                self.offset_index.write_pending()
                self.time_index.write_pending()
                self._place.disk.datasync(self._place.path(self.name(TXN_INDEX)))
            if finished or self.indexes_written:
                self.indexes_written = False
                self.offset_index.sync()
                self.time_index.sync()
                self.settled = finished

    # --- cutting and removing ------------------------------------------------------------------------

    def truncated(self, offset: int) -> Segment:
        """The segment without any batch that reaches `offset` or lies above, cut durably.

        It is a new object: a reader that still holds this one notices by the log's generation.
        """
        position = self.locate(offset)
        relative = offset - self.base_offset
        self.offset_index.cut(0, relative - 1)
        self.time_index.cut(1, relative - 1)
        file = self.handle()
        file.truncate(position)
        file.datasync()
        self._files.forget(self)
        fresh = Segment(
            self._place,
            self._files,
            self.base_offset,
            size=position,
            created_ms=self.created_ms,
            interval=self._interval,
            index_bytes=self._entries_max * OFFSET_ENTRY.size,
        )
        fresh.offset_index, fresh.time_index = (
            self.offset_index,
            self.time_index,
        )  # what they hold unwritten too
        fresh.resume()
        return fresh

    def look_back(self, position: int, bytes_max: int) -> None:
        """After `rewind` to `position`: find timestamps that the time index may have lost, in the headers.

        Both indexes are made durable together with the log, but what was written to them since may have reached
        the disk for one and not for the other.
        """
        last = self.time_index.last()
        start = self.locate(self.base_offset + last[1]) if last is not None else 0
        if position - start > bytes_max:
            entry = self.offset_index.floor(1, position - bytes_max)
            start = entry[1] if entry is not None else start
        for batch in self.batches(start, position):
            if batch.max_timestamp > self.max_timestamp:
                self._max_timestamp = batch.max_timestamp
                self._max_timestamp_offset = batch.last_offset

    def rewind(self, entries: int, position: int, next_offset: int, *, aborts_below: int) -> None:
        """Forget all from byte `position` and index entry `entries` on: `note` will say it anew.

        Aborted transactions that ended below `aborts_below` stay known, unless all is forgotten.
        """
        self.offset_index.keep(entries)
        last = self.offset_index.last()
        if last is None:
            self.time_index.keep(0)
        else:
            self.time_index.cut(1, last[0])
        self._timestamp_indexed = None
        name = self.name(TXN_INDEX)
        aborted = txn_index.read(self._place, name) if aborts_below > self.base_offset else []
        txn_index.rewrite(self._place, name, [txn for txn in aborted if txn.last_offset < aborts_below])
        self.size = position
        self.synced_size = 0
        self.index_full = False
        self.tail = Tail(next_offset - self.base_offset)
        self._bytes_since_entry = 0
        self._max_timestamp = None if position else NO_TIMESTAMP
        self.first_timestamp = None if position else NO_TIMESTAMP

    def resume(self) -> int:
        """Learn from the file what appending needs to know; returns the offset after its last record.

        Raises:
            CorruptLog: the file, or its index, is damaged at the end.
        """
        last = self.offset_index.last() if self.size else None
        start = last[1] if last else 0
        batches = list(self.batches(start))
        if last and (not batches or batches[0].last_offset != self.base_offset + last[0]):
            raise CorruptLog("the index does not fit the log", position=start)
        floor = self.base_offset if start == 0 or not batches else batches[0].base_offset
        self.tail = Tail.of(batches, self.base_offset, floor)
        self._bytes_since_entry = self.size - start
        for batch in batches:
            if batch.max_timestamp > self.max_timestamp:
                self._max_timestamp = batch.max_timestamp
                self._max_timestamp_offset = batch.last_offset
        if self.size:
            first = batches[0] if start == 0 else next(iter(self.batches(0, chunk=HEADER_SIZE)))
            self.first_timestamp = first.max_timestamp
        return batches[-1].last_offset + 1 if batches else self.base_offset
