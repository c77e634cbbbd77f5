"""Bad input in Produce: batches that lie, bombs, sequences, acks, names. After every test a good client is served.

Records stay opaque on most topics: rows about what is inside a compressed body bind on topics with
`record.validation=full` (and, by the same code, on compacted ones and those that re-compress or stamp).
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import cramjam
import pytest
from tests.compat.hostile import (
    NOW_MS,
    Target,
    computed_within,
    fetch,
    patched,
    produce,
    produce_request,
    records,
    uvarint,
    with_body,
)

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.broker import EmbeddedBroker
from moldau_broker.testing.raw import ConnectionClosed, RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.compression import compress
from moldau_broker.wire.messages.init_producer_id import InitProducerIdRequest
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from moldau_broker.wire.records import Record, build_batch, parse_header

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def shared() -> Iterator[Target]:
    with EmbeddedBroker() as broker:
        target = Target(broker)
        yield target
        target.close()


@pytest.fixture
def broker(shared: Target) -> Iterator[EmbeddedBroker]:
    """A broker that must still serve the good client afterwards."""
    yield shared.broker
    shared.still_serves()


@pytest.fixture
def client(broker: EmbeddedBroker) -> Iterator[RawClient]:
    with broker.connect() as client:
        yield client


@pytest.fixture
def topic(broker: EmbeddedBroker) -> str:
    return broker.create_topic()


@pytest.fixture
def checked(broker: EmbeddedBroker) -> str:
    """A topic whose batches are opened."""
    return broker.create_topic(settings={"record.validation": "full"})


# --- the batch itself -------------------------------------------------------------------------------------


GOOD = records(b"one", b"two", b"three")
OLD_MESSAGE = bytes(8) + (22).to_bytes(4, "big") + bytes(4)  # offset, size, crc; then magic

BAD_BATCHES: dict[str, tuple[bytes | bytearray | None, ErrorCode]] = {
    "crc": (patched(GOOD, crc=12345), ErrorCode.CORRUPT_MESSAGE),
    "flipped bit": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), ErrorCode.CORRUPT_MESSAGE),
    "magic 0": (OLD_MESSAGE + b"\0" + bytes(80), ErrorCode.INVALID_RECORD),
    "magic 1": (OLD_MESSAGE + b"\1" + bytes(80), ErrorCode.INVALID_RECORD),
    "magic 3": (patched(GOOD, magic=3), ErrorCode.INVALID_RECORD),
    "no records": (None, ErrorCode.INVALID_RECORD),
    "empty records": (b"", ErrorCode.INVALID_RECORD),
    "zeros": (bytes(200), ErrorCode.INVALID_RECORD),
    "a header cut short": (GOOD[:60], ErrorCode.INVALID_RECORD),
    "a body cut short": (GOOD[:-1], ErrorCode.INVALID_RECORD),
    "two batches": (GOOD + GOOD, ErrorCode.INVALID_RECORD),
    "bytes behind the batch": (GOOD + b"x", ErrorCode.INVALID_RECORD),
    "length below the header": (patched(GOOD, batch_length=48), ErrorCode.CORRUPT_MESSAGE),
    "negative length": (patched(GOOD, batch_length=-1), ErrorCode.CORRUPT_MESSAGE),
    "length beyond the bytes": (patched(GOOD, batch_length=2**31 - 1), ErrorCode.INVALID_RECORD),
    "codec 5": (patched(GOOD, attributes=5), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
    "codec 6": (patched(GOOD, attributes=6), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
    "codec 7": (patched(GOOD, attributes=7), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
    "count above the offsets": (patched(GOOD, record_count=4), ErrorCode.INVALID_RECORD),
    "offsets above the count": (patched(GOOD, last_offset_delta=3), ErrorCode.INVALID_RECORD),
    "offsets of a billion": (patched(GOOD, last_offset_delta=2**31 - 1), ErrorCode.INVALID_RECORD),
    "count 0": (patched(GOOD, record_count=0, last_offset_delta=-1), ErrorCode.INVALID_RECORD),
    "count -1": (patched(GOOD, record_count=-1, last_offset_delta=-2), ErrorCode.INVALID_RECORD),
    "a control batch": (patched(GOOD, attributes=0x20), ErrorCode.INVALID_RECORD),
    "a control batch of a transaction": (
        patched(GOOD, attributes=0x30, producer_id=1, producer_epoch=0, base_sequence=0),
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ),
    "a transactional batch": (
        patched(GOOD, attributes=0x10, producer_id=1, producer_epoch=0, base_sequence=0),
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ),
    "a producer without sequence": (
        patched(GOOD, producer_id=1, producer_epoch=0, base_sequence=-1),
        ErrorCode.INVALID_RECORD,
    ),
}


@pytest.mark.parametrize("acks", [-1, 1])
@pytest.mark.parametrize("what", BAD_BATCHES)
def test_a_bad_batch_is_refused_and_not_written(
    client: RawClient, broker: EmbeddedBroker, topic: str, what: str, acks: int
) -> None:
    """Every time: also after a good one, when repeated requests go a shorter way."""
    data, error = BAD_BATCHES[what]
    for _ in range(2):
        answer = produce(client, topic, data, acks=acks)
        assert (answer.error_code, answer.base_offset) == (error, -1)
        assert answer.error_message
    assert produce(client, topic, GOOD, acks=acks).base_offset == 0
    assert produce(client, topic, GOOD, acks=acks).base_offset == 3
    for _ in range(2):
        assert produce(client, topic, data, acks=acks).error_code == error
    assert broker.end_offset(topic) == 6


def test_zstd_needs_a_version_that_knows_it(client: RawClient, topic: str) -> None:
    """Consumers before Produce v7 could not read it (KIP-110)."""
    batch = records(b"x", codec=ZSTD)
    assert produce(client, topic, batch, version=6).error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert produce(client, topic, batch, version=7).error_code == ErrorCode.NONE


def test_a_batch_above_max_message_bytes_is_refused(client: RawClient, broker: EmbeddedBroker) -> None:
    """10 above max.message.bytes, 18 above what a segment can take."""
    topic = broker.create_topic(settings={"max.message.bytes": "1000"})
    assert produce(client, topic, records(bytes(1_000))).error_code == ErrorCode.MESSAGE_TOO_LARGE
    assert produce(client, topic, records(bytes(800))).error_code == ErrorCode.NONE
    small = broker.create_topic(settings={"segment.bytes": str(1 << 20), "max.message.bytes": str(4 << 20)})
    assert produce(client, small, records(bytes(1 << 20))).error_code == ErrorCode.RECORD_LIST_TOO_LARGE
    assert produce(client, small, records(bytes(1 << 19))).error_code == ErrorCode.NONE


def test_a_topic_with_large_batches_gets_larger_frames(client: RawClient, broker: EmbeddedBroker) -> None:
    """Raising max.message.bytes is enough: the frame limit follows it."""
    topic = broker.create_topic(settings={"max.message.bytes": str(20 << 20)})
    assert produce(client, topic, records(bytes(19 << 20))).error_code == ErrorCode.NONE
    with pytest.raises(ConnectionClosed):
        produce(client, topic, records(bytes(21 << 20)))


def test_timestamps_out_of_bounds_are_refused(client: RawClient, broker: EmbeddedBroker) -> None:
    """An hour ahead by default; behind only where the topic says so. Nonsense does not get past either."""
    now = time.time_ns() // 1_000_000
    topic = broker.create_topic()
    for ahead, error in ((0, 0), (3_500_000, 0), (3_700_000, 32), (2**62 - now, 32)):
        assert produce(client, topic, records(timestamp=now + ahead)).error_code == error
    assert produce(client, topic, records(timestamp=0)).error_code == ErrorCode.NONE
    strict = broker.create_topic(settings={"message.timestamp.before.max.ms": str(DAY_MS)})
    assert produce(client, strict, records(timestamp=now - DAY_MS // 2)).error_code == ErrorCode.NONE
    refused = produce(client, strict, records(timestamp=now - 2 * DAY_MS))
    assert refused.error_code == ErrorCode.INVALID_TIMESTAMP
    assert [one.batch_index for one in refused.record_errors] == [0]
    assert (broker.end_offset(topic), broker.end_offset(strict)) == (3, 1)


@pytest.mark.parametrize("codec", [0, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_record_without_key_is_refused_on_a_compacted_topic(
    client: RawClient, broker: EmbeddedBroker, codec: int
) -> None:
    """The whole batch fails, and the answer says which record is at fault (KIP-467)."""
    topic = broker.create_topic(settings={"cleanup.policy": "compact"})
    mixed = build_batch(
        [Record(at, NOW_MS, key, b"v", []) for at, key in enumerate((b"a", None, b"c", None))], codec=codec
    )
    refused = produce(client, topic, mixed)
    assert refused.error_code == ErrorCode.INVALID_RECORD
    assert [one.batch_index for one in refused.record_errors] == [1, 3]
    assert broker.end_offset(topic) == 0
    assert produce(client, topic, records(b"v", codec=codec)).error_code == ErrorCode.NONE


# --- what is inside ---------------------------------------------------------------------------------------


def compressed(codec: int, plain: bytes) -> bytes:
    """As the codec's own library writes it, without our help."""
    return {
        GZIP: lambda: gzip.compress(plain, 6),
        SNAPPY: lambda: bytes(cramjam.snappy.compress_raw(plain)),
        LZ4: lambda: bytes(cramjam.lz4.compress(plain)),
        ZSTD: lambda: bytes(cramjam.zstd.compress(plain)),
    }[codec]()


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
@pytest.mark.parametrize("body", [b"", b"\x00", b"garbage" * 50, bytes(500), b"\xff" * 500])
def test_garbage_in_a_compressed_body_is_refused(
    client: RawClient, broker: EmbeddedBroker, checked: str, topic: str, codec: int, body: bytes
) -> None:
    """87, not Kafka's -1: no client should try it again. Where bodies stay closed it is stored and served."""
    batch = with_body(parse_header(records(b"x", codec=codec)), body)
    refused = produce(client, checked, batch)
    assert refused.error_code == ErrorCode.INVALID_RECORD
    assert "cannot be read" in refused.error_message
    assert broker.end_offset(checked) == 0
    if body:
        assert produce(client, topic, batch).error_code == ErrorCode.NONE
        assert bytes(fetch(client, topic).records)[61:] == body


