"""Walking over stored record batches, headers only or with every check. Pure: bytes come through a reader.

A batch header is 61 bytes (protocol guide, "Record Batch"); base offset and leader epoch lie outside the CRC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from moldau_broker.storage.errors import CorruptLog
from moldau_broker.wire.checksums import crc32c

HEADER_SIZE: Final = 61
LENGTH_OVERHEAD: Final = 12  # base offset and length field, which the length does not count
LENGTH_MIN: Final = HEADER_SIZE - LENGTH_OVERHEAD
MAGIC: Final = 2
EPOCH_AT: Final = 12
INT32_MAX: Final = 2**31 - 1

TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20

_HEADER: Final = Struct(">qiibIhiqqqhii")
_PREFIX: Final = Struct(">qi4xb4x2xi")
_CRC_FROM: Final = 21  # the CRC covers the attributes and all that follows
_WALK_CHUNK: Final = 8192
_SCAN_CHUNK: Final = 1 << 18  # small enough to be still in the cache when its CRC is made

Reader: TypeAlias = Callable[[int, int], bytes | bytearray | memoryview]
"""(size, position) -> up to that many bytes."""


class Batch(NamedTuple):
    """Where a stored batch lies, and its header's fields."""

    position: int
    size: int
    base_offset: int
    last_offset: int
    leader_epoch: int
    attributes: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def is_control(self) -> bool:
        """A control batch: transaction marker, leader change, and so on."""
        return bool(self.attributes & CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Part of a transaction."""
        return bool(self.attributes & TRANSACTIONAL)


_batch: Final[Callable[[tuple[int, ...]], Batch]] = partial(tuple.__new__, Batch)
"""A third of the cost of a call with twelve arguments."""


def walk(read: Reader, start: int, end: int, *, chunk: int = _WALK_CHUNK) -> Iterator[Batch]:
    """The batches of a region that is known to hold whole batches, by their headers only.

    Raises:
        CorruptLog: what stands at a batch boundary is no header, or the last batch overruns `end`.
    """
    position = origin = start
    buffer: bytes | bytearray | memoryview = b""
    unpack = _HEADER.unpack_from
    while position < end:
        at = position - origin
        if at + HEADER_SIZE > len(buffer):
            buffer = read(min(max(chunk, HEADER_SIZE), end - position), position)
            origin, at = position, 0
            if len(buffer) < HEADER_SIZE:
                raise CorruptLog("a batch header is cut short", position=position)
        base, length, epoch, magic, _, attributes, delta, base_ts, max_ts, pid, pepoch, seq, count = unpack(
            buffer, at
        )
        size = length + LENGTH_OVERHEAD
        if magic != MAGIC or length < LENGTH_MIN or delta < 0 or position + size > end:
            raise CorruptLog("not a batch header", position=position, offset=base)
        yield _batch(
            (
                position,
                size,
                base,
                base + delta,
                epoch,
                attributes,
                base_ts,
                max_ts,
                pid,
                pepoch,
                seq,
                count,
            )
        )
        position += size


class Step(NamedTuple):
    """As much of a stored batch as a look-up needs."""

    position: int
    size: int
    base_offset: int
    last_offset: int


def skim(read: Reader, start: int, end: int) -> Iterator[Step]:
    """As `walk`, three times as fast, for look-ups by offset or position.

    Raises:
        CorruptLog: as `walk`.
    """
    position = origin = start
    buffer: bytes | bytearray | memoryview = b""
    unpack = _PREFIX.unpack_from
    while position < end:
        at = position - origin
        if at + HEADER_SIZE > len(buffer):
            buffer = read(min(_WALK_CHUNK, end - position), position)
            origin, at = position, 0
            if len(buffer) < HEADER_SIZE:
                raise CorruptLog("a batch header is cut short", position=position)
        base, length, magic, delta = unpack(buffer, at)
        size = length + LENGTH_OVERHEAD
        if magic != MAGIC or length < LENGTH_MIN or delta < 0 or position + size > end:
            raise CorruptLog("not a batch header", position=position, offset=base)
        yield Step(position, size, base, base + delta)
        position += size


class Scan:
    """Every check on a region whose end may be damaged: iterate, then look at `fault`.

    Attributes:
        position: end of the last whole batch, where `fault` (if any) begins.
        next_offset: offset after the last whole batch.
        fault: why the scan stopped before `end`; None when it did not.
        gapless: whether each batch must begin where the one before it ended, as where nothing was ever compacted.
            The CRC does not cover the base offset: without this, one bit of it makes a gap that nobody notices.
    """

    __slots__ = ("_base_offset", "_end", "_read", "fault", "gapless", "next_offset", "position")

    def __init__(self, read: Reader, start: int, end: int, *, base_offset: int, next_offset: int) -> None:
        self._read = read
        self._end = end
        self._base_offset = base_offset
        self.position = start
        self.next_offset = next_offset
        self.fault: str | None = None
        self.gapless = False

    def __iter__(self) -> Iterator[Batch]:
        """Whole, valid batches in order; a batch is yielded before `position` passes it."""
        origin = self.position
        view = memoryview(b"")
        unpack = _HEADER.unpack_from
        last_max = self._base_offset + INT32_MAX
        while self.position < self._end:
            position = self.position
            left = self._end - position
            if left < HEADER_SIZE:
                self.fault = f"a batch header is cut short after {left} bytes"
                return
            at = position - origin
            if at + HEADER_SIZE > len(view):
                view = memoryview(self._read(min(_SCAN_CHUNK, left), position))
                origin, at = position, 0
                if len(view) < HEADER_SIZE:
                    self.fault = "the file is shorter than its size"
                    return
            base, length, epoch, magic, crc, attributes, delta, base_ts, max_ts, pid, pepoch, seq, count = (
                unpack(view, at)
            )
            size = length + LENGTH_OVERHEAD
            last = base + delta
            if (
                base == self.next_offset
                and magic == MAGIC
                and length >= LENGTH_MIN
                and size <= left
                and base <= last <= last_max
            ):
                fault = None  # as nearly all are: no call, where there are a hundred thousand
            else:
                fault = self._check(base, length, magic, delta, left)
            if fault is None:
                if at + size > len(view):
                    if size <= _SCAN_CHUNK:
                        view = memoryview(self._read(min(_SCAN_CHUNK, left), position))
                        origin, at = position, 0
                    value = self._crc_of(view[at:], position, size)
                else:
                    value = crc32c(view[at + _CRC_FROM : at + size])
                if value != crc:
                    fault = "the CRC does not match"
            if fault is not None:
                self.fault = fault
                return
            yield _batch(
                (
                    position,
                    size,
                    base,
                    last,
                    epoch,
                    attributes,
                    base_ts,
                    max_ts,
                    pid,
                    pepoch,
                    seq,
                    count,
                )
            )
            self.next_offset = last + 1
            self.position = position + size

    def _check(self, base: int, length: int, magic: int, delta: int, left: int) -> str | None:
        if length == 0 and base == 0 and magic == 0:
            return "zeros instead of a batch"
        if magic != MAGIC:
            return f"magic {magic} instead of {MAGIC}"
        if length < LENGTH_MIN:
            return f"a batch length of {length}"
        if length + LENGTH_OVERHEAD > left:
            return f"a batch of {length + LENGTH_OVERHEAD} bytes with {left} left"
        if base < self.next_offset or (self.gapless and self.position and base != self.next_offset):
            return f"base offset {base} where {self.next_offset} was the next"
        if delta < 0 or base + delta - self._base_offset > INT32_MAX:
            return f"a last offset delta of {delta}"
        return None

    def _crc_of(self, first: memoryview, position: int, size: int) -> int:
        """CRC of a batch that may be larger than the buffer: read on in chunks."""
        value = crc32c(first[_CRC_FROM:size])
        done = min(len(first), size)
        while done < size:
            more = self._read(min(_SCAN_CHUNK, size - done), position + done)
            if not more:
                return -1
            value = crc32c(more, value)
            done += len(more)
        return value
