"""Batches and records as `kafka-dump-log` prints them, and its decoders of records' contents. No I/O here.

Unlike the log's own readers these go on after a bad CRC: showing damage is what the tool is for.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from moldau_broker.storage.disk import DiskFile
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.inspect_json import constant_case, message_json, to_text
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.codec import decode
from moldau_broker.wire.coordinator_framing import RECORD_CLASSES, decode_key, decode_versioned
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from moldau_broker.wire.messages.raft_records import (
    KRaftVersionRecord,
    LeaderChangeMessage,
    SnapshotFooterRecord,
    SnapshotHeaderRecord,
    VotersRecord,
)
from moldau_broker.wire.metadata_framing import decode_record
from moldau_broker.wire.records import HEADER_SIZE, BatchHeader, Record, parse_header, read_records
from moldau_broker.wire.schema import Struct

CODEC_NAMES: Final = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
CONTROL_TYPES: Final = {0: "ABORT", 1: "COMMIT"}
RAFT_CONTROL_RECORDS: Final[Mapping[int, tuple[str, type[Struct]]]] = {
    2: ("LeaderChange:", LeaderChangeMessage),
    3: ("SnapshotHeader", SnapshotHeaderRecord),
    4: ("SnapshotFooter", SnapshotFooterRecord),
    5: ("KRaftVersion", KRaftVersionRecord),
    6: ("KRaftVoters", VotersRecord),
}
LENGTH_MIN: Final = 14  # below it the tool gives up: "smaller than minimum record overhead"

_CRC_FROM: Final = 21
_SEQUENCE_MASK: Final = 0x7FFFFFFF


class RecordPrinter(Protocol):
    """Decodes a record's key and value for print."""

    def contents(self, record: Record) -> tuple[str | None, str | None]:
        """(key, payload) as text; None is not printed."""


def read_batches(
    file: DiskFile, end: int, *, start: int = 0, whole: bool = False
) -> Iterator[tuple[int, BatchHeader, bytes]]:
    """Position, header and bytes (of the header only unless `whole`) of the batches in [start, end).

    Ends quietly before a batch that is cut short.

    Raises:
        CorruptLog: what stands at a batch boundary cannot be a batch.
    """
    position = start
    while position + HEADER_SIZE <= end:
        head = file.pread(HEADER_SIZE, position)
        size = int.from_bytes(head[8:12], "big", signed=True)
        if size < LENGTH_MIN:
            raise CorruptLog(f"Found record size {size} smaller than minimum record overhead ({LENGTH_MIN})")
        try:
            header = parse_header(head)
        except WireError as error:
            raise CorruptLog(f"{error}, at byte {position}") from error
        if position + header.size > end:
            return
        yield position, header, file.pread(header.size, position) if whole else head
        position += header.size


def batch_line(header: BatchHeader, data: bytes, position: int) -> str:
    """The line of a batch."""
    horizon = f"[{header.base_timestamp}]" if header.has_delete_horizon else ".empty"
    valid = header.size >= HEADER_SIZE and crc32c(memoryview(data)[_CRC_FROM:]) == header.crc
    last_sequence = _sequence(header, header.last_offset_delta)
    return (
        f"baseOffset: {header.base_offset} lastOffset: {header.last_offset} count: {header.record_count} "
        f"baseSequence: {header.base_sequence} lastSequence: {last_sequence} "
        f"producerId: {header.producer_id} producerEpoch: {header.producer_epoch} "
        f"partitionLeaderEpoch: {header.partition_leader_epoch} "
        f"isTransactional: {_java_bool(header.is_transactional)} isControl: {_java_bool(header.is_control)} "
        f"deleteHorizonMs: OptionalLong{horizon} position: {position} "
        f"{_timestamp_type(header)}: {header.max_timestamp} size: {header.size} magic: {header.magic} "
        f"compresscodec: {CODEC_NAMES.get(header.codec, str(header.codec))} crc: {header.crc} "
        f"isvalid: {_java_bool(valid)}"
    )


def record_lines(
    header: BatchHeader, data: bytes, printer: RecordPrinter | None, *, metadata: bool = True
) -> Iterator[tuple[Record, str]]:
    """The records of a batch, each with its line (empty for a control record without metadata).

    Raises:
        CorruptLog: the batch cannot be opened.
    """
    if not header.record_count:
        return
    try:
        records = read_records(data)
    except WireError as error:
        raise CorruptLog(f"the batch at offset {header.base_offset} cannot be opened: {error}") from error
    for record in records:
        line = ""
        if metadata:
            line = (
                f"| offset: {record.offset} {_timestamp_type(header)}: {record.timestamp} "
                f"keySize: {_size(record.key)} valueSize: {_size(record.value)} "
                f"sequence: {_sequence(header, record.offset - header.base_offset)} "
                f"headerKeys: [{','.join(_text(name) for name, _ in record.headers)}]"
            )
            if header.is_control:
                line += _control(record)
        if printer is not None and not header.is_control:
            separator = " " if metadata else "| "
            for name, text in zip(("key", "payload"), printer.contents(record), strict=True):
                if text is not None:
                    line += f"{separator}{name}: {text}"
                    separator = " "
        yield record, line


