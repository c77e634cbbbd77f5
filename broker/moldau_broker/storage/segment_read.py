"""Finding and reading batches in a segment. Any thread.

What a reader needs is taken once from the attributes; sizes only grow, and truncation makes a new object.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from moldau_broker.storage.batches import HEADER_SIZE, INT32_MAX, skim
from moldau_broker.storage.disk import Buffer, DiskFile
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.index import Cold, pread
from moldau_broker.storage.segment_base import SegmentBase
from moldau_broker.storage.tail import Tail

_WARM_BYTES: Final = 16 * 1024 * 1024  # so close to the end that the pages are taken to be in memory


class SegmentRead(SegmentBase):
    """The part of a segment that reads. Use `segment.Segment`."""

    __slots__ = ()

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
            for batch in skim(self.reader(nowait=nowait), start, end):
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
        tail = self.tail
        if tail is not None and offset - self.base_offset >= tail.floor:
            return self.read_tail(tail, offset, max_bytes, up_to, min_one=min_one, nowait=nowait)
        size = self.size
        start = self.locate(offset, nowait=nowait)
        end = size if up_to - self.base_offset > INT32_MAX else self.locate(up_to, nowait=nowait)
        if end > start + max_bytes:
            end = self._boundary(start, start + max_bytes, end, min_one=min_one, nowait=nowait)
        if end <= start:
            return b""
        file = self.handle()
        if not nowait:
            return file.pread(end - start, start)
        return self._warm(file, start, end)

    def read_tail(
        self, tail: Tail, offset: int, max_bytes: int, up_to: int, *, min_one: bool, nowait: bool
    ) -> Buffer:
        """As `read`, for an `offset` that `tail` covers: two bisections and one read."""
        size = self.size  # before the look-ups: what is appended meanwhile does not count
        base, lasts, positions = self.base_offset, tail.last, tail.position
        first = bisect_left(lasts, offset - base)
        stop = bisect_left(lasts, up_to - base, first)
        if first == stop:
            return b""
        start = positions[first]
        end = positions[stop] if stop < len(lasts) else size
        if end - start > max_bytes:
            at = bisect_right(positions, start + max_bytes, first) - 1
            if at == first and min_one:
                at += 1
            end = positions[at] if at < len(positions) else size
        file = self.file
        if file is None:
            file = self.handle()
        self.used = True
        if not nowait or size - start <= _WARM_BYTES:
            return file.pread(end - start, start)
        return self._warm(file, start, end)

    @staticmethod
    def _warm(file: DiskFile, start: int, end: int) -> Buffer:
        """What the page cache has of whole batches; at least the first."""
        data = pread(file, end - start, start, nowait=True)
        return data if len(data) == end - start else _whole(data)

    def _boundary(self, start: int, limit: int, end: int, *, min_one: bool, nowait: bool) -> int:
        """The last batch boundary in `start`..`limit`; past the first batch if `min_one` asks for it."""
        entry = self.offset_index.floor(1, limit, nowait=nowait)
        position = max(start, entry[1] if entry else 0)
        for batch in skim(self.reader(nowait=nowait), position, end):
            after = batch.position + batch.size
            if after > limit:
                if batch.position == start and min_one:
                    return after
                self._hint = (batch.base_offset, batch.position)
                return batch.position
        return end


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
