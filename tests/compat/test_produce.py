"""Producing: acknowledgements, sizes, what topics do to batches, and what is refused with which error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, Message, Producer, TopicPartition
from tests.compat.clients import CODECS, aiokafka, kafka
from tests.compat.conftest import Broker, KafkaTools

from moldau_broker.wire.records import iter_batches

pytestmark = pytest.mark.compat

DEFAULT_MAX_MESSAGE_BYTES = 1_048_588


def consume(broker: Broker, topic: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none", "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return consumer.consume(count, 20)
    finally:
        consumer.close()


def send(
    broker: Broker, topic: str, values: list[bytes], *, key: bytes | None = b"k", **settings: Any
) -> list[tuple[str | None, Message]]:
    """Each value's error name, if any, and its delivery report, by librdkafka."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, **settings})
    reports: list[tuple[str | None, Message]] = []
    for value in values:
        producer.produce(
            topic,
            value,
            key=key,
            partition=0,
            on_delivery=lambda error, message: reports.append((error.name() if error else None, message)),
        )
    assert producer.flush(60) == 0
    return reports


def librdkafka_sends(broker: Broker, topic: str, values: list[bytes], acks: str | int) -> list[str | None]:
    settings = {"acks": acks, "message.max.bytes": 20_000_000}
    return [error for error, _ in send(broker, topic, values, **settings)]


def kafka_python_sends(broker: Broker, topic: str, values: list[bytes], acks: str | int) -> list[str | None]:
    producer = kafka.KafkaProducer(
        bootstrap_servers=broker.bootstrap,
        acks=acks,
        enable_idempotence=acks == "all",
        max_request_size=20_000_000,
        linger_ms=5,
    )
    errors: list[str | None] = []
    for future in [producer.send(topic, value, b"k", partition=0) for value in values]:
        try:
            future.get(20)
        except kafka.errors.KafkaError as error:
            errors.append(type(error).__name__)
        else:
            errors.append(None)
    producer.close()
    return errors


def aiokafka_sends(broker: Broker, topic: str, values: list[bytes], acks: str | int) -> list[str | None]:
    async def run() -> list[str | None]:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap, acks=acks, max_request_size=20_000_000, linger_ms=5
        )
        async with producer:
            futures = [await producer.send(topic, value, b"k", partition=0) for value in values]
            done = await asyncio.gather(*futures, return_exceptions=True)
        return [type(one).__name__ if isinstance(one, Exception) else None for one in done]

    return asyncio.run(run())


SENDERS = {"librdkafka": librdkafka_sends, "kafka-python": kafka_python_sends, "aiokafka": aiokafka_sends}
Sender = Callable[[Broker, str, list[bytes], str | int], list[str | None]]


@pytest.fixture(params=SENDERS)
def sends(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks_of_every_kind_store_the_records(shared_broker: Broker, sends: Sender, acks: str | int) -> None:
    """Whatever the acknowledgement, records arrive in order."""
    topic = shared_broker.create_topic()
    values = [b"%06d" % i for i in range(500)]

    assert sends(shared_broker, topic, values, acks) == [None] * len(values)
    assert [message.value() for message in consume(shared_broker, topic, len(values))] == values


def value_for_batch(size: int) -> bytes:
    """The value that, alone in a batch with the key b"k" and a first-record time delta, makes a batch of `size`."""

    def varint(number: int) -> int:
        return max(1, -(-(2 * number).bit_length() // 7))

    for length in range(size, size - 200, -1):
        record = 1 + 1 + 1 + varint(1) + 1 + varint(length) + length + 1
        if 61 + varint(record) + record == size:
            return b"v" * length
    raise AssertionError(size)


@pytest.mark.parametrize("limit", [DEFAULT_MAX_MESSAGE_BYTES, 50_000])
def test_batches_up_to_max_message_bytes_are_taken(shared_broker: Broker, sends: Sender, limit: int) -> None:
    """A batch of exactly the limit is stored; one byte more is refused as too large, and the next is fine."""
    settings = {} if limit == DEFAULT_MAX_MESSAGE_BYTES else {"max_message_bytes": str(limit)}
    topic = shared_broker.create_topic(**settings)

    assert sends(shared_broker, topic, [value_for_batch(limit)], "all") == [None]
    (refused,) = sends(shared_broker, topic, [value_for_batch(limit + 1)], "all")
    assert refused in ("MSG_SIZE_TOO_LARGE", "MessageSizeTooLargeError")
    assert sends(shared_broker, topic, [b"small"], "all") == [None]
    sizes = [len(message.value()) for message in consume(shared_broker, topic, 2)]
    assert sizes == [len(value_for_batch(limit)), len(b"small")]


def test_a_large_batch_passes_where_the_topic_allows_it(shared_broker: Broker, sends: Sender) -> None:
    """Nine megabytes in one record, on a topic for such, come back whole."""
    topic = shared_broker.create_topic(max_message_bytes="10000000")
    value = bytes(range(256)) * 36_000

    assert sends(shared_broker, topic, [value], "all") == [None]
    (message,) = consume(shared_broker, topic, 1)
    assert message.value() == value


@pytest.mark.parametrize("sent", ["none", "gzip"])
@pytest.mark.parametrize("kept", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_a_topics_compression_type_is_what_is_stored(shared_broker: Broker, sent: str, kept: str) -> None:
    """Batches are compressed anew where the producer's codec is another; contents and times stay."""
    topic = shared_broker.create_topic(compression_type=kept)
    values = [b"%d" % i * 100 for i in range(100)]
    reports = send(shared_broker, topic, values, **{"compression.type": sent, "linger.ms": 50})

    read = consume(shared_broker, topic, len(values))
    assert [message.value() for message in read] == values
    assert [message.timestamp() for message in read] == [message.timestamp() for _, message in reports]
    if shared_broker.has_files:
        log = (shared_broker.data / f"{topic}-0" / f"{0:020d}.log").read_bytes()
        codec = "none" if kept == "uncompressed" else kept
        assert {CODECS[header.codec] for _, header in iter_batches(log, 0, len(log))} == {codec}


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_log_append_time_is_the_brokers(shared_broker: Broker, codec: str) -> None:
    """Records carry the broker's time and say so, and the producer is told the time."""
    topic = shared_broker.create_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap, "compression.type": codec})
    reports: list[Message] = []
    for i in range(3):
        producer.produce(
            topic, b"x" * 200, partition=0, timestamp=1000 + i, on_delivery=lambda _, m: reports.append(m)
        )
    assert producer.flush(20) == 0
    after = int(time.time() * 1000)

    read = consume(shared_broker, topic, 3)
    assert {message.timestamp()[0] for message in read} == {TIMESTAMP_LOG_APPEND_TIME}
    assert all(before <= message.timestamp()[1] <= after for message in read)
    assert [m.timestamp() for m in reports] == [m.timestamp() for m in read]


@pytest.mark.parametrize(
    ("settings", "message", "error"),
    [
        ({"cleanup_policy": "compact"}, {"key": None}, "INVALID_RECORD"),
        ({"message_timestamp_after_max_ms": "60000"}, {"timestamp": 4_000_000_000_000}, "INVALID_TIMESTAMP"),
        ({"message_timestamp_before_max_ms": "60000"}, {"timestamp": 1_000}, "INVALID_TIMESTAMP"),
    ],
)
def test_records_a_topic_forbids_are_refused(
    shared_broker: Broker, settings: dict[str, str], message: dict[str, Any], error: str
) -> None:
    """A key that a compacted topic needs, times out of bounds: each with Kafka's error."""
    topic = shared_broker.create_topic(**settings)
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap, "retries": 0})
    reports: list[KafkaError] = []
    producer.produce(
        topic, b"v", partition=0, on_delivery=lambda e, _: reports.append(e), **{"key": b"k", **message}
    )
    assert producer.flush(20) == 0
    assert [report and report.name() for report in reports] == [error]


