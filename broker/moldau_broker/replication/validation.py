"""What a produced batch must satisfy before it may be appended. Pure: bytes and a config in, a verdict out.

Records stay opaque: header, CRC, codec, and the header's counts and offsets are checked for every batch;
the body is opened only where its records decide something (see `opens_body`).
Sources: Kafka protocol guide "Record Batch"; KIP-98 (idempotence), KIP-467 (per-record errors), KIP-937 (timestamps).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import OPENED_ITEMS_MAX
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.compression import Codec, DecompressedTooLarge
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.records import (
    HEADER_SIZE,
    BatchHeader,
    ReadLimits,
    Record,
    build_batch,
    crc_ok,
    parse_header,
    read_records,
)

CREATE_TIME = 0
LOG_APPEND_TIME = 1
NO_TIMESTAMP = -1

_LENGTH_AND_MAGIC = struct.Struct(">qiib")
_ATTRIBUTES = struct.Struct(">h")
_TIMESTAMP = struct.Struct(">q")
_CRC = struct.Struct(">I")
_LENGTH_OVERHEAD = 12  # base offset and length, which the length itself does not count
_CRC_AT = 17
_ATTRIBUTES_AT = 21
_MAX_TIMESTAMP_AT = 35
_LOG_APPEND_TIME_BIT = 0x08
_ZSTD_SINCE_PRODUCE = 7
_UNBOUNDED_MS = 2**63 - 1
_LIMITS = ReadLimits(items_max=OPENED_ITEMS_MAX)
_CODECS = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a batch was refused: the error of its partition, and the records at fault (KIP-467)."""

    error: ErrorCode
    message: str
    records: tuple[tuple[int, str], ...] = ()


@dataclass(slots=True)  # not frozen: one is made per request, and freezing triples its cost
class Accepted:
    """A batch ready to append: `batch` is writable and exactly `header.size` bytes long.

    `log_append_time_ms` is -1 under CreateTime, else the time every record now carries.
    """

    batch: bytearray | memoryview
    header: BatchHeader
    log_append_time_ms: int = NO_TIMESTAMP


def parse_single_batch(records: memoryview | None, api_version: int) -> BatchHeader | Rejected:
    """The header of the one v2 batch that a Produce request may carry per partition.

    Checks what `ProduceRequest.validateRecords` does: one whole batch, magic 2, a codec legal in this version.
    """
    if records is None or len(records) < _LENGTH_OVERHEAD:
        return Rejected(ErrorCode.INVALID_RECORD, "a produce request must carry a record batch")
    if len(records) < HEADER_SIZE:
        return Rejected(ErrorCode.INVALID_RECORD, "the record batch is cut short")
    _, length, _, magic = _LENGTH_AND_MAGIC.unpack_from(records, 0)
    if magic != 2:
        return Rejected(
            ErrorCode.INVALID_RECORD, f"message format {magic} is not accepted; only version 2 is"
        )
    if length < HEADER_SIZE - _LENGTH_OVERHEAD:
        return Rejected(
            ErrorCode.CORRUPT_MESSAGE, f"batch length {length} is below the batch header's own size"
        )
    if length + _LENGTH_OVERHEAD > len(records):
        return Rejected(ErrorCode.INVALID_RECORD, "the record batch is cut short")
    if length + _LENGTH_OVERHEAD < len(records):
        return Rejected(ErrorCode.INVALID_RECORD, "a produce request must carry exactly one record batch")
    header = parse_header(records, 0)
    codec = header.attributes & 0x07
    if codec > Codec.ZSTD or (codec == Codec.ZSTD and api_version < _ZSTD_SINCE_PRODUCE):
        return Rejected(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"compression codec {codec} is not accepted here"
        )
    return header


def opens_body(config: TopicConfig, header: BatchHeader) -> bool:
    """Whether the records of this batch have to be looked at one by one."""
    if config.record_validation == "full" or "compact" in config.cleanup_policy:
        return True
    if config.message_timestamp_type == "LogAppendTime":
        return True
    if config.message_timestamp_before_max_ms < _UNBOUNDED_MS:
        return True
    wanted = _CODECS.get(config.compression_type)
    return wanted is not None and wanted != header.attributes & 0x07


def validate_batch(
    batch: memoryview | bytearray,
    header: BatchHeader,
    config: TopicConfig,
    now_ms: int,
    *,
    from_client: bool = True,
) -> Accepted | Rejected:
    """Check one batch (as given by `parse_single_batch`) against the topic's settings.

    Args:
        batch: exactly `header.size` bytes, writable; may be patched in place (LogAppendTime).
        header: its parsed header.
        config: the topic's settings.
        now_ms: wall clock, for timestamp bounds and LogAppendTime.
        from_client: False for our own coordinators, which may write control batches.

    Returns:
        `Accepted`, perhaps with a rebuilt batch (re-compression), or `Rejected` with the error Kafka gives.
    """
    rejected = _check_header(batch, header, config, from_client=from_client)
    if rejected is None:
        rejected = _check_timestamps(header, config, now_ms)
    if rejected is not None:
        return rejected
    if not opens_body(config, header):
        return Accepted(batch, header)
    return _validate_body(batch, header, config, now_ms)


