"""Five families of real clients behind one small face, so that a test can put any writer before any reader.

What a client cannot express (kcat has no timestamps, the console producer no binary headers) its `can` leaves out,
and the samples made for it do without.
"""

from __future__ import annotations

import asyncio
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiokafka
import aiokafka.admin
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schemas by importlib's old functions
    import kafka
    import kafka.admin
    import kafka.codec

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
PATIENCE_S: Final = 60.0
"""How long any client may take for what takes milliseconds when all is well."""

# Separators no sample contains, for the tools that print records as text.
FIELD, RECORD, NULL = "\x1f", "\x1e", "\x1dnull"


@dataclass(frozen=True, slots=True)
class Message:
    """One record. `timestamp` is None where the writing client chose it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One record as a client read it."""

    offset: int
    message: Message


class Client(Protocol):
    """A family of clients."""

    name: str
    can: frozenset[str]

    def codecs(self) -> Sequence[str]:
        """The codecs it has here."""

    def produce(self, bootstrap: str, topic: str, messages: Sequence[Message], codec: str) -> None:
        """Write in order to partition 0, acks=all; raises when any is refused."""

    def consume(self, bootstrap: str, topics: Mapping[str, int]) -> list[Read]:
        """The first records of each topic's partition 0, so many of each; topics may mix, the order within stays."""


class Librdkafka:
    """confluent-kafka."""

    name = "librdkafka"
    can = frozenset({"timestamp", "headers", "null header", "empty", "binary"})

    def codecs(self) -> Sequence[str]:
        return CODECS

    def produce(self, bootstrap: str, topic: str, messages: Sequence[Message], codec: str) -> None:
        # One batch: librdkafka sends a lone small record as it is, when compression would make it longer.
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 10_000})
        failures: list[KafkaError] = []
        for message in messages:
            producer.produce(
                topic,
                partition=0,
                key=message.key,
                value=message.value,
                headers=list(message.headers),
                timestamp=message.timestamp or 0,
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
        left = producer.flush(PATIENCE_S)
        assert (left, failures) == (0, [])

    def consume(self, bootstrap: str, topics: Mapping[str, int]) -> list[Read]:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "reads-without-a-group",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )
        try:
            consumer.assign([TopicPartition(topic, 0, 0) for topic in topics])
            read = []
            for message in consumer.consume(sum(topics.values()), PATIENCE_S):
                if message.error():
                    raise KafkaException(message.error())
                headers = tuple((name, value) for name, value in message.headers() or ())
                read.append(
                    Read(
                        message.offset(),
                        Message(message.key(), message.value(), headers, message.timestamp()[1]),
                    )
                )
            return read
        finally:
            consumer.close()


class Aiokafka:
    """aiokafka, each call in an event loop of its own."""

    name = "aiokafka"
    can = frozenset({"timestamp", "headers", "null header", "empty", "binary"})

    def codecs(self) -> Sequence[str]:
        return CODECS

    def produce(self, bootstrap: str, topic: str, messages: Sequence[Message], codec: str) -> None:
        async def send() -> None:
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=bootstrap,
                compression_type=None if codec == "none" else codec,
                enable_idempotence=True,
                linger_ms=20,
            )
            async with producer:
                sent = [
                    await producer.send(
                        topic,
                        partition=0,
                        key=message.key,
                        value=message.value,
                        headers=list(message.headers),
                        timestamp_ms=message.timestamp,
                    )
                    for message in messages
                ]
                await asyncio.wait_for(asyncio.gather(*sent), PATIENCE_S)

        asyncio.run(send())

    def consume(self, bootstrap: str, topics: Mapping[str, int]) -> list[Read]:
        async def fetch() -> list[Read]:
            consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none")
            partitions = [aiokafka.TopicPartition(topic, 0) for topic in topics]
            read: list[Read] = []
            async with consumer, asyncio.timeout(PATIENCE_S):
                consumer.assign(partitions)
                await consumer.seek_to_beginning(*partitions)
                while len(read) < sum(topics.values()):
                    message = await consumer.getone()
                    headers = tuple(message.headers)
                    read.append(
                        Read(message.offset, Message(message.key, message.value, headers, message.timestamp))
                    )
            return read

        return asyncio.run(fetch())


class KafkaPython:
    """kafka-python; snappy, lz4 and zstd need packages of their own beside it."""

    name = "kafka-python"
    can = frozenset({"timestamp", "headers", "empty", "binary"})

    def codecs(self) -> Sequence[str]:
        has: dict[str, Callable[[], bool]] = {
            "none": lambda: True,
            "gzip": kafka.codec.has_gzip,
            "snappy": kafka.codec.has_snappy,
            "lz4": kafka.codec.has_lz4,
            "zstd": kafka.codec.has_zstd,
        }
        return tuple(codec for codec in CODECS if has[codec]())

    def produce(self, bootstrap: str, topic: str, messages: Sequence[Message], codec: str) -> None:
        # One batch, sent by `flush`: what compression makes longer is sent as it is here as well.
        producer = kafka.KafkaProducer(
            bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=10_000
        )
        try:
            sent = [
                producer.send(
                    topic,
                    partition=0,
                    key=message.key,
                    value=message.value,
                    headers=list(message.headers),
                    timestamp_ms=message.timestamp,
                )
                for message in messages
            ]
            producer.flush(PATIENCE_S)
            for future in sent:
                future.get(PATIENCE_S)
        finally:
            producer.close()

    def consume(self, bootstrap: str, topics: Mapping[str, int]) -> list[Read]:
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=bootstrap,
            auto_offset_reset="none",
            enable_auto_commit=False,
            consumer_timeout_ms=int(PATIENCE_S * 1000),
        )
        try:
            partitions = [kafka.TopicPartition(topic, 0) for topic in topics]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            read: list[Read] = []
            while len(read) < sum(topics.values()):
                message = next(consumer)
                headers = tuple(message.headers)
                read.append(
                    Read(message.offset, Message(message.key, message.value, headers, message.timestamp))
                )
            return read
        finally:
            consumer.close()


