"""Offsets as clients see them: by time, at the ends, committed with notes, out of range."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from tests.compat.clients import aiokafka, kafka
from tests.compat.conftest import Broker
from tests.compat.members import eventually

pytestmark = pytest.mark.compat

HOUR_MS = 3_600_000
T0 = 1_700_000_000_000


class Offsets(Protocol):
    """What a client tells about the offsets of one partition, and how it commits for a group."""

    def ends(self, bootstrap: str, topic: str) -> tuple[int, int]:
        """The first offset, and the one after the last."""

    def at(self, bootstrap: str, topic: str, timestamp: int) -> int | None:
        """The first offset whose record is not older."""

    def value_after_seek(self, bootstrap: str, topic: str, offset: int) -> bytes:
        """The record at an offset."""

    def commit(self, bootstrap: str, group: str, topic: str, offset: int, note: str) -> None: ...

    def committed(self, bootstrap: str, group: str, topic: str) -> int | None: ...


class Librdkafka:
    def _consumer(self, bootstrap: str, group: str = "none", **more: Any) -> Consumer:
        settings = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
        return Consumer({**settings, **more})

    def ends(self, bootstrap: str, topic: str) -> tuple[int, int]:
        consumer = self._consumer(bootstrap)
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), 20)
        consumer.close()
        return low, high

    def at(self, bootstrap: str, topic: str, timestamp: int) -> int | None:
        consumer = self._consumer(bootstrap)
        (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, timestamp)], 20)
        consumer.close()
        assert found.error is None
        return None if found.offset < 0 else found.offset

    def value_after_seek(self, bootstrap: str, topic: str, offset: int) -> bytes:
        consumer = self._consumer(bootstrap)
        consumer.assign([TopicPartition(topic, 0, offset)])
        (message,) = consumer.consume(1, 20)
        consumer.close()
        assert message.error() is None
        return message.value()

    def commit(self, bootstrap: str, group: str, topic: str, offset: int, note: str) -> None:
        consumer = self._consumer(bootstrap, group)
        consumer.commit(offsets=[TopicPartition(topic, 0, offset, note)], asynchronous=False)
        consumer.close()

    def committed(self, bootstrap: str, group: str, topic: str) -> int | None:
        consumer = self._consumer(bootstrap, group)
        (found,) = consumer.committed([TopicPartition(topic, 0)], 20)
        consumer.close()
        assert found.error is None
        return None if found.offset < 0 else found.offset


class KafkaPython:
    def _consumer(self, bootstrap: str, group: str | None = None) -> Any:
        return kafka.KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)

    def ends(self, bootstrap: str, topic: str) -> tuple[int, int]:
        consumer, at = self._consumer(bootstrap), kafka.TopicPartition(topic, 0)
        found = consumer.beginning_offsets([at])[at], consumer.end_offsets([at])[at]
        consumer.close()
        return found

    def at(self, bootstrap: str, topic: str, timestamp: int) -> int | None:
        consumer, at = self._consumer(bootstrap), kafka.TopicPartition(topic, 0)
        found = consumer.offsets_for_times({at: timestamp})[at]
        consumer.close()
        return None if found is None else int(found.offset)

    def value_after_seek(self, bootstrap: str, topic: str, offset: int) -> bytes:
        consumer, at = self._consumer(bootstrap), kafka.TopicPartition(topic, 0)
        consumer.assign([at])
        consumer.seek(at, offset)
        message = next(consumer)
        consumer.close()
        return bytes(message.value)

    def commit(self, bootstrap: str, group: str, topic: str, offset: int, note: str) -> None:
        consumer, at = self._consumer(bootstrap, group), kafka.TopicPartition(topic, 0)
        consumer.assign([at])
        consumer.commit({at: kafka.OffsetAndMetadata(offset, note, -1)})
        consumer.close()

    def committed(self, bootstrap: str, group: str, topic: str) -> int | None:
        consumer = self._consumer(bootstrap, group)
        found: int | None = consumer.committed(kafka.TopicPartition(topic, 0))
        consumer.close()
        return found


class Aiokafka:
    def _run(self, bootstrap: str, use: Any, group: str | None = None) -> Any:
        async def run() -> Any:
            consumer = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
            )
            async with consumer, asyncio.timeout(20):
                return await use(consumer)

        return asyncio.run(run())

    def ends(self, bootstrap: str, topic: str) -> tuple[int, int]:
        at = aiokafka.TopicPartition(topic, 0)

        async def use(consumer: Any) -> tuple[int, int]:
            return (await consumer.beginning_offsets([at]))[at], (await consumer.end_offsets([at]))[at]

        return self._run(bootstrap, use)  # type: ignore[no-any-return]

    def at(self, bootstrap: str, topic: str, timestamp: int) -> int | None:
        at = aiokafka.TopicPartition(topic, 0)

        async def use(consumer: Any) -> int | None:
            found = (await consumer.offsets_for_times({at: timestamp}))[at]
            return None if found is None else found.offset

        return self._run(bootstrap, use)  # type: ignore[no-any-return]

    def value_after_seek(self, bootstrap: str, topic: str, offset: int) -> bytes:
        at = aiokafka.TopicPartition(topic, 0)

        async def use(consumer: Any) -> bytes:
            consumer.assign([at])
            consumer.seek(at, offset)
            return bytes((await consumer.getone()).value)

        return self._run(bootstrap, use)  # type: ignore[no-any-return]

    def commit(self, bootstrap: str, group: str, topic: str, offset: int, note: str) -> None:
        at = aiokafka.TopicPartition(topic, 0)

        async def use(consumer: Any) -> None:
            consumer.assign([at])
            await consumer.commit({at: (offset, note)})

        self._run(bootstrap, use, group)

    def committed(self, bootstrap: str, group: str, topic: str) -> int | None:
        at = aiokafka.TopicPartition(topic, 0)

        async def use(consumer: Any) -> int | None:
            consumer.assign([at])
            return await consumer.committed(at)  # type: ignore[no-any-return]

        return self._run(bootstrap, use, group)  # type: ignore[no-any-return]


CLIENTS: Mapping[str, Offsets] = {
    "librdkafka": Librdkafka(),
    "kafka-python": KafkaPython(),
    "aiokafka": Aiokafka(),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Offsets:
    return CLIENTS[request.param]


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def hourly(shared_broker: Broker) -> str:
    """A topic of 100 records, an hour apart, ten to a compressed batch; each says its number."""
    topic = shared_broker.create_topic(retention_ms="-1")
    producer = Producer(
        {"bootstrap.servers": shared_broker.bootstrap, "compression.type": "lz4", "linger.ms": 1000}
    )
    for i in range(100):
        producer.produce(topic, b"%d" % i, partition=0, timestamp=T0 + i * HOUR_MS)
        if i % 10 == 9:
            assert producer.flush(20) == 0
    return topic


@pytest.mark.parametrize(
    ("timestamp", "offset"),
    [
        (0, 0),
        (T0, 0),
        (T0 + 1, 1),
        (T0 + 37 * HOUR_MS, 37),
        (T0 + 37 * HOUR_MS - 1, 37),
        (T0 + 39 * HOUR_MS + 1, 40),
        (T0 + 99 * HOUR_MS, 99),
        (T0 + 99 * HOUR_MS + 1, None),
    ],
)
def test_offsets_for_times_find_the_record(
    shared_broker: Broker, hourly: str, client: Offsets, timestamp: int, offset: int | None
) -> None:
    """The first record not older than the time, inside a compressed batch too; None after the last."""
    assert client.at(shared_broker.bootstrap, hourly, timestamp) == offset


@pytest.mark.parametrize("offset", [0, 5, 99])
def test_seek_reads_from_any_offset(shared_broker: Broker, hourly: str, client: Offsets, offset: int) -> None:
    """Also from the middle of a batch."""
    assert client.value_after_seek(shared_broker.bootstrap, hourly, offset) == b"%d" % offset


def test_ends_follow_deleted_records(shared_broker: Broker, client: Offsets) -> None:
    """The beginning moves with DeleteRecords, the end does not; times before it find what is left."""
    topic = shared_broker.create_topic()
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap})
    for i in range(10):
        producer.produce(topic, b"%d" % i, partition=0, timestamp=T0 + i)
    assert producer.flush(20) == 0
    assert client.ends(shared_broker.bootstrap, topic) == (0, 10)

    admin = AdminClient({"bootstrap.servers": shared_broker.bootstrap})
    done = admin.delete_records([TopicPartition(topic, 0, 7)])
    assert [future.result(20).low_watermark for future in done.values()] == [7]
    assert client.ends(shared_broker.bootstrap, topic) == (7, 10)
    assert client.at(shared_broker.bootstrap, topic, T0) == 7
    assert client.value_after_seek(shared_broker.bootstrap, topic, 7) == b"7"


def test_admin_lists_special_offsets(shared_broker: Broker) -> None:
    """Earliest, latest and the record with the largest time, which need not be the last."""
    topic = shared_broker.create_topic()
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap, "linger.ms": 500})
    for time_ms in (T0, T0 + 50, T0 + 20):
        producer.produce(topic, b"x", partition=0, timestamp=time_ms)
    assert producer.flush(20) == 0
    admin = AdminClient({"bootstrap.servers": shared_broker.bootstrap})

    def ask(spec: Any) -> tuple[int, int]:
        at = TopicPartition(topic, 0)
        answer = admin.list_offsets({at: spec}, isolation_level=IsolationLevel.READ_COMMITTED)
        found = answer[at].result(20)
        return found.offset, found.timestamp

    assert ask(OffsetSpec.earliest()) == (0, -1)
    assert ask(OffsetSpec.latest()) == (3, -1)
    assert ask(OffsetSpec.max_timestamp()) == (1, T0 + 50)
    assert ask(OffsetSpec.for_timestamp(T0 + 1)) == (1, T0 + 50)


@pytest.mark.parametrize("reader", CLIENTS)
def test_commits_are_read_by_every_client(
    shared_broker: Broker, client: Offsets, reader: str, group: str
) -> None:
    """A simple consumer's commit is what another family reads; before it there is none; the note survives."""
    topic = shared_broker.create_topic()
    assert CLIENTS[reader].committed(shared_broker.bootstrap, group, topic) is None

    note = "näte " + "n" * 200
    client.commit(shared_broker.bootstrap, group, topic, 17, note)
    assert CLIENTS[reader].committed(shared_broker.bootstrap, group, topic) == 17

    # Not by confluent-kafka: it takes notes for texts with a zero byte at their end, which it sends, and where there is
    # none it reads on.
    consumer = kafka.KafkaConsumer(bootstrap_servers=shared_broker.bootstrap, group_id=group)
    found = consumer.committed(kafka.TopicPartition(topic, 0), metadata=True)
    consumer.close()
    assert (found.offset, found.metadata) == (17, f"{note}\0" if isinstance(client, Librdkafka) else note)


