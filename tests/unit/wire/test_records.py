"""Record batches: the header's fields, patches, batches behind one another, records inside."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.compression import Codec, DecompressedTooLarge
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.primitives import varint
from moldau_broker.wire.records import (
    CRC_AT,
    HEADER_SIZE,
    ReadLimits,
    Record,
    build_batch,
    crc_ok,
    iter_batches,
    parse_header,
    patch_batch,
    read_records,
)

RECORDS = [
    Record(5, 1000, b"key", b"value", [("h", b"1"), ("none", None), ("empty", b"")]),
    Record(6, 1003, None, b""),
    Record(9, 998, b"", None),
]


def body_of(*records: bytes, count: int | None = None, last_delta: int = 10) -> bytes:
    """A batch around hand-made record bytes."""
    body = b"".join(varint(len(record)) + record for record in records)
    batch = bytearray(build_batch([], last_offset_delta=last_delta)) + body
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">i", batch, 57, len(records) if count is None else count)
    return bytes(batch)


def test_crc32c_is_castagnoli() -> None:
    """Reference: RFC 3720, B.4: the check value, and going on from a value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(memoryview(b"12345"))) == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize("codec", list(Codec))
def test_records_survive_a_batch(codec: Codec) -> None:
    """Nulls, empties, gaps in offsets, falling timestamps and headers come back as they went."""
    batch = build_batch(RECORDS, base_offset=5, codec=codec)
    assert read_records(batch) == RECORDS
    assert read_records(b"##" + batch, 2) == RECORDS


def test_header_says_what_the_batch_is() -> None:
    """Every field of the header has its value, and what follows from them."""
    batch = build_batch(
        RECORDS,
        base_offset=5,
        codec=Codec.ZSTD,
        producer_id=7,
        producer_epoch=2,
        base_sequence=2**31 - 2,
        leader_epoch=4,
        transactional=True,
        control=True,
    )
    header = parse_header(batch)
    assert header == (5, len(batch) - 12, 4, 2, header.crc, 0x34, 4, 1000, 1003, 7, 2, 2**31 - 2, 3)
    assert (header.size, header.last_offset, header.next_offset) == (len(batch), 9, 10)
    assert header.last_sequence == 2, "sequence numbers wrap to 0"
    assert (header.codec, header.is_log_append_time, header.has_delete_horizon) == (4, False, False)
    assert (header.is_transactional, header.is_control) == (True, True)


# What Kafka 4.3.1's own `MemoryRecords.withRecords` wrote for these values, by compression type.
KAFKAS_BATCHES = json.loads((Path(__file__).parents[2] / "data" / "kafka" / "batches.json").read_text())
KAFKAS_RECORDS = [
    Record(7, 1_700_000_000_000, b"k", b"v", [("h", b"x")]),
    Record(8, 1_700_000_000_005, None, b"v" * 44),
    Record(9, 1_699_999_999_999, b"k2", None),
]


def test_batch_is_kafkas_to_the_byte() -> None:
    """Batches have exactly the bytes Kafka writes."""
    batch = build_batch([KAFKAS_RECORDS[0]._replace(offset=0)], leader_epoch=0)
    assert batch.hex() == KAFKAS_BATCHES["one"]
    batch = build_batch(
        KAFKAS_RECORDS, base_offset=7, leader_epoch=4, producer_id=11, producer_epoch=2, base_sequence=3
    )
    assert batch.hex() == KAFKAS_BATCHES["none"]


@pytest.mark.parametrize("codec", list(Codec))
def test_batch_of_kafka_is_read(codec: Codec) -> None:
    """What Kafka compressed with each codec opens to its records, and its CRC is right."""
    batch = bytes.fromhex(KAFKAS_BATCHES[codec.name.lower()])
    assert crc_ok(batch, 0, len(batch))
    assert read_records(batch) == KAFKAS_RECORDS
    header = parse_header(batch)
    assert (header.codec, header.producer_id, header.producer_epoch, header.base_sequence) == (
        codec,
        11,
        2,
        3,
    )


def test_log_append_time_is_every_records_time() -> None:
    """With the attribute set, the records' own timestamps mean nothing."""
    batch = build_batch(RECORDS, base_offset=5, timestamp_type=1, max_timestamp=5555)
    assert parse_header(batch).is_log_append_time
    assert [record.timestamp for record in read_records(batch)] == [5555] * 3


def test_delete_horizon_replaces_the_base_timestamp() -> None:
    """Reference: KIP-534. Records keep their times, as deltas to the horizon."""
    batch = build_batch(RECORDS, base_offset=5, delete_horizon_ms=90_000)
    header = parse_header(batch)
    assert (header.has_delete_horizon, header.base_timestamp, header.max_timestamp) == (True, 90_000, 1003)
    assert read_records(batch) == RECORDS


def test_empty_batch_keeps_its_offsets() -> None:
    """Compaction may leave a batch without records that still says where its producer was."""
    batch = build_batch(
        [], base_offset=100, last_offset_delta=9, producer_id=3, producer_epoch=0, base_sequence=5
    )
    header = parse_header(batch)
    assert (header.record_count, header.last_offset, header.last_sequence) == (0, 109, 14)
    assert read_records(batch) == []


def test_crc_covers_everything_from_the_attributes_on() -> None:
    """One flipped bit anywhere behind the CRC is found; in front of it, it is not the CRC's business."""
    batch = build_batch(RECORDS, base_offset=5)
    assert crc_ok(b"#" + batch, 1, len(batch))
    for position in range(len(batch)):
        batch[position] ^= 0x40
        assert crc_ok(batch, 0, len(batch)) == (position < CRC_AT), position
        batch[position] ^= 0x40