class Kcat:
    """kcat, an older librdkafka. One set of headers for all records of a run; an empty key or value is null."""

    name = "kcat"
    can = frozenset({"binary"})

    def __init__(self, program: str) -> None:
        self.program = program

    def codecs(self) -> Sequence[str]:
        return CODECS

    def produce(self, bootstrap: str, topic: str, messages: Sequence[Message], codec: str) -> None:
        lines = [
            (message.key or b"") + FIELD.encode() + (message.value or b"") + RECORD.encode()
            for message in messages
        ]
        headers = [part for name, value in messages[0].headers for part in ("-H", f"{name}={value.decode()}")]
        options = f"-P -p 0 -z {codec} -Z -X acks=all -X enable.idempotence=true -X linger.ms=1000".split()
        subprocess.run(
            [self.program, "-b", bootstrap, "-t", topic, "-K", FIELD, "-D", RECORD, *options, *headers],
            input=b"".join(lines),
            check=True,
            timeout=PATIENCE_S,
        )

    def consume(self, bootstrap: str, topics: Mapping[str, int]) -> list[Read]:
        return [read for topic, count in topics.items() for read in self._consume(bootstrap, topic, count)]

    def _consume(self, bootstrap: str, topic: str, count: int) -> list[Read]:
        form = FIELD.join(["%o", "%T", "%K", "%S", "%h", "%k", "%s"]) + RECORD
        options = f"-C -p 0 -o beginning -c {count} -e -q".split()
        done = subprocess.run(
            [self.program, "-b", bootstrap, "-t", topic, *options, "-f", form],
            capture_output=True,
            check=True,
            timeout=PATIENCE_S,
        )
        read = []
        for line in done.stdout.split(RECORD.encode())[:-1]:
            offset, timestamp, key_size, value_size, headers, key, value = line.split(FIELD.encode())
            read.append(
                Read(
                    int(offset),
                    Message(
                        None if int(key_size) == -1 else key,
                        None if int(value_size) == -1 else value,
                        _text_headers(headers, "=", b"NULL"),
                        int(timestamp),
                    ),
                )
            )
        return read


class Java:
    """Kafka's console producer and consumer. Text goes in, bytes come out."""

    name = "java"
    can = frozenset({"headers", "empty"})

    def __init__(self, tools: Any) -> None:
        self.tools = tools

    def codecs(self) -> Sequence[str]:
        return CODECS

    def produce(self, bootstrap: str, topic: str, messages: Sequence[Message], codec: str) -> None:
        def text(value: bytes | None) -> str:
            return NULL if value is None else value.decode()

        lines = []
        for message in messages:
            headers = ",".join(f"{name}:{text(value)}" for name, value in message.headers)
            assert headers, "the console producer reads a record without headers as having one without name"
            lines.append(FIELD.join([headers, text(message.key), text(message.value)]) + "\n")
        options = {
            "parse.key": "true",
            "parse.headers": "true",
            "key.separator": FIELD,
            "headers.delimiter": FIELD,
            "null.marker": NULL,
        }
        self.tools.run(
            "kafka-console-producer",
            f"--bootstrap-server={bootstrap}",
            f"--topic={topic}",
            f"--compression-codec={codec}",
            *(f"--reader-property={name}={value}" for name, value in options.items()),
            text="".join(lines),
        )

    def consume(self, bootstrap: str, topics: Mapping[str, int]) -> list[Read]:
        options = {
            "print.timestamp": "true",
            "print.offset": "true",
            "print.headers": "true",
            "print.key": "true",
            "key.separator": FIELD,
            "line.separator": RECORD,
            "null.literal": NULL,
        }
        printed = self.tools.run_bytes(
            "kafka-console-consumer",
            f"--bootstrap-server={bootstrap}",
            f"--include={'|'.join(topics)}",
            "--from-beginning",
            f"--max-messages={sum(topics.values())}",
            f"--timeout-ms={int(PATIENCE_S * 1000)}",
            *(f"--formatter-property={name}={value}" for name, value in options.items()),
        )
        read = []
        for line in printed.split(RECORD.encode())[:-1]:
            timestamp, offset, headers, key, value = line.split(FIELD.encode())
            read.append(
                Read(
                    int(offset.removeprefix(b"Offset:")),
                    Message(
                        None if key == NULL.encode() else key,
                        None if value == NULL.encode() else value,
                        _text_headers(headers.removeprefix(b"NO_HEADERS"), ":", NULL.encode()),
                        int(timestamp.partition(b":")[2]),
                    ),
                )
            )
        return read


def _text_headers(printed: bytes, between: str, null: bytes) -> tuple[tuple[str, bytes | None], ...]:
    headers = []
    for part in printed.split(b",") if printed else ():
        name, _, value = part.partition(between.encode())
        headers.append((name.decode(), None if value == null else value))
    return tuple(headers)
