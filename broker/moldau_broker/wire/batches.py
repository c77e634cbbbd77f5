"""Batches as opaque bytes: their headers, what lies outside the CRC, one behind the other. Pure.

This is all the produce, fetch and replication paths use. A header is one `struct` call. Source: Kafka protocol
guide, "Record Batch", KIP-98.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from struct import Struct as Packed
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any, Final, NamedTuple, TypeAlias

from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.errors import WireError

Buffer: TypeAlias = bytes | bytearray | memoryview

HEADER_SIZE: Final = 61
LENGTH_OVERHEAD: Final = 12
"""Base offset and length itself: what `batch_length` does not count."""
MAGIC: Final = 2
CRC_AT: Final = 17
ATTRIBUTES_AT: Final = 21
"""Where the CRC's coverage begins."""

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
DELETE_HORIZON: Final = 0x40

HEADER: Final = Packed(">qiibIhiqqqhii")
"""The fields of `BatchHeader`, in order."""
_INT64 = Packed(">q")
_INT32 = Packed(">i")
_UINT32 = Packed(">I")


class BatchHeader(NamedTuple):
    """The first 61 bytes of a batch."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch, header included."""
        return LENGTH_OVERHEAD + self.batch_length

    @property
    def last_offset(self) -> int:
        """Offset of the last record (also of one that compaction removed)."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """Offset of whatever follows the batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last record, -1 without a producer; numbers wrap from 2^31-1 to 0."""
        if self.base_sequence < 0:
            return -1
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF

    @property
    def codec(self) -> int:
        """Compression codec, 0 to 7; see `compression.Codec`."""
        return self.attributes & CODEC_MASK

    @property
    def is_log_append_time(self) -> bool:
        """Whether every record's timestamp is `max_timestamp`."""
        return self.attributes & LOG_APPEND_TIME != 0

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return self.attributes & TRANSACTIONAL != 0

    @property
    def is_control(self) -> bool:
        """Whether its records are for brokers, not for applications."""
        return self.attributes & CONTROL != 0

    @property
    def has_delete_horizon(self) -> bool:
        """Whether `base_timestamp` is the time from which its tombstones may go (KIP-534)."""
        return self.attributes & DELETE_HORIZON != 0


_header: Final[Callable[[tuple[Any, ...]], BatchHeader]] = partial(tuple.__new__, BatchHeader)
"""`BatchHeader._make` without the Python call around it; made once for every batch that is looked at."""


def parse_header(buf: Buffer, offset: int = 0) -> BatchHeader:
    """The batch header at `offset`, exactly as it stands there: nothing is checked but that it is whole.

    Raises:
        WireError: fewer than 61 bytes.
    """
    try:
        return _header(HEADER.unpack_from(buf, offset))
    except StructError:
        raise WireError(f"batch header: {len(buf) - offset} bytes, not {HEADER_SIZE}") from None


def crc_ok(buf: Buffer, offset: int, size: int) -> bool:
    """Whether the CRC of the batch of `size` bytes at `offset` is right."""
    view = memoryview(buf)
    (crc,) = _UINT32.unpack_from(view, offset + CRC_AT)
    return bool(crc32c(view[offset + ATTRIBUTES_AT : offset + size]) == crc)


def patch_batch(buf: bytearray | memoryview, offset: int, base_offset: int, leader_epoch: int) -> None:
    """Give the batch at `offset` its place in the log; both fields lie outside the CRC."""
    _INT64.pack_into(buf, offset, base_offset)
    _INT32.pack_into(buf, offset + LENGTH_OVERHEAD, leader_epoch)


def iter_batches(
    buf: Buffer, start: int = 0, end: int | None = None, *, partial_last: bool = False
) -> Iterator[tuple[int, BatchHeader]]:
    """The position and header of each batch of `buf[start:end]`, in order. Checks sizes and magic, not the CRC.

    Raises:
        WireError: a batch that is not format 2, or is cut short; with `partial_last` a last batch that is cut
            short is left out instead, as a Fetch answer may end in one.
    """
    end = len(buf) if end is None else end
    while start < end:
        if end - start < HEADER_SIZE:
            if partial_last:
                return
            raise WireError(f"batch header: {end - start} bytes, not {HEADER_SIZE}")
        header = _header(HEADER.unpack_from(buf, start))
        size = header.size
        if header.magic != MAGIC:
            raise WireError(f"batch at {start}: format {header.magic}, not {MAGIC}")
        if size < HEADER_SIZE:
            raise WireError(f"batch at {start}: {size} bytes are fewer than its header")
        if size > end - start:
            if partial_last:
                return
            raise WireError(f"batch at {start}: {size} bytes, {end - start} are there")
        yield start, header
        start += size
