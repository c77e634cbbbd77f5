"""Record batches of format v2: headers, patches outside the CRC, and records where somebody must look inside. Pure.

On the produce and fetch path only the first half is used: a header is one `struct` call, records stay opaque.
`build_batch` and `read_records` are for clients, coordinators, the metadata log and tools, and cost a
microsecond or two a record. Source: Kafka protocol guide, "Record Batch", KIP-98.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct as Packed
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final, NamedTuple, TypeAlias

from moldau_broker.base.limits import DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.compression import compress, decompress
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import read_varint, read_varlong, varint, varlong

Buffer: TypeAlias = bytes | bytearray | memoryview
Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

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

NO_TIMESTAMP: Final = -1
NO_PRODUCER_ID: Final = -1

_HEADER = Packed(">qiibIhiqqqhii")
_INT64 = Packed(">q")
_INT32 = Packed(">i")
_UINT32 = Packed(">I")
_RECORD_BYTES_MIN: Final = 7
_INT64_LIMIT: Final = 1 << 63


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


class Record(NamedTuple):
    """One record; `offset` is absolute, `timestamp` milliseconds or -1.

    Header keys keep bytes that are not UTF-8 as surrogate escapes, so that what is read can be written again.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class ReadLimits(NamedTuple):
    """How much `read_records` may build from one batch."""

    decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX
    decompressed_ratio_max: int = DECOMPRESSED_RATIO_MAX


DEFAULT_READ_LIMITS: Final = ReadLimits()


# --- headers ----------------------------------------------------------------------------------------------


def parse_header(buf: Buffer, offset: int = 0) -> BatchHeader:
    """The batch header at `offset`, exactly as it stands there: nothing is checked but that it is whole.

    Raises:
        WireError: fewer than 61 bytes.
    """
    try:
        return BatchHeader._make(_HEADER.unpack_from(buf, offset))
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
        header = BatchHeader._make(_HEADER.unpack_from(buf, start))
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


# --- records ----------------------------------------------------------------------------------------------


def build_batch(
    records: Iterable[Record],
    *,
    base_offset: int = 0,
    codec: int = 0,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    leader_epoch: int = -1,
    control: bool = False,
    transactional: bool = False,
    timestamp_type: int = 0,
    last_offset_delta: int | None = None,
    max_timestamp: int | None = None,
    delete_horizon_ms: int | None = None,
    level: int | None = None,
) -> bytearray:
    """One whole batch. Records' offsets must rise from `base_offset` on.

    `timestamp_type` 1 is LogAppendTime: all records have `max_timestamp`. `last_offset_delta` is given where
    records have been taken out and their offsets must stay taken. An empty batch is legal and needs it.

    Raises:
        WireError: an offset, timestamp or length that a batch cannot hold.
    """
    records = list(records)
    if delete_horizon_ms is not None:
        base_timestamp = delete_horizon_ms
    else:
        base_timestamp = records[0].timestamp if records else NO_TIMESTAMP
    try:
        body = [_record(record, base_offset, base_timestamp) for record in records]
    except TypeError as error:
        raise WireError(f"a record cannot be encoded: {error}") from error
    packed = b"".join(body) if codec == 0 else compress(codec, b"".join(body), level)
    if max_timestamp is None:
        max_timestamp = max((record.timestamp for record in records), default=NO_TIMESTAMP)
    if last_offset_delta is None:
        last_offset_delta = records[-1].offset - base_offset if records else 0
    attributes = (
        codec
        | (LOG_APPEND_TIME if timestamp_type else 0)
        | (TRANSACTIONAL if transactional else 0)
        | (CONTROL if control else 0)
        | (DELETE_HORIZON if delete_horizon_ms is not None else 0)
    )
    batch = bytearray(HEADER_SIZE + len(packed))
    try:
        _HEADER.pack_into(
            batch,
            0,
            base_offset,
            len(batch) - LENGTH_OVERHEAD,
            leader_epoch,
            MAGIC,
            0,
            attributes,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            len(records),
        )
    except StructError as error:
        raise WireError(f"a batch cannot be encoded: {error}") from error
    batch[HEADER_SIZE:] = packed
    _UINT32.pack_into(batch, CRC_AT, crc32c(memoryview(batch)[ATTRIBUTES_AT:]))
    return batch


