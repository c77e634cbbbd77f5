"""Sparse indexes of a segment: offset -> position and timestamp -> offset, in Kafka's files.

New entries wait in memory and reach the file a few dozen at a time; look-ups probe the file with small reads
instead of mapping it, so an idle segment costs neither memory nor a descriptor. Entries are big-endian; both
columns of either index strictly ascend. Everything here can be rebuilt from the log, so a failed write is
never fatal.

Source: protocol guide of Kafka 4.3; `OffsetIndex`, `TimeIndex`.
"""

from __future__ import annotations

import contextlib
from struct import Struct
from typing import Final

from moldau_broker.storage.disk import DiskFile
from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.place import Place

OFFSET_ENTRY: Final = Struct(">II")
TIME_ENTRY: Final = Struct(">qI")

_PENDING_ENTRIES_MAX: Final = 64  # at 4 KiB per entry: one small write per 256 KiB of log


_CHUNK_ENTRIES: Final = 512  # fewer are read at once and searched in memory


class Cold(Exception):
    """The bytes are not in the page cache, and the caller did not want to wait."""


def pread(file: DiskFile, size: int, position: int, *, nowait: bool) -> bytes | bytearray | memoryview:
    """Read, or raise `Cold` when that would wait."""
    if not nowait:
        return file.pread(size, position)
    data = file.pread_nowait(size, position)
    if data is None:
        raise Cold
    return data


class SparseIndex:
    """One index file of one segment.

    Attributes:
        name: the file's name in its folder.
        stored: entries in the file; -1 while nobody has looked.
        pending: encoded entries not yet in the file.
    """

    __slots__ = ("_place", "_ragged", "_struct", "name", "pending", "stored")

    def __init__(self, place: Place, name: str, struct: Struct, *, stored: int = -1) -> None:
        self._place = place
        self._struct = struct
        self._ragged = False
        self.name = name
        self.stored = stored
        self.pending = b""

    def __len__(self) -> int:
        return self._stored() + len(self.pending) // self._struct.size

    def _stored(self) -> int:
        if self.stored < 0:
            try:
                file = self._file()
            except FileMissing:
                self.stored = 0
            else:
                self.stored = self._count(file)
        return self.stored

    def _file(self) -> DiskFile:
        return self._place.disk.open(self._place.path(self.name), write=False)

    def _count(self, file: DiskFile) -> int:
        """Entries in the file; Kafka preallocates, so zeros may follow the last one."""
        count = file.size() // self._struct.size
        if count == 0 or any(self._read(file, count - 1)):
            return count
        low, high = 0, count - 1  # entry `high` is empty
        while low < high:
            middle = (low + high) // 2
            if any(self._read(file, middle)):
                low = middle + 1
            else:
                high = middle
        return low

    def _read(self, file: DiskFile, entry: int, *, nowait: bool = False) -> tuple[int, int]:
        data = pread(file, self._struct.size, entry * self._struct.size, nowait=nowait)
        if len(data) < self._struct.size:
            if nowait:
                raise Cold
            raise CorruptLog("an index is shorter than it was", file=self._place.path(self.name))
        first, second = self._struct.unpack(data)
        return first, second

    def append(self, first: int, second: int) -> None:
        """Add an entry; the caller keeps both columns ascending."""
        self.pending += self._struct.pack(first, second)
        if len(self.pending) >= _PENDING_ENTRIES_MAX * self._struct.size:
            with contextlib.suppress(StorageError):  # kept in memory and tried again
                self.write_pending()

    def write_pending(self) -> None:
        """Bring the file up to date; makes it if need be. Not durable yet."""
        if not self.pending and not self._ragged and self.stored > 0:
            return
        stored = self._stored()
        file = self._place.disk.open(self._place.path(self.name), create=True)
        if self._ragged or file.size() != stored * self._struct.size:
            file.truncate(stored * self._struct.size)
            self._ragged = False
        pending = self.pending
        if not pending:
            return
        try:
            file.append(pending)
        except StorageError:
            self._ragged = True
            raise
        self.stored = stored + len(pending) // self._struct.size
        self.pending = b""

    def last(self) -> tuple[int, int] | None:
        """The newest entry."""
        pending = self.pending
        if pending:
            first, second = self._struct.unpack_from(pending, len(pending) - self._struct.size)
            return first, second
        stored = self._stored()
        return self._read(self._file(), stored - 1) if stored else None

    def floor(self, column: int, key: int, *, nowait: bool = False) -> tuple[int, int] | None:
        """The newest entry whose column 0 or 1 is <= `key`."""
        at, entry = self._floor(column, key, nowait=nowait)
        return entry if at >= 0 else None

    def _floor(self, column: int, key: int, *, nowait: bool) -> tuple[int, tuple[int, int]]:
        """(number, entry) of the newest entry whose `column` is <= `key`; number -1 if there is none."""
        pending = self.pending  # before `stored`, which grows as this shrinks
        stored = self._stored()
        size, unpack = self._struct.size, self._struct.unpack_from
        none = (0, 0)
        if pending and unpack(pending, 0)[column] <= key:
            low, high = 0, len(pending) // size - 1
            while low < high:
                middle = (low + high + 1) // 2
                if unpack(pending, middle * size)[column] <= key:
                    low = middle
                else:
                    high = middle - 1
            first, second = unpack(pending, low * size)
            return stored + low, (first, second)
        if stored == 0:
            return -1, none
        file = self._file()
        low, high = -1, stored - 1  # entry `low` is <= key, or there is none; those above `high` are not
        while high - low > _CHUNK_ENTRIES:
            middle = (low + high + 1) // 2
            if self._read(file, middle, nowait=nowait)[column] <= key:
                low = middle
            else:
                high = middle - 1
        first = max(low, 0)
        data = pread(file, (high - first + 1) * size, first * size, nowait=nowait)
        if len(data) < (high - first + 1) * size:
            if nowait:
                raise Cold
            raise CorruptLog("an index is shorter than it was", file=self._place.path(self.name))
        low = first - 1 if low < 0 else low
        while low < high:
            middle = (low + high + 1) // 2
            if unpack(data, (middle - first) * size)[column] <= key:
                low = middle
            else:
                high = middle - 1
        if low < first:
            return -1, none
        one, two = unpack(data, (low - first) * size)
        return low, (one, two)

    def cut(self, column: int, key: int) -> None:
        """Drop the entries whose column 0 or 1 is > `key`."""
        at, _ = self._floor(column, key, nowait=False)
        self.keep(at + 1)

    def keep(self, keep: int) -> None:
        """Drop all but the first `keep` entries."""
        stored = self._stored()
        if keep > 0 and keep >= stored:
            self.pending = self.pending[: (keep - stored) * self._struct.size]
            return
        self.pending = b""
        self.stored = keep
        self._ragged = True
        self.write_pending()

    def entries(self) -> list[tuple[int, int]]:
        """All entries, from the file and from memory."""
        stored = self._stored()
        data = self._file().pread(stored * self._struct.size, 0) if stored else b""
        return [(first, second) for first, second in self._struct.iter_unpack(data + self.pending)]

    def sync(self) -> None:
        """Make what the file holds durable. Blocks; any thread."""
        self._place.disk.datasync(self._place.path(self.name))