def test_a_topic_cannot_ask_for_more_insync_replicas_than_it_has(shared_broker: Broker) -> None:
    """min.insync.replicas=2 on a topic of one replica asks for that one, as in Kafka."""
    topic = shared_broker.create_topic(min_insync_replicas="2")
    assert librdkafka_sends(shared_broker, topic, [b"v"], "all") == [None]


def test_an_idempotent_producer_writes_each_record_once_in_order(shared_broker: Broker) -> None:
    """Thousands of small batches with five in flight: offsets without gaps, order as sent."""
    topic = shared_broker.create_topic()
    values = [b"%d" % i for i in range(5000)]
    reports = send(
        shared_broker,
        topic,
        values,
        **{"enable.idempotence": True, "batch.num.messages": 3, "linger.ms": 0},
    )

    assert [(error, message.offset()) for error, message in reports] == [(None, i) for i in range(5000)]
    assert [message.value() for message in consume(shared_broker, topic, 5000)] == values


@pytest.mark.java
def test_javas_performance_tools_run(shared_broker: Broker, kafka_tools: KafkaTools) -> None:
    """kafka-producer-perf-test writes and kafka-consumer-perf-test reads the same number of records."""
    topic = shared_broker.create_topic(3)
    arguments = f"--topic {topic} --num-records 20000 --record-size 200 --throughput -1".split()
    properties = f"bootstrap.servers={shared_broker.bootstrap} acks=all compression.type=lz4".split()
    wrote = kafka_tools.run("kafka-producer-perf-test", *arguments, "--command-property", *properties)
    assert "20000 records sent" in wrote.stdout

    arguments = f"--topic {topic} --num-records 20000 --bootstrap-server {shared_broker.bootstrap}".split()
    read = kafka_tools.run("kafka-consumer-perf-test", *arguments, "--hide-header").stdout
    assert int(read.strip().split("\n")[-1].split(", ")[4]) >= 20000


@pytest.mark.java
@pytest.mark.parametrize("acks", ["0", "1", "-1"])
def test_javas_verifiable_producer_and_consumer_agree(
    shared_broker: Broker, kafka_tools: KafkaTools, acks: str
) -> None:
    """Each message acknowledged to kafka-verifiable-producer is one kafka-verifiable-consumer reads."""
    topic = shared_broker.create_topic(2)
    at = ["--bootstrap-server", shared_broker.bootstrap, "--topic", topic]
    wrote = kafka_tools.run("kafka-verifiable-producer", *at, "--max-messages", "300", "--acks", acks).stdout
    assert wrote.count("producer_send_success") == 300
    assert '"acked":300' in wrote

    group = ["--group-id", f"verify-{topic}", "--max-messages", "300"]
    read = kafka_tools.run("kafka-verifiable-consumer", *at, *group, "--verbose").stdout
    assert read.count('"name":"record_data"') == 300
    assert '"name":"shutdown_complete"' in read