def _record(record: Record, base_offset: int, base_timestamp: int) -> bytes:
    offset, timestamp, key, value, headers = record
    parts = [
        b"\0",
        varlong(timestamp - base_timestamp),
        varint(offset - base_offset),
        _NULL if key is None else varint(len(key)),
        key or b"",
        _NULL if value is None else varint(len(value)),
        value or b"",
        varint(len(headers)),
    ]
    for name, content in headers:
        raw = name.encode("utf-8", "surrogateescape")
        parts += (varint(len(raw)), raw, _NULL if content is None else varint(len(content)), content or b"")
    size = sum(map(len, parts))
    return b"".join((varint(size), *parts))


_NULL: Final = b"\x01"


def read_records(buf: Buffer, offset: int = 0, limits: ReadLimits = DEFAULT_READ_LIMITS) -> list[Record]:
    """Every record of the batch at `offset`, decompressed if need be. The CRC is not checked here.

    Raises:
        DecompressedTooLarge: the batch would open into more than `limits` allow.
        WireError: a malformed batch: sizes, counts, offsets or codec do not hold.
    """
    header = parse_header(buf, offset)
    body = batch_body(header, buf, offset, limits)
    return parse_records(header, body)


def batch_body(
    header: BatchHeader, buf: Buffer, offset: int = 0, limits: ReadLimits = DEFAULT_READ_LIMITS
) -> bytes:
    """The bytes of the batch's records, decompressed.

    Raises:
        DecompressedTooLarge: more than `limits` allow.
        WireError: the batch is cut short or of another format, or its codec cannot read it.
    """
    size = header.size
    if header.magic != MAGIC:
        raise WireError(f"batch: format {header.magic}, not {MAGIC}")
    if size < HEADER_SIZE or size > len(buf) - offset:
        raise WireError(f"batch: {size} bytes, {len(buf) - offset} are there")
    body = memoryview(buf)[offset + HEADER_SIZE : offset + size]
    if header.codec == 0:
        return bytes(body)
    return bytes(decompress(header.codec, body, limits.decompressed_bytes_max, limits.decompressed_ratio_max))


def parse_records(header: BatchHeader, body: bytes) -> list[Record]:
    """The records in `body`, which must be exactly `header.record_count` of them, their offsets rising.

    Raises:
        WireError: they are not.
    """
    count = header.record_count
    if not 0 <= count * _RECORD_BYTES_MIN <= len(body):
        raise WireError(f"batch: {count} records cannot be in {len(body)} bytes")
    base_offset = header.base_offset
    base_timestamp = header.base_timestamp
    append_time = header.max_timestamp if header.is_log_append_time else None
    records: list[Record] = []
    previous = -1
    p = 0
    try:
        for _ in range(count):
            length, p = read_varint(body, p)
            end = p + length
            if length < 0 or end > len(body):
                raise WireError(f"record: {length} bytes cannot be in the {len(body) - p} left")
            p += 1  # attributes, unused so far
            timestamp, p = read_varlong(body, p)
            delta, p = read_varint(body, p)
            key, p = _read_bytes(body, p, end)
            value, p = _read_bytes(body, p, end)
            n, p = read_varint(body, p)
            headers: Headers = ()
            if n:
                headers, p = _read_headers(body, p, end, n)
            if p != end:
                raise WireError("record: its length is not that of its fields")
            if not previous < delta <= header.last_offset_delta:
                raise WireError(f"record: offset delta {delta} after {previous}")
            previous = delta
            timestamp = base_timestamp + timestamp if append_time is None else append_time
            if not -_INT64_LIMIT <= timestamp < _INT64_LIMIT:
                raise WireError("record: its timestamp has more than 64 bits")
            records.append(Record(base_offset + delta, timestamp, key, value, headers))
    except IndexError:
        raise WireError("record: the bytes end early") from None
    if p != len(body):
        raise WireError(f"batch: {len(body) - p} bytes after its last record")
    return records


def _read_bytes(body: bytes, p: int, end: int) -> tuple[bytes | None, int]:
    length, p = read_varint(body, p)
    if length < 0:
        if length != -1:
            raise WireError(f"record: a length of {length}")
        return None, p
    stop = p + length
    if stop > end:
        raise WireError(f"record: {length} bytes cannot be in the {end - p} left")
    return body[p:stop], stop


def _read_headers(body: bytes, p: int, end: int, count: int) -> tuple[Headers, int]:
    if not 0 < count * 2 <= end - p:
        raise WireError(f"record: {count} headers cannot be in the {end - p} bytes left")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        key, p = _read_bytes(body, p, end)
        if key is None:
            raise WireError("record: a header without a key")
        content, p = _read_bytes(body, p, end)
        headers.append((key.decode("utf-8", "surrogateescape"), content))
    return headers, p