def test_patch_gives_a_batch_its_place_outside_the_crc() -> None:
    """The leader's offset and epoch do not touch the CRC, and move the records."""
    batch = bytearray(b"#") + build_batch(RECORDS, base_offset=5)
    patch_batch(memoryview(batch), 1, 1_000_000_000_000, 77)
    header = parse_header(batch, 1)
    assert (header.base_offset, header.partition_leader_epoch) == (1_000_000_000_000, 77)
    assert crc_ok(batch, 1, len(batch) - 1)
    assert [record.offset for record in read_records(batch, 1)] == [1_000_000_000_000 + d for d in (0, 1, 4)]


def test_batches_behind_one_another_are_found() -> None:
    """Positions and headers, in order, within the bounds asked for."""
    one, two = build_batch(RECORDS, base_offset=5), build_batch(RECORDS[:1], base_offset=5)
    buf = b"###" + one + two + b"###"
    found = [(at, header.record_count) for at, header in iter_batches(buf, 3, len(buf) - 3)]
    assert found == [(3, 3), (3 + len(one), 1)]
    assert list(iter_batches(b"")) == []


def test_last_batch_may_be_partial_where_that_is_legal() -> None:
    """A Fetch answer may end inside a batch; elsewhere that is an error, at whatever byte it ends."""
    one = build_batch(RECORDS, base_offset=5)
    for end in range(len(one) + 1, 2 * len(one)):
        buf = (one + one)[:end]
        assert [at for at, _ in iter_batches(buf, partial_last=True)] == [0]
        with pytest.raises(WireError):
            list(iter_batches(buf))


@pytest.mark.parametrize(
    ("position", "content"),
    [(16, b"\x01"), (8, b"\xff\xff\xff\xff"), (8, b"\x00\x00\x00\x30"), (8, b"\x7f\xff\xff\xff")],
    ids=["magic 1", "negative length", "shorter than a header", "2 GiB"],
)
def test_malformed_batches_are_refused(position: int, content: bytes) -> None:
    """Another format and sizes that cannot be end the walk and the reading."""
    batch = build_batch(RECORDS, base_offset=5)
    batch[position : position + len(content)] = content
    with pytest.raises(WireError):
        list(iter_batches(batch))
    with pytest.raises(WireError):
        read_records(batch)


def test_header_cut_short_is_refused() -> None:
    """Sixty bytes are no header."""
    batch = build_batch([])
    assert len(batch) == HEADER_SIZE
    with pytest.raises(WireError):
        parse_header(batch[:-1])
    with pytest.raises(WireError):
        parse_header(batch, 1)


GOOD = b"\x00\x00\x00\x01\x01\x00"


@pytest.mark.parametrize(
    "batch",
    [
        body_of(GOOD, count=2),
        body_of(GOOD, count=0),
        body_of(GOOD, count=-1),
        body_of(GOOD, count=2**31 - 1),
        body_of(GOOD, GOOD),
        body_of(b"\x00\x00\x02\x01\x01\x00", last_delta=0),
        body_of(b"\x00\x00\x01\x01\x01\x00"),
        body_of(GOOD + b"\x00"),
        body_of(b"\x00\x00\x00\x10\x01\x00"),
        body_of(b"\x00\x00\x00\x03\x01\x00"),
        body_of(b"\x00\x00\x00\x01\x01\x06\x02a"),
        body_of(b"\x00\x00\x00\x01\x01\x01"),
        body_of(b"\x00\x00\x00\x01\x01\x02\x01\x01"),
        body_of(b"\x00" + b"\xff" * 9 + b"\x01" + b"\x00\x01\x01\x00")[:-1] + b"\x01",
        body_of(b""),
        body_of(b"\x00\x00\x00\x01"),
    ],
    ids=[
        "fewer records than counted",
        "more records than counted",
        "negative count",
        "huge count",
        "same offset twice",
        "offset after the last",
        "negative offset delta",
        "byte after the record",
        "key past the record",
        "length of -2",
        "more headers than bytes",
        "negative header count",
        "header without a key",
        "header count past the end",
        "empty record",
        "record cut short",
    ],
)
def test_malformed_records_are_refused(batch: bytes) -> None:
    """Counts, lengths and offsets that do not hold are the typed error."""
    assert read_records(body_of(GOOD)) == [Record(0, -1, None, None)]
    with pytest.raises(WireError):
        read_records(batch)


def test_header_keys_that_are_no_utf8_survive() -> None:
    """Kafka checks no header key; what compaction reads it must write again."""
    batch = body_of(b"\x00\x00\x00\x01\x01\x02\x04\xff\xfe\x01")
    (record,) = read_records(batch)
    assert read_records(build_batch([record])) == [record]
    assert bytes(build_batch([record], last_offset_delta=10)[HEADER_SIZE:]) == batch[HEADER_SIZE:]


def test_limits_bound_what_a_batch_opens_into() -> None:
    """A small batch that would be large is refused with the error that says so."""
    batch = build_batch([Record(0, 0, None, bytes(3_000_000))], codec=Codec.GZIP)
    assert len(read_records(batch, 0, ReadLimits(decompressed_ratio_max=5000))) == 1
    with pytest.raises(DecompressedTooLarge):
        read_records(batch)
    with pytest.raises(DecompressedTooLarge):
        read_records(batch, 0, ReadLimits(decompressed_bytes_max=1000, decompressed_ratio_max=5000))


@pytest.mark.parametrize(
    "record",
    [Record(2**31, 0, None, None), Record(0, 2**63, None, None), Record(0, 0, "text", None)],  # type: ignore[arg-type]
    ids=["offset too far", "timestamp too large", "key is text"],
)
def test_records_that_fit_no_batch_are_refused(record: Record) -> None:
    """Building fails with the typed error too."""
    with pytest.raises(WireError):
        build_batch([record])