def test_a_note_that_is_too_long_is_refused(shared_broker: Broker, group: str) -> None:
    """offset.metadata.max.bytes bounds it; the partition is refused and nothing stored."""
    topic = shared_broker.create_topic()
    with pytest.raises(KafkaException) as refused:
        Librdkafka().commit(shared_broker.bootstrap, group, topic, 3, "x" * 5000)
    assert refused.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    assert Librdkafka().committed(shared_broker.bootstrap, group, topic) is None


def test_asynchronous_and_automatic_commits_arrive(shared_broker: Broker, hourly: str) -> None:
    """Commits without waiting, and those a consumer makes by itself when it closes, are there afterwards."""
    for automatic in (False, True):
        group = f"group-{uuid.uuid4().hex[:8]}"
        acknowledged: list[KafkaError | None] = []
        consumer = Consumer(
            {
                "bootstrap.servers": shared_broker.bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": automatic,
                "on_commit": lambda error, _, seen=acknowledged: seen.append(error),
            }
        )
        consumer.subscribe([hourly])
        assert len(consumer.consume(40, 20)) == 40
        if not automatic:
            consumer.commit(asynchronous=True)

            def told(reader: Consumer = consumer, said: list[KafkaError | None] = acknowledged) -> bool:
                reader.poll(0.1)  # whether it has more records or not
                return bool(said)

            eventually("the commit is acknowledged", told)
        consumer.close()
        assert set(acknowledged) <= {None}
        assert Librdkafka().committed(shared_broker.bootstrap, group, hourly) >= 40


