"""What a produced batch must satisfy, row by row (reliability catalogue; Kafka's LogValidator and ProduceRequest)."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.replication.validation import (
    Accepted,
    Rejected,
    opens_body,
    parse_single_batch,
    validate_batch,
)
from moldau_broker.wire.checksums import crc32c
from moldau_broker.wire.records import Record, build_batch, crc_ok, parse_header, read_records

NOW = 1_700_000_000_000


def batch(count: int = 3, *, key: bytes | None = b"k", codec: int = 0, timestamp: int = NOW) -> bytearray:
    records = [
        Record(offset=i, timestamp=timestamp + i, key=key, value=b"value-%d" % i, headers=())
        for i in range(count)
    ]
    return build_batch(records, codec=codec)


def patched(original: bytearray, at: int, layout: str, value: int) -> bytearray:
    """The batch with one header field replaced and its CRC made right again."""
    changed = bytearray(original)
    struct.pack_into(layout, changed, at, value)
    struct.pack_into(">I", changed, 17, crc32c(bytes(changed[21:])))
    return changed


def judge(data: bytearray, config: TopicConfig | None = None, version: int = 9) -> Accepted | Rejected:
    header = parse_single_batch(memoryview(data), version)
    if isinstance(header, Rejected):
        return header
    return validate_batch(memoryview(data), header, config or TopicConfig(), NOW)


def refused(verdict: Accepted | Rejected) -> ErrorCode:
    assert isinstance(verdict, Rejected), verdict
    return verdict.error


def test_plain_batch_is_accepted_unopened() -> None:
    """The usual topic never looks inside a batch: garbage records with a right CRC pass (opaque records)."""
    data = batch()
    data[70:80] = b"\xff" * 10
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    assert isinstance(judge(data), Accepted)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (bytearray(), ErrorCode.INVALID_RECORD),
        (batch()[:40], ErrorCode.INVALID_RECORD),
        (batch()[:-1], ErrorCode.INVALID_RECORD),
        (batch() + batch(), ErrorCode.INVALID_RECORD),
        (patched(batch(), 16, ">b", 1), ErrorCode.INVALID_RECORD),
        (patched(batch(), 8, ">i", 10), ErrorCode.CORRUPT_MESSAGE),
        (patched(batch(), 8, ">i", -1), ErrorCode.CORRUPT_MESSAGE),
    ],
    ids=["none", "short header", "cut", "two batches", "magic 1", "length 10", "negative length"],
)
def test_shape_of_the_records_field_is_one_whole_v2_batch(data: bytearray, error: ErrorCode) -> None:
    """Produce v3+ carries exactly one batch of format 2 for each partition."""
    assert refused(judge(data)) is error


def test_wrong_crc_is_corrupt_message() -> None:
    """A flipped bit is found by the CRC-32C."""
    data = batch()
    data[-1] ^= 1
    assert refused(judge(data)) is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize(
    ("at", "layout", "value"), [(57, ">i", 2), (57, ">i", 0), (57, ">i", -1), (23, ">i", 7)]
)
def test_count_and_offsets_must_agree(at: int, layout: str, value: int) -> None:
    """The header's record count and last offset delta tell the same number of records."""
    assert refused(judge(patched(batch(), at, layout, value))) is ErrorCode.INVALID_RECORD


def test_control_batch_from_a_client_is_refused() -> None:
    """Markers are the coordinators' alone."""
    data = patched(batch(), 21, ">h", 0x20)
    assert refused(judge(data)) is ErrorCode.INVALID_RECORD


def test_batch_above_max_message_bytes_is_too_large() -> None:
    """max.message.bytes is checked per batch."""
    data = batch(50)
    assert refused(judge(data, TopicConfig(max_message_bytes=len(data) - 1))) is ErrorCode.MESSAGE_TOO_LARGE
    assert isinstance(judge(data, TopicConfig(max_message_bytes=len(data))), Accepted)


def test_batch_above_segment_bytes_is_refused() -> None:
    """A batch that fits no segment cannot be stored."""
    data = batch(50)
    assert refused(judge(data, TopicConfig(segment_bytes=len(data) - 1))) is ErrorCode.RECORD_LIST_TOO_LARGE


@pytest.mark.parametrize(
    ("version", "codec", "accepted"), [(6, 4, False), (7, 4, True), (9, 5, False), (9, 7, False)]
)
def test_codec_must_be_known_and_zstd_new_enough(version: int, codec: int, *, accepted: bool) -> None:
    """zstd is legal from Produce v7 on; codecs 5 to 7 do not exist."""
    data = patched(batch(), 21, ">h", codec)
    verdict = judge(data, version=version)
    if accepted:
        assert isinstance(verdict, Accepted)
    else:
        assert refused(verdict) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