class TextPrinter:
    """Keys and values as UTF-8 text: the tool's default."""

    def contents(self, record: Record) -> tuple[str | None, str | None]:
        """Both as text, damaged characters replaced as Java replaces them."""
        return (
            None if record.key is None else record.key.decode("utf-8", _JAVA_REPLACE),
            None if record.value is None else record.value.decode("utf-8", _JAVA_REPLACE),
        )


def _text(name: str) -> str:
    """A header's name, whose damaged bytes `read_records` keeps as surrogates."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", _JAVA_REPLACE)


def _java_replace(error: UnicodeError) -> tuple[str, int]:
    """One U+FFFD for a damaged character; unlike Python, Java takes an encoded surrogate for one, not three."""
    assert isinstance(error, UnicodeDecodeError)
    data, start = error.object, error.start
    if data[start] == 0xED and data[start + 1 : start + 2] >= b"\xa0":  # continuation bytes end at 0xbf
        third = data[start + 2 : start + 3]
        if data[start + 1] < 0xC0:
            return "\ufffd", start + (3 if b"\x80" <= third < b"\xc0" else 2)
    return "\ufffd", error.end


_JAVA_REPLACE: Final = "moldau-java-replace"
codecs.register_error(_JAVA_REPLACE, _java_replace)


class CoordinatorPrinter:
    """Records of `__consumer_offsets` (--offsets-decoder): keys and values as JSON."""

    def contents(self, record: Record) -> tuple[str | None, str | None]:
        """Key with its type, value with its version; `<DELETE>` for a tombstone."""
        if record.key is None:
            raise CorruptLog(
                f"Failed to decode message at offset {record.offset} using the specified decoder "
                "(message had a missing key)"
            )
        kind = int.from_bytes(record.key[:2], "big", signed=True)
        if kind not in RECORD_CLASSES:
            return f"Unknown record type {kind} at offset {record.offset}, skipping.", None
        try:
            key = decode_key(record.key)
            assert key is not None
            key_text = to_text({"type": str(kind), "data": message_json(key, 0)})
            if record.value is None:
                return key_text, "<DELETE>"
            message, version = decode_versioned(RECORD_CLASSES[kind][1], record.value)
        except WireError as error:
            return f"Error at offset {record.offset}, skipping. {error}", None
        value = message_json(message, version)
        if value.get("protocolType") == "consumer":
            for member in value.get("members") or ():
                _open_member(member, "subscription", ConsumerProtocolSubscription)
                _open_member(member, "assignment", ConsumerProtocolAssignment)
        return key_text, to_text({"version": str(version), "data": value})


class MetadataPrinter:
    """Records of `__cluster_metadata` (--cluster-metadata-decoder): values as JSON, there are no keys."""

    def contents(self, record: Record) -> tuple[str | None, str | None]:
        """The value with its type and version."""
        try:
            message, version = decode_record(record.value or b"")
        except WireError as error:
            return None, f"Error at {record.offset}, skipping. {error}"
        kind = constant_case(type(message).__name__)
        return None, to_text({"type": kind, "version": version, "data": message_json(message, version)})


def _control(record: Record) -> str:
    """What the tool adds to a control record's line."""
    kind = int.from_bytes(record.key[2:4], "big", signed=True) if record.key and len(record.key) >= 4 else -1
    value = record.value or b""
    if kind in CONTROL_TYPES:
        epoch = int.from_bytes(value[2:6], "big", signed=True)
        return f" endTxnMarker: {CONTROL_TYPES[kind]} coordinatorEpoch: {epoch}"
    if kind not in RAFT_CONTROL_RECORDS:
        return f" controlType: UNKNOWN({kind})"
    label, record_class = RAFT_CONTROL_RECORDS[kind]
    version = int.from_bytes(value[:2], "big", signed=True)  # also the record's own first field
    try:
        return f" {label} {to_text(message_json(decode(record_class, version, value)[0], version))}"
    except WireError as error:
        raise CorruptLog(f"the control record at offset {record.offset} does not parse: {error}") from error


def _open_member(member: dict[str, Any], name: str, record_class: type[Struct]) -> None:
    """Replace a member's opaque subscription or assignment by its own JSON, if it is one."""
    try:
        message, version = decode_versioned(record_class, base64.b64decode(member[name]))
    except WireError:
        return  # stays in base64, as in Kafka
    member[name] = message_json(message, version)


def _sequence(header: BatchHeader, delta: int) -> int:
    return -1 if header.base_sequence == -1 else (header.base_sequence + delta) & _SEQUENCE_MASK


def _timestamp_type(header: BatchHeader) -> str:
    return "LogAppendTime" if header.is_log_append_time else "CreateTime"


def _size(data: object) -> int:
    return -1 if data is None else len(data)  # type: ignore[arg-type]


def _java_bool(value: bool) -> str:
    return "true" if value else "false"
