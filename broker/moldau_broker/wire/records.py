"""Records inside batches, for whoever must look: clients, coordinators, the metadata log, compaction, tools. Pure.

Costs a microsecond or two a record, which is why the produce and fetch paths stay with `batches` (everything
there can be had from here too). Source: Kafka protocol guide, "Record", KIP-98.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct as Packed
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final, NamedTuple, TypeAlias

from moldau_broker.base.limits import DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX
from moldau_broker.wire.batches import (
    ATTRIBUTES_AT,
    CODEC_MASK,
    CONTROL,
    CRC_AT,
    DELETE_HORIZON,
    HEADER,
    HEADER_SIZE,
    LENGTH_OVERHEAD,
    LOG_APPEND_TIME,
    MAGIC,
    TRANSACTIONAL,
    BatchHeader,
    Buffer,
    crc_ok,
    iter_batches,
    parse_header,
    patch_batch,
)
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.compression import DecompressedTooLarge, compress, decompress
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import read_uvarint, read_varint, read_varlong, varint, varlong

__all__ = [
    "ATTRIBUTES_AT",
    "CODEC_MASK",
    "CONTROL",
    "CRC_AT",
    "DELETE_HORIZON",
    "HEADER_SIZE",
    "LENGTH_OVERHEAD",
    "LOG_APPEND_TIME",
    "MAGIC",
    "TRANSACTIONAL",
    "BatchHeader",
    "ReadLimits",
    "Record",
    "batch_body",
    "build_batch",
    "crc_ok",
    "iter_batches",
    "parse_header",
    "parse_records",
    "patch_batch",
    "read_records",
]

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

NO_TIMESTAMP: Final = -1
NO_PRODUCER_ID: Final = -1

_UINT32 = Packed(">I")
_RECORD_BYTES_MIN: Final = 7
_INT64_LIMIT: Final = 1 << 63


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
    items_max: int = 2**31 - 1
    """Records and their headers together."""


DEFAULT_READ_LIMITS: Final = ReadLimits()


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
        HEADER.pack_into(
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
    if header.record_count > limits.items_max:
        raise DecompressedTooLarge(f"batch: {header.record_count} records, above {limits.items_max}")
    body = batch_body(header, buf, offset, limits)
    return parse_records(header, body, limits.items_max)


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


def parse_records(header: BatchHeader, body: bytes, items_max: int = 2**31 - 1) -> list[Record]:
    """The records in `body`, which must be exactly `header.record_count` of them, their offsets rising.

    Raises:
        DecompressedTooLarge: they and their headers are more than `items_max`.
        WireError: they are not.
    """
    count = header.record_count
    last_delta = header.last_offset_delta
    if not 0 <= count * _RECORD_BYTES_MIN <= len(body):
        raise WireError(f"batch: {count} records cannot be in {len(body)} bytes")
    base_offset = header.base_offset
    base_timestamp = header.base_timestamp
    append_time = header.max_timestamp if header.is_log_append_time else None
    records: list[Record] = []
    append = records.append
    previous = -1
    p = 0
    try:
        for _ in range(count):
            # Most of these numbers are one byte; reading those here and not in a function halves the time.
            n = body[p]
            p += 1
            if n > 127:
                n, p = read_uvarint(body, p - 1)
            length = (n >> 1) ^ -(n & 1)
            end = p + length
            if length < 0 or end > len(body):
                raise WireError(f"record: {length} bytes cannot be in the {len(body) - p} left")
            p += 1  # attributes, unused so far
            n = body[p]
            p += 1
            if n < 128:
                timestamp = (n >> 1) ^ -(n & 1)
            else:
                timestamp, p = read_varlong(body, p - 1)
            n = body[p]
            p += 1
            if n > 127:
                n, p = read_uvarint(body, p - 1)
            delta = (n >> 1) ^ -(n & 1)
            key, p = _read_bytes(body, p, end)
            value, p = _read_bytes(body, p, end)
            n = body[p]
            p += 1
            headers: Headers = ()
            if n:
                n, p = read_varint(body, p - 1)
                items_max -= n
                if items_max < count:
                    raise DecompressedTooLarge(f"batch: {count} records with more headers than allowed")
                headers, p = _read_headers(body, p, end, n)
            if p != end:
                raise WireError("record: its length is not that of its fields")
            if not previous < delta <= last_delta:
                raise WireError(f"record: offset delta {delta} after {previous}")
            previous = delta
            timestamp = base_timestamp + timestamp if append_time is None else append_time
            if not -_INT64_LIMIT <= timestamp < _INT64_LIMIT:
                raise WireError("record: its timestamp has more than 64 bits")
            append(Record(base_offset + delta, timestamp, key, value, headers))
    except IndexError:
        raise WireError("record: the bytes end early") from None
    if p != len(body):
        raise WireError(f"batch: {len(body) - p} bytes after its last record")
    return records


def _read_bytes(body: bytes, p: int, end: int) -> tuple[bytes | None, int]:
    n = body[p]
    p += 1
    if n > 127:
        n, p = read_uvarint(body, p - 1)
    if n & 1:
        if n != 1:
            raise WireError(f"record: a length of {-(n >> 1) - 1}")
        return None, p
    length = n >> 1
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