@pytest.mark.parametrize("codec", [0, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_compressed_body_cut_anywhere_is_refused(client: RawClient, checked: str, codec: int) -> None:
    """Half of a good body, with a good CRC around it."""
    batch = records(*(b"value %d" % at for at in range(50)), codec=codec)
    for size in range(61, len(batch), max(1, len(batch) // 20)):
        cut = with_body(parse_header(batch), bytes(batch[61:size]))
        assert produce(client, checked, cut).error_code == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_bomb_is_refused_without_being_built(client: RawClient, checked: str, codec: int) -> None:
    """Above 64 MiB, or 200 bytes for one: MESSAGE_TOO_LARGE, and soon."""
    bomb = (
        compressed(codec, bytes(80 << 20))[: 1 << 20]
        if codec == SNAPPY
        else compressed(codec, bytes(80 << 20))
    )
    assert len(bomb) <= 1 << 20, "it fits a request"
    with computed_within(1):
        refused = produce(client, checked, with_body(parse_header(records(b"x", codec=codec)), bomb))
    assert refused.error_code in (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.INVALID_RECORD)
    if codec != SNAPPY:
        assert refused.error_code == ErrorCode.MESSAGE_TOO_LARGE


def test_a_snappy_block_that_claims_gigabytes_is_refused(client: RawClient, checked: str) -> None:
    """CVE-2023-34455: a claimed length is not believed, neither plain nor in a block of snappy-java's framing."""
    header = parse_header(records(b"x", codec=SNAPPY))
    xerial = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    for body in (
        b"\xff\xff\xff\xff\x0f" + bytes(20),
        b"\xff\xff\xff\xff\x07" + bytes(20),
        xerial + b"\x7f\xff\xff\xff" + bytes(20),
        xerial + b"\xff\xff\xff\xff" + bytes(20),
        xerial + b"\x00\x00\x00\x19" + b"\xff\xff\xff\xff\x07" + bytes(20),
        xerial,
    ):
        refused = produce(client, checked, with_body(header, body))
        assert refused.error_code in (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.INVALID_RECORD)


def varint(value: int) -> bytes:
    return uvarint(value << 1)


def tiny_records(count: int) -> bytes:
    """`count` records of nothing, at rising offsets."""
    out = bytearray()
    for at in range(count):
        delta = varint(at)
        out += varint(5 + len(delta)) + b"\0\0" + delta + b"\1\1\0"
    return bytes(out)


def a_record_of_headers(count: int) -> bytes:
    """One record with `count` headers of an empty name and an empty value."""
    fields = b"\0\0\0\1\1" + varint(count) + b"\0\0" * count
    return varint(len(fields)) + fields


@pytest.mark.parametrize("codec", [0, ZSTD])
@pytest.mark.parametrize("kind", ["records", "headers"])
def test_a_batch_of_too_many_things_is_refused_soon(
    client: RawClient, broker: EmbeddedBroker, kind: str, codec: int
) -> None:
    """Within the bounds on bytes there is room for millions of empty records or headers, each an object of ours."""
    topic = broker.create_topic(settings={"record.validation": "full", "max.message.bytes": str(8 << 20)})
    for count, error in ((250_001, ErrorCode.MESSAGE_TOO_LARGE), (1_000, ErrorCode.NONE)):
        body = tiny_records(count) if kind == "records" else a_record_of_headers(count)
        in_batch = count if kind == "records" else 1
        header = parse_header(records(b"x", codec=codec))._replace(
            record_count=in_batch, last_offset_delta=in_batch - 1
        )
        batch = with_body(header, compress(codec, body) if codec else body)
        with computed_within(0.5):
            assert produce(client, topic, batch).error_code == error


RECORD = (
    b"\x10\x00\x00\x00\x01\x04ab\x00"  # length 8, no attributes, deltas 0, null key, value ab, no headers
)


@pytest.mark.parametrize(
    "body",
    [
        RECORD * 3,
        RECORD,
        b"",
        b"\x12" + RECORD[1:] + RECORD,
        b"\x0e" + RECORD[1:] + RECORD,
        b"\x01" + RECORD[1:] + RECORD,
        b"\xff\xff\xff\xff\x0f" + RECORD[1:],
        b"\x80\x80\x80\x80\x80\x00" + RECORD,
        b"\x10\x00\x00\x00\x01\xff\xff\xff\xff\x0fab" + RECORD,
        b"\x10\x00\x00\x00\x04\x04ab" + RECORD,
        b"\x10\x00\x00\x00\x01\x04ab\x7f" + RECORD,
        b"\x10\x00\x00\x00\x01\x04ab\x01" + RECORD,
        b"\x10\x00\x00\x08\x01\x04ab\x00" + RECORD,
        b"\x10\x00\x00\x00\x01\x04ab\x00" + b"\x10\x00\x00\x06\x01\x04ab\x00",
    ],
    ids=[
        "more records than counted",
        "fewer records than counted",
        "no record at all",
        "a record that runs into the next",
        "a record longer than its length",
        "a negative record length",
        "a record length beyond the end",
        "a length in six bytes",
        "a value beyond the end",
        "a key of two bytes out of one",
        "headers that are not there",
        "a negative number of headers",
        "an offset beyond the batch",
        "an offset that skips one",
    ],
)
def test_records_that_do_not_fit_their_batch_are_refused(
    client: RawClient, broker: EmbeddedBroker, checked: str, body: bytes
) -> None:
    """Two records are announced; what stands there is something else."""
    header = parse_header(records(b"x", b"y"))
    assert produce(client, checked, with_body(header, body)).error_code == ErrorCode.INVALID_RECORD
    assert broker.end_offset(checked) == 0


def test_records_written_by_hand_are_accepted(client: RawClient, checked: str) -> None:
    """The yardstick of the test above: the same bytes, in order."""
    header = parse_header(records(b"x", b"y"))
    good = RECORD + RECORD[:3] + b"\x02" + RECORD[4:]
    assert produce(client, checked, with_body(header, good)).error_code == ErrorCode.NONE


# --- the request around it --------------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [5, -2, 2, 32767])
def test_acks_that_mean_nothing_are_refused(
    client: RawClient, broker: EmbeddedBroker, topic: str, acks: int
) -> None:
    """21, however often it is asked."""
    for _ in range(3):
        assert produce(client, topic, GOOD, acks=acks).error_code == ErrorCode.INVALID_REQUIRED_ACKS
    assert broker.end_offset(topic) == 0


@pytest.mark.parametrize("fault", ["crc", "two batches", "no records", "unknown topic", "unknown partition"])
def test_a_failure_nobody_waits_for_closes_the_connection(
    client: RawClient, broker: EmbeddedBroker, topic: str, fault: str
) -> None:
    """With acks=0 there is no answer, so closing is all that can tell the producer."""
    data = BAD_BATCHES[fault][0] if fault in BAD_BATCHES else GOOD
    name = "nowhere" if fault == "unknown topic" else topic
    good, bad = (
        produce_request(topic, GOOD, acks=0),
        produce_request(name, data, acks=0, index=7 if fault == "unknown partition" else 0),
    )
    client.post(ApiKey.PRODUCE, 9, good)
    client.post(ApiKey.PRODUCE, 9, good)
    client.call(ApiKey.METADATA, 9, MetadataRequest())
    client.post(ApiKey.PRODUCE, 9, bad)
    assert client.closed_by_peer()
    assert broker.end_offset(topic) == 6


def test_unknown_topics_and_partitions_are_told(
    client: RawClient, broker: EmbeddedBroker, topic: str
) -> None:
    """3 by name, 100 by id; Produce creates nothing."""
    assert produce(client, "nowhere", GOOD).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    for index in (1, -1, 2**31 - 1):
        assert produce(client, topic, GOOD, index=index).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    by_id = ProduceRequest(
        acks=1,
        topic_data=[
            TopicProduceData(
                topic_id=b"no such topic id",
                partition_data=[PartitionProduceData(index=0, records=memoryview(GOOD))],
            )
        ],
    )
    response = client.call(ApiKey.PRODUCE, 13, by_id)
    assert response.responses[0].partition_responses[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID
    wanted = MetadataRequest(topics=[MetadataRequestTopic(name="nowhere")], allow_auto_topic_creation=False)
    (described,) = client.call(ApiKey.METADATA, 9, wanted).topics
    assert described.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "a/b", "nul\0", "ünïcode", "x" * 300, "\n"])
def test_illegal_topic_names_reach_no_file(client: RawClient, broker: EmbeddedBroker, name: str) -> None:
    """Produce to them fails like any unknown topic."""
    inside, around = folders_in(broker.data_dir), names_in(broker.data_dir.parent)
    assert produce(client, name, GOOD).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert folders_in(broker.data_dir) == inside  # files come and go by the clock: checkpoints
    # Other tests have their folders beside this broker's, and come and go: only what the name could lead to counts.
    parts = {name, *name.split("/")}
    assert not (names_in(broker.data_dir.parent) - around) & {*parts, *(f"{part}-0" for part in parts)}
    assert "\0" in name or len(name) > 255 or not (broker.data_dir / f"{name}-0").exists()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def folders_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_clients_do_not_write_internal_topics(client: RawClient, broker: EmbeddedBroker) -> None:
    """The offsets topic is its coordinator's."""
    broker.run(lambda inside: inside.controller.auto_create_topics(["__consumer_offsets"]))
    for _ in range(3):
        assert produce(client, "__consumer_offsets", GOOD).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    unknown = produce(client, "__cluster_metadata", GOOD).error_code
    assert unknown == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("transactional_id", ["", "my-transaction"])
def test_transactions_are_refused(
    client: RawClient, broker: EmbeddedBroker, topic: str, transactional_id: str
) -> None:
    """Plainly, and every time: they are not served yet."""
    for _ in range(3):
        refused = produce(client, topic, GOOD, transactional_id=transactional_id)
        assert refused.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert broker.end_offset(topic) == 0
    asked = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=60_000)
    expected = ErrorCode.UNSUPPORTED_VERSION if transactional_id else ErrorCode.INVALID_REQUEST
    assert client.call(ApiKey.INIT_PRODUCER_ID, 4, asked).error_code == expected


def test_one_bad_partition_does_not_spoil_the_others(client: RawClient, broker: EmbeddedBroker) -> None:
    """Each is answered for itself."""
    topic = broker.create_topic(partitions=3)
    data = [
        PartitionProduceData(index=0, records=memoryview(bytearray(GOOD))),
        PartitionProduceData(index=1, records=memoryview(BAD_BATCHES["crc"][0] or b"")),
        PartitionProduceData(index=2, records=memoryview(bytearray(GOOD))),
    ]
    request = ProduceRequest(
        acks=-1, timeout_ms=5_000, topic_data=[TopicProduceData(name=topic, partition_data=data)]
    )
    (answer,) = client.call(ApiKey.PRODUCE, 9, request).responses
    assert [one.error_code for one in answer.partition_responses] == [0, ErrorCode.CORRUPT_MESSAGE, 0]
    assert [broker.end_offset(topic, index) for index in range(3)] == [3, 0, 3]


# --- idempotence ------------------------------------------------------------------------------------------


def sequenced(sequence: int, *, epoch: int = 0, producer_id: int = 4711, count: int = 1) -> bytearray:
    return records(
        *(b"%d" % at for at in range(count)),
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
    )


@pytest.mark.parametrize("acks", [-1, 1])
def test_sequences_have_no_gap_no_repeat_and_no_stale_epoch(
    client: RawClient, broker: EmbeddedBroker, topic: str, acks: int
) -> None:
    """45 for a gap, the old offset for a repeat of the last five, 46 for older ones, 47 for an older epoch."""

    def send(sequence: int, epoch: int = 0) -> tuple[int, int]:
        answer = produce(client, topic, sequenced(sequence, epoch=epoch), acks=acks)
        return answer.error_code, answer.base_offset

    assert [send(sequence) for sequence in range(8)] == [(0, offset) for offset in range(8)]
    assert send(9) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert send(2**31 - 1) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert [send(sequence) for sequence in range(3, 8)] == [(0, offset) for offset in range(3, 8)]
    assert send(2)[0] in (ErrorCode.DUPLICATE_SEQUENCE_NUMBER, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    assert send(1, epoch=1) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert send(0, epoch=1) == (0, 8)
    assert send(8, epoch=0) == (ErrorCode.INVALID_PRODUCER_EPOCH, -1)
    assert send(1, epoch=1) == (0, 9)
    assert broker.end_offset(topic) == 10


def test_a_repeat_of_another_size_is_no_repeat(client: RawClient, broker: EmbeddedBroker, topic: str) -> None:
    """The same first sequence with more records is a gap or an overlap, not what was sent before."""
    assert produce(client, topic, sequenced(0, count=2)).error_code == ErrorCode.NONE
    assert produce(client, topic, sequenced(0, count=3)).error_code != ErrorCode.NONE
    assert produce(client, topic, sequenced(1, count=2)).error_code != ErrorCode.NONE
    assert produce(client, topic, sequenced(2)).base_offset == 2
    assert broker.end_offset(topic) == 3


def test_made_up_producers_do_not_disturb_each_other(
    client: RawClient, broker: EmbeddedBroker, topic: str
) -> None:
    """Any producer id may be claimed; each has its own sequence."""
    for producer_id in range(10_000, 10_200):
        answer = produce(client, topic, sequenced(0, producer_id=producer_id), acks=1)
        assert answer.error_code == ErrorCode.NONE
    assert broker.end_offset(topic) == 200
    assert produce(client, topic, sequenced(1, producer_id=10_005)).error_code == ErrorCode.NONE
