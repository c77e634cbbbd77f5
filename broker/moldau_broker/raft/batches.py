"""Record batches of the metadata log and its snapshots, between bytes and values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moldau_broker.raft.errors import RaftError
from moldau_broker.wire.codec import Buffer
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.records import (
    HEADER_SIZE,
    BatchHeader,
    Record,
    build_batch,
    crc_ok,
    parse_header,
    read_records,
)

KeyValue = tuple[bytes | None, bytes]


class ReadBatch(NamedTuple):
    """One batch as read back; `control` batches are the quorum's own."""

    base_offset: int
    next_offset: int
    epoch: int
    timestamp_ms: int
    control: bool
    records: list[tuple[bytes | memoryview | None, bytes | memoryview | None]]


def encode_batch(
    records: Sequence[KeyValue], *, base_offset: int, epoch: int, timestamp_ms: int, control: bool
) -> bytearray:
    """The bytes of a batch whose records all carry the same timestamp."""
    return build_batch(
        [
            Record(base_offset + index, timestamp_ms, key, value, ())
            for index, (key, value) in enumerate(records)
        ],
        base_offset=base_offset,
        leader_epoch=epoch,
        control=control,
    )


def decode_batches(data: Buffer, where: str, *, control_only: bool = False) -> Iterator[ReadBatch]:
    """The batches that lie back to back in `data`; with `control_only` the others come without their records.

    Raises:
        RaftError: they are cut short or damaged; `where` names the file in the text.
    """
    position, end = 0, len(data)
    while position < end:
        header = _checked_header(data, position, end, where)
        skip = control_only and not header.is_control
        try:
            records = [] if skip else read_records(data, position)
        except WireError as error:
            raise RaftError(f"{where} is damaged at byte {position}: {error}") from error
        yield ReadBatch(
            header.base_offset,
            header.next_offset,
            header.partition_leader_epoch,
            header.max_timestamp,
            header.is_control,
            [(record.key, record.value) for record in records],
        )
        position += header.size


def _checked_header(data: Buffer, position: int, end: int, where: str) -> BatchHeader:
    fault = "it is cut short"
    if end - position >= HEADER_SIZE:
        try:
            header = parse_header(data, position)
        except WireError as error:
            raise RaftError(f"{where} is damaged at byte {position}: {error}") from error
        if header.size <= end - position:
            if crc_ok(data, position, header.size):
                return header
            fault = "its checksum does not match"
    raise RaftError(f"{where} is damaged at byte {position}: {fault}")