def test_a_group_resumes_where_it_committed(shared_broker: Broker, hourly: str, group: str) -> None:
    """A second consumer of the group reads on behind the first's commit, of another family."""
    first = kafka.KafkaConsumer(
        hourly,
        bootstrap_servers=shared_broker.bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    read = [next(first).value for _ in range(25)]
    first.commit()
    first.close()
    assert read[-1] == b"24"

    second = Consumer({"bootstrap.servers": shared_broker.bootstrap, "group.id": group})
    second.subscribe([hourly])
    rest = second.consume(75, 20)
    second.close()
    assert [message.value() for message in rest] == [b"%d" % i for i in range(25, 100)]


@pytest.mark.parametrize(("reset", "seen"), [("earliest", b"0"), ("error", KafkaError._AUTO_OFFSET_RESET)])
@pytest.mark.parametrize("offset", [100_000, 101])
def test_an_offset_out_of_range_follows_the_reset_policy(
    shared_broker: Broker, hourly: str, reset: str, seen: Any, offset: int
) -> None:
    """Behind the end of the log there is nothing to read: the client starts over, or says so."""
    consumer = Consumer(
        {"bootstrap.servers": shared_broker.bootstrap, "group.id": "none", "auto.offset.reset": reset}
    )
    consumer.assign([TopicPartition(hourly, 0, offset)])
    (message,) = consumer.consume(1, 20)
    consumer.close()
    assert (message.error().code() if message.error() else message.value()) == seen


def test_a_reader_at_the_end_gets_each_record_at_once(shared_broker: Broker) -> None:
    """A fetch that may wait half a minute is answered when a record comes."""
    topic = shared_broker.create_topic()
    consumer = Consumer(
        {
            "bootstrap.servers": shared_broker.bootstrap,
            "group.id": "none",
            "fetch.wait.max.ms": 30_000,
            "socket.timeout.ms": 60_000,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    producer = Producer({"bootstrap.servers": shared_broker.bootstrap, "linger.ms": 0})
    for value in (b"one", b"two", b"three"):
        producer.produce(topic, value, partition=0)
        assert producer.flush(20) == 0
        (message,) = consumer.consume(1, 20)
        assert message.value() == value
    consumer.close()