def test_timestamp_too_far_ahead_is_refused() -> None:
    """CreateTime may be ahead of the broker by message.timestamp.after.max.ms (KIP-937)."""
    assert refused(judge(batch(timestamp=NOW + 3_600_001))) is ErrorCode.INVALID_TIMESTAMP
    assert isinstance(judge(batch(1, timestamp=NOW + 3_600_000)), Accepted)


def test_timestamp_too_old_is_refused_record_by_record() -> None:
    """message.timestamp.before.max.ms opens the batch and names the records at fault."""
    config = TopicConfig(message_timestamp_before_max_ms=1_000)
    verdict = judge(batch(2, timestamp=NOW - 1_001), config)
    assert refused(verdict) is ErrorCode.INVALID_TIMESTAMP
    assert isinstance(verdict, Rejected)
    assert [at for at, _ in verdict.records] == [0]


def test_compacted_topic_refuses_records_without_key() -> None:
    """A record without a key could never be compacted: the whole batch is refused, the records named (KIP-467)."""
    config = TopicConfig(cleanup_policy=frozenset({"compact"}))
    verdict = judge(batch(2, key=None), config)
    assert refused(verdict) is ErrorCode.INVALID_RECORD
    assert isinstance(verdict, Rejected)
    assert [at for at, _ in verdict.records] == [0, 1]
    assert isinstance(judge(batch(2), config), Accepted)


def test_full_validation_finds_garbage_in_the_body() -> None:
    """record.validation=full decodes every record; what cannot be read is INVALID_RECORD, not retriable."""
    data = batch()
    data[61:] = b"\xff" * (len(data) - 61)
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    assert refused(judge(data, TopicConfig(record_validation="full"))) is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_full_validation_finds_garbage_in_a_compressed_body(codec: int) -> None:
    """A body that does not decompress is INVALID_RECORD."""
    data = batch(20, codec=codec)
    data[61:] = bytes(range(7)) * 10
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    assert refused(judge(data, TopicConfig(record_validation="full"))) is ErrorCode.INVALID_RECORD


def test_decompression_bomb_is_refused_without_being_built() -> None:
    """A body that grows more than the ratio allows is refused once it passes the bound."""
    records = [Record(offset=0, timestamp=NOW, key=b"k", value=bytes(40_000_000), headers=())]
    data = build_batch(records, codec=4)
    assert len(data) < 100_000
    assert refused(judge(data, TopicConfig(record_validation="full"))) is ErrorCode.MESSAGE_TOO_LARGE


def test_log_append_time_stamps_the_batch_and_mends_its_crc() -> None:
    """LogAppendTime sets attribute bit 3 and the max timestamp; the records then all carry that time."""
    data = batch(timestamp=NOW - 50_000)
    verdict = judge(data, TopicConfig(message_timestamp_type="LogAppendTime"))
    assert isinstance(verdict, Accepted)
    assert verdict.log_append_time_ms == NOW
    assert verdict.header.attributes & 0x08
    assert crc_ok(verdict.batch, 0, verdict.header.size)
    assert {record.timestamp for record in read_records(verdict.batch)} == {NOW}


@pytest.mark.parametrize(
    ("name", "codec"), [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4), ("uncompressed", 0)]
)
def test_topic_codec_recompresses_what_differs(name: str, codec: int) -> None:
    """compression.type other than `producer` rewrites batches of another codec and keeps every record."""
    config = TopicConfig(compression_type=name)
    original = batch(10, codec=3 if codec != 3 else 1)
    expected = [replace_offset(record) for record in read_records(original)]
    verdict = judge(original, config)
    assert isinstance(verdict, Accepted)
    assert verdict.header.attributes & 0x07 == codec
    assert [replace_offset(record) for record in read_records(verdict.batch)] == expected
    same = batch(10, codec=codec)
    kept = judge(same, config)
    assert isinstance(kept, Accepted)
    assert bytes(kept.batch) == bytes(same)


def replace_offset(record: Record) -> tuple[int, int, bytes | None, bytes | None]:
    return (record.offset, record.timestamp, record.key, record.value)


def test_only_the_settings_that_need_it_open_the_body() -> None:
    """The hot path stays closed: a plain topic, or one whose codec is already right, opens nothing."""
    header = parse_header(batch(codec=3))
    plain = TopicConfig()
    assert not opens_body(plain, header)
    assert not opens_body(replace(plain, compression_type="lz4"), header)
    assert opens_body(replace(plain, compression_type="zstd"), header)
    assert opens_body(replace(plain, record_validation="full"), header)
    assert opens_body(replace(plain, cleanup_policy=frozenset({"compact", "delete"})), header)
    assert opens_body(replace(plain, message_timestamp_type="LogAppendTime"), header)


def test_producer_id_without_sequence_is_refused() -> None:
    """An idempotent batch carries its sequence."""
    data = patched(patched(batch(), 43, ">q", 7), 53, ">i", -1)
    assert refused(judge(data)) is ErrorCode.INVALID_RECORD
