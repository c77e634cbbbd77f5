"""One segment of a log: the batches from one base offset on, with its indexes.

The loop thread appends; other threads may read at the same time. What a reader needs is taken once from the
attributes, sizes only grow, and truncation replaces objects instead of changing them.

Source: protocol guide of Kafka 4.3, on-disk format; `LogSegment`.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import HEADER_SIZE, INT32_MAX, Batch, Reader, walk
from moldau_broker.storage.disk import Buffer, DiskFile
from moldau_broker.storage.errors import CorruptLog, DiskFull, FileMissing, StorageError
from moldau_broker.storage.index import OFFSET_ENTRY, TIME_ENTRY, Cold, SparseIndex, pread
from moldau_broker.storage.names import (
    DELETED,
    INDEX,
    LOG,
    SEGMENT_SUFFIXES,
    TIME_INDEX,
    TXN_INDEX,
    segment_file,
)
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.storage.tail import TAIL_BATCHES_MAX, Tail

NO_TIMESTAMP: Final = -1
NEVER: Final = 2**63 - 1


class Segment:
    """Batches from `base_offset` on.

    Attributes:
        base_offset: no record in it is below.
        suffix: '' for a live segment, '.cleaned' and so on while it is being made.
        size: bytes of whole batches in the log file.
        synced_size: how many of them are known to be durable.
        file: the open log file, if it is open.
        used: whether the file was used since the open-file bound last looked.
        tail: the newest batches, for the active segment only.
        max_timestamp: largest batch timestamp so far in ms, -1 without one; None while not looked up.
        max_timestamp_offset: last offset of the batch that holds it.
        first_timestamp: largest timestamp of the first batch; drives rolling by time.
        created_ms: wall clock when it was made or opened; stands in where records have no timestamps.
        settled: its indexes are durable too; only ever true once nothing more is appended.
        index_full: no further index entry fits, so it must be rolled.
    """

    __slots__ = (
        "_bytes_since_entry",
        "_entries_max",
        "_files",
        "_hint",
        "_interval",
        "_max_timestamp",
        "_max_timestamp_offset",
        "_place",
        "_time_entries_max",
        "base_offset",
        "created_ms",
        "file",
        "first_timestamp",
        "index_full",
        "offset_index",
        "settled",
        "size",
        "suffix",
        "synced_size",
        "tail",
        "time_index",
        "used",
    )

    def __init__(
        self,
        place: Place,
        files: OpenFiles,
        base_offset: int,
        *,
        size: int = 0,
        suffix: str = "",
        created_ms: int = 0,
        interval: int = 4096,
        index_bytes: int = 10_485_760,
    ) -> None:
        self._place = place
        self._files = files
        self.base_offset = base_offset
        self.suffix = suffix
        self.size = size
        self.synced_size = size
        self.file: DiskFile | None = None
        self.used = False
        self.tail: Tail | None = None
        self.created_ms = created_ms
        self.first_timestamp: int | None = None if size else NO_TIMESTAMP
        self.index_full = False
        self.settled = False
        self._max_timestamp: int | None = None if size else NO_TIMESTAMP
        self._max_timestamp_offset = base_offset
        self._bytes_since_entry = 0
        self._hint = (-1, -1)
        stored = -1 if size else 0
        self.offset_index = SparseIndex(place, self.name(INDEX), OFFSET_ENTRY, stored=stored)
        self.time_index = SparseIndex(place, self.name(TIME_INDEX), TIME_ENTRY, stored=stored)
        self._interval = interval
        self._entries_max = self._time_entries_max = 0
        self.configure(interval, index_bytes)

    def configure(self, interval: int, index_bytes: int) -> None:
        """Take new index.interval.bytes and segment.index.bytes."""
        self._interval = interval
        self._entries_max = index_bytes // OFFSET_ENTRY.size
        self._time_entries_max = index_bytes // TIME_ENTRY.size - 1  # one is left for the final entry

    def name(self, suffix: str) -> str:
        """Name of one of its files."""
        return segment_file(self.base_offset, suffix) + self.suffix

    @property
    def is_dirty(self) -> bool:
        """Whether some of its data is not durable."""
        return self.size > self.synced_size

    def handle(self) -> DiskFile:
        """The log file, opened if it is not; it stays open while the reference is held."""
        file = self.file
        self.used = True
        if file is None:
            file = self._place.disk.open(self._place.path(self.name(LOG)))
            self.file = file
            self._files.opened(self)
        return file

    def create(self) -> None:
        """Make the empty log file."""
        self._place.disk.open(self._place.path(self.name(LOG)), create=True).truncate(0)
        self.tail = Tail()

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
        if len(index) < self._entries_max:
            index.append(relative, position)
        self._index_time()
        self.index_full = len(index) >= self._entries_max or len(self.time_index) >= self._time_entries_max

    def _index_time(self) -> None:
        """The largest timestamp so far enters the time index, if it grew since the last entry."""
        last = self.time_index.last()
        if self.max_timestamp > (last[0] if last else NO_TIMESTAMP):
            self.time_index.append(self.max_timestamp, self._max_timestamp_offset - self.base_offset)

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
        with contextlib.suppress(StorageError):  # rebuilt from the log if lost
            if self.size:
                self._index_time()
                self.offset_index.write_pending()
                self.time_index.write_pending()
        self.tail = None

    def sync(self, *, finished: bool) -> None:
        """Make what it holds now durable; with `finished`, its indexes too. Blocks; any thread.

        Raises:
            StorageError: what is on disk is unknown from now on.
        """
        size = self.size
        if size > self.synced_size:
            self.handle().datasync()
            self.synced_size = size
        if finished:
            with contextlib.suppress(DiskFull):  # the entries wait in memory for space
                self.offset_index.sync()
                self.time_index.sync()
                self._place.disk.datasync(self._place.path(self.name(TXN_INDEX)))
                self.settled = True

    # --- reading -------------------------------------------------------------------------------------

    def reader(self, *, nowait: bool = False) -> Reader:
        """A reader of its log file."""
        file = self.handle()
        if not nowait:
            return file.pread

        def read(size: int, position: int) -> Buffer:
            data = pread(file, size, position, nowait=True)
            if len(data) < min(size, HEADER_SIZE):
                raise Cold
            return data

        return read

    def batches(self, start: int = 0, end: int | None = None, *, chunk: int = 1 << 18) -> Iterator[Batch]:
        """Its batches by their headers, from the one at byte `start` up to byte `end` (its size)."""
        return walk(self.reader(), start, self.size if end is None else end, chunk=chunk)

    def locate(self, offset: int, *, nowait: bool = False) -> int:
        """Position of the first batch that ends at or after `offset`; `size` if there is none.

        Raises:
            Cold: with `nowait`, if that would wait for the disk.
            CorruptLog: the file does not hold batches where it should.
        """
        size = self.size
        relative = offset - self.base_offset
        tail = self.tail
        if tail is not None and relative >= tail.floor:
            at = bisect_left(tail.last, relative)
            return tail.position[at] if at < len(tail.last) else size
        if relative <= 0:
            return 0
        hint, position = self._hint
        if hint == offset and position < size:
            return position
        entry = self.offset_index.floor(0, relative, nowait=nowait)
        if entry is not None:
            found = self._search(offset, entry[1], size, nowait=nowait, expected=self.base_offset + entry[0])
            if found is not None:
                return found
        found = self._search(offset, 0, size, nowait=nowait, expected=None)
        assert found is not None, "a search without an index entry has nothing to disagree with"
        return found

    def _search(self, offset: int, start: int, end: int, *, nowait: bool, expected: int | None) -> int | None:
        """Scan from `start`. None when the index entry it came from does not fit the log."""
        try:
            for batch in walk(self.reader(nowait=nowait), start, end):
                if expected is not None and batch.position == start and batch.last_offset != expected:
                    return None
                if batch.last_offset >= offset:
                    return batch.position
        except CorruptLog:
            if expected is not None:
                return None
            raise
        return end

    def read(self, offset: int, max_bytes: int, up_to: int, *, min_one: bool, nowait: bool = False) -> Buffer:
        """Whole batches from the one that contains `offset` (or follows it), as `Log.read`.

        Raises:
            Cold: with `nowait`, if the first batch is not in the page cache.
        """
        size = self.size
        start = self.locate(offset, nowait=nowait)
        end = size if up_to - self.base_offset > INT32_MAX else self.locate(up_to, nowait=nowait)
        if end > start + max_bytes:
            end = self._boundary(start, start + max_bytes, end, min_one=min_one, nowait=nowait)
        if end <= start:
            return b""
        file = self.handle()
        if not nowait or self.tail is not None:
            return file.pread(end - start, start)
        data = pread(file, end - start, start, nowait=True)
        return data if len(data) == end - start else _whole(data)

    def _boundary(self, start: int, limit: int, end: int, *, min_one: bool, nowait: bool) -> int:
        """The last batch boundary in `start`..`limit`; past the first batch if `min_one` asks for it."""
        tail = self.tail
        positions = tail.position if tail is not None else ()
        if positions and start >= positions[0]:
            at = bisect_right(positions, limit) - 1
            if positions[at] > start or not min_one:
                return positions[at]
            return positions[at + 1] if at + 1 < len(positions) else end
        entry = self.offset_index.floor(1, limit, nowait=nowait)
        position = max(start, entry[1] if entry else 0)
        for batch in walk(self.reader(nowait=nowait), position, end):
            after = batch.position + batch.size
            if after > limit:
                if batch.position == start and min_one:
                    return after
                self._hint = (batch.base_offset, batch.position)
                return batch.position
        return end

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

    def rewind(self, entries: int, position: int, next_offset: int) -> None:
        """Forget all from byte `position` and index entry `entries` on: `note` will say it anew."""
        self.offset_index.keep(entries)
        last = self.offset_index.last()
        if last is None:
            self.time_index.keep(0)
        else:
            self.time_index.cut(1, last[0])
        name = self.name(TXN_INDEX)
        aborted = txn_index.read(self._place, name) if position else []
        txn_index.rewrite(self._place, name, [txn for txn in aborted if txn.last_offset < next_offset])
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

    def rename(self, suffix: str) -> None:
        """Give all its files another trailing suffix ('' makes it live)."""
        disk, place = self._place.disk, self._place
        old = [self.name(kind) for kind in SEGMENT_SUFFIXES]
        self.suffix = suffix
        for kind, source in zip(SEGMENT_SUFFIXES, old, strict=True):
            with contextlib.suppress(FileMissing):
                disk.rename(place.path(source), place.path(self.name(kind)))
        self.offset_index.name = self.name(INDEX)
        self.time_index.name = self.name(TIME_INDEX)

    def retire(self) -> None:
        """Mark its files as deleted, so that a restart does not see them; `remove` frees the space."""
        self.rename(DELETED)
        self._files.forget(self)

    def remove(self) -> None:
        """Unlink its files. Slow for large ones: not on the loop thread."""
        self._files.forget(self)
        for kind in SEGMENT_SUFFIXES:
            self._place.disk.unlink(self._place.path(self.name(kind)))


def _whole(data: Buffer) -> Buffer:
    """The whole batches of a read that came up short.

    Raises:
        Cold: not even the first is complete.
    """
    position = 0
    while position + HEADER_SIZE <= len(data):
        size = 12 + int.from_bytes(data[position + 8 : position + 12], "big")
        if position + size > len(data):
            break
        position += size
    if position == 0:
        raise Cold
    return memoryview(data)[:position]