def _check_header(
    batch: memoryview | bytearray, header: BatchHeader, config: TopicConfig, *, from_client: bool
) -> Rejected | None:
    size = header.size
    if size > config.max_message_bytes:
        return Rejected(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"the batch has {size} bytes, above max.message.bytes={config.max_message_bytes}",
        )
    if size > config.segment_bytes:
        return Rejected(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"the batch has {size} bytes, above segment.bytes={config.segment_bytes}",
        )
    if not crc_ok(batch, 0, size):
        return Rejected(ErrorCode.CORRUPT_MESSAGE, "the batch's CRC-32C does not match its bytes")
    count = header.record_count
    if count <= 0 or header.last_offset_delta + 1 != count:
        return Rejected(
            ErrorCode.INVALID_RECORD,
            f"the header counts {count} records but its offsets span {header.last_offset_delta + 1}",
        )
    if from_client and header.is_control:
        return Rejected(ErrorCode.INVALID_RECORD, "clients may not write control batches")
    if header.producer_id >= 0 and header.base_sequence < 0 and not header.is_control:
        return Rejected(ErrorCode.INVALID_RECORD, f"sequence {header.base_sequence} with a producer id")
    return None


def _check_timestamps(header: BatchHeader, config: TopicConfig, now_ms: int) -> Rejected | None:
    if config.message_timestamp_type == "LogAppendTime" or header.max_timestamp == NO_TIMESTAMP:
        return None
    if header.max_timestamp > now_ms + config.message_timestamp_after_max_ms:
        return Rejected(
            ErrorCode.INVALID_TIMESTAMP,
            f"timestamp {header.max_timestamp} is more than message.timestamp.after.max.ms="
            f"{config.message_timestamp_after_max_ms} ahead of the broker's clock",
        )
    return None


def _validate_body(
    batch: memoryview | bytearray, header: BatchHeader, config: TopicConfig, now_ms: int
) -> Accepted | Rejected:
    try:
        records = read_records(batch, 0, _LIMITS)
    except DecompressedTooLarge as error:
        return Rejected(ErrorCode.MESSAGE_TOO_LARGE, f"the records grow too large: {error}")
    except WireError as error:
        return Rejected(ErrorCode.INVALID_RECORD, f"the records cannot be read: {error}")
    rejected = _check_records(records, header, config, now_ms)
    if rejected is not None:
        return rejected
    append_time = now_ms if config.message_timestamp_type == "LogAppendTime" else NO_TIMESTAMP
    wanted = _CODECS.get(config.compression_type)
    if wanted is not None and wanted != header.attributes & 0x07:
        return _recompress(records, header, config, wanted, append_time)
    if append_time != NO_TIMESTAMP:
        stamp_append_time(batch, header.size, append_time)
        header = parse_header(batch, 0)
    return Accepted(batch, header, append_time)


def _check_records(
    records: list[Record], header: BatchHeader, config: TopicConfig, now_ms: int
) -> Rejected | None:
    if len(records) != header.record_count:
        return Rejected(
            ErrorCode.INVALID_RECORD,
            f"the batch holds {len(records)} records, its header says {header.record_count}",
        )
    compacted = "compact" in config.cleanup_policy and not header.is_control
    bounded = config.message_timestamp_type != "LogAppendTime"
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    faults: list[tuple[int, str]] = []
    error = ErrorCode.NONE
    for index, record in enumerate(records):
        if record.offset - header.base_offset != index:
            faults.append((index, f"offset delta {record.offset - header.base_offset} at position {index}"))
            error = ErrorCode.INVALID_RECORD
        elif compacted and record.key is None:
            faults.append((index, "a compacted topic cannot accept a record without a key"))
            error = ErrorCode.INVALID_RECORD
        elif bounded and record.timestamp != NO_TIMESTAMP and not earliest <= record.timestamp <= latest:
            faults.append((index, f"timestamp {record.timestamp} is out of the topic's bounds"))
            error = error or ErrorCode.INVALID_TIMESTAMP
    if not faults:
        return None
    return Rejected(
        error, f"{len(faults)} of {len(records)} records are invalid: {faults[0][1]}", tuple(faults)
    )


def _recompress(
    records: list[Record], header: BatchHeader, config: TopicConfig, codec: int, append_time: int
) -> Accepted | Rejected:
    rebuilt = build_batch(
        records,
        base_offset=header.base_offset,
        codec=codec,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        transactional=header.is_transactional,
        control=header.is_control,
    )
    if append_time != NO_TIMESTAMP:
        stamp_append_time(rebuilt, len(rebuilt), append_time)
    if len(rebuilt) > config.max_message_bytes:
        return Rejected(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"the re-compressed batch has {len(rebuilt)} bytes, above max.message.bytes={config.max_message_bytes}",
        )
    return Accepted(rebuilt, parse_header(rebuilt, 0), append_time)


def stamp_append_time(batch: memoryview | bytearray, size: int, append_time_ms: int) -> None:
    """Give every record of the batch the append time: attribute bit 3, max timestamp, new CRC; in place."""
    (attributes,) = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(batch, _ATTRIBUTES_AT, attributes | _LOG_APPEND_TIME_BIT)
    _TIMESTAMP.pack_into(batch, _MAX_TIMESTAMP_AT, append_time_ms)
    with memoryview(batch) as view:
        _CRC.pack_into(batch, _CRC_AT, crc32c(view[_ATTRIBUTES_AT:size]))
