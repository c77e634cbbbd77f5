"""A segment's state and its files; what reading and writing stand on. Use `segment.Segment`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from moldau_broker.storage.batches import HEADER_SIZE, Batch, Reader, walk
from moldau_broker.storage.disk import Buffer, DiskFile
from moldau_broker.storage.errors import FileMissing
from moldau_broker.storage.index import OFFSET_ENTRY, TIME_ENTRY, Cold, SparseIndex, pread
from moldau_broker.storage.names import (
    DELETED,
    INDEX,
    LOG,
    SEGMENT_SUFFIXES,
    TIME_INDEX,
    segment_file,
)
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.storage.tail import Tail

NO_TIMESTAMP: Final = -1
NEVER: Final = 2**63 - 1


class SegmentBase:
    """A segment's state and files.

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
        indexes_written: the indexes' files have changed since they were last made durable.
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
        "_timestamp_indexed",
        "base_offset",
        "created_ms",
        "file",
        "first_timestamp",
        "index_full",
        "indexes_written",
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
        self.indexes_written = False
        self.settled = False
        self._max_timestamp: int | None = None if size else NO_TIMESTAMP
        self._max_timestamp_offset = base_offset
        self._timestamp_indexed: int | None = (
            None  # newest in the time index; the appending thread's, None: look
        )
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
