"""A broker that is stopped or killed under clients that go on: nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.compat.conftest import BrokerProcess
from tests.compat.members import eventually, start_member

pytestmark = pytest.mark.compat


class Writer(threading.Thread):
    """An idempotent acks=all producer that numbers its records and never stops by itself."""

    def __init__(self, broker: BrokerProcess, topic: str) -> None:
        super().__init__(daemon=True)
        self.topic = topic
        self.acknowledged: list[tuple[int, int]] = []
        self.failures: list[KafkaError] = []
        self.sent = 0
        self._ends = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 1,
                "reconnect.backoff.max.ms": 200,
            }
        )

    def run(self) -> None:
        while not self._ends.is_set():
            self._producer.produce(self.topic, b"%d" % self.sent, partition=0, on_delivery=self._delivered)
            self.sent += 1
            self._producer.poll(0.001)
        assert self._producer.flush(60) == 0

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.failures.append(error)
        else:
            self.acknowledged.append((int(message.value()), message.offset()))

    def more(self, count: int = 200) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        eventually(f"{count} more acknowledged", lambda: len(self.acknowledged) >= wanted)

    def end(self) -> None:
        self._ends.set()
        self.join(90)
        assert not self.is_alive()


def stop_cleanly(broker: BrokerProcess) -> None:
    assert broker.stop() == 0


def kill_hard(broker: BrokerProcess) -> None:
    broker.kill()


@pytest.mark.parametrize("end", [stop_cleanly, kill_hard])
def test_clients_go_on_over_restarts(
    broker: BrokerProcess, end: Callable[[BrokerProcess], None], tmp_path: Any
) -> None:
    """An idempotent producer and a group keep working; records are there once, in order; commits survive."""
    topic, group = broker.create_topic(), f"group-{uuid.uuid4().hex[:8]}"
    writer = Writer(broker, topic)
    member = start_member(
        "librdkafka", broker.bootstrap, group=group, topic=topic, assignor="range", folder=tmp_path
    )
    writer.start()
    took: list[float] = []
    for _ in range(3):
        writer.more()
        began = time.monotonic()
        end(broker)
        took.append(time.monotonic() - began)
        broker.start()
    writer.more()
    writer.end()

    # What holds a stop up does so every time, for the five seconds it waits for answers; a busy machine does not.
    assert min(took) < 3, "busy clients and waiting fetches do not hold up a stop"
    assert writer.failures == []
    assert [number for number, _ in writer.acknowledged] == list(range(writer.sent))
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), 20)
    assert (low, high) == (0, writer.sent), "each record once"
    read = consumer.consume(writer.sent, 30)
    consumer.close()
    assert [int(message.value()) for message in read] == list(range(writer.sent))

    eventually("the group read everything", lambda: {(0, o) for o in range(writer.sent)} <= set(member.read))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def committed() -> int:
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        return answer[group].result(20).topic_partitions[0].offset

    eventually("the last commit", lambda: committed() == writer.sent)
    again = Counter(member.read)
    assert sum(again.values()) - len(again) <= 3 * 2000, "repeats only what was read but not committed"
    member.close()


def test_everything_acknowledged_is_there_after_a_kill(broker: BrokerProcess) -> None:
    """Topics, settings, records of several topics and commits, acknowledged right before kill -9."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "compression.type": "lz4"})
    topics = {broker.create_topic(3, retention_ms=str(1000 + i)): i for i in range(5)}
    wanted: dict[str, set[tuple[int, int]]] = {topic: set() for topic in topics}
    for topic in topics:
        for partition in range(3):
            for i in range(20):
                producer.produce(
                    topic,
                    b"%d" % i,
                    partition=partition,
                    on_delivery=lambda error, m: wanted[m.topic()].add((m.partition(), m.offset())),
                )
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "enable.auto.commit": False})
    offsets = [TopicPartition(topic, p, 10 + p, f"note {p}") for topic in topics for p in range(3)]
    consumer.commit(offsets=offsets, asynchronous=False)
    broker.kill()
    broker.start()

    found = consumer.committed([TopicPartition(at.topic, at.partition) for at in offsets], 20)
    assert [(at.offset, at.metadata) for at in found] == [(at.offset, at.metadata) for at in offsets]
    consumer.close()
    assert set(topics) <= set(admin.list_topics(timeout=20).topics)
    for topic, records in wanted.items():
        reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none"})
        reader.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
        read = reader.consume(60, 20)
        reader.close()
        assert {(message.partition(), message.offset()) for message in read} == records


def test_other_families_survive_a_restart(broker: BrokerProcess) -> None:
    """kafka-python's idempotent producer and its group, begun before a kill, work after it."""
    script = Path(__file__).with_name("kafka_python_echo.py")
    echo = subprocess.Popen(
        [sys.executable, str(script), broker.bootstrap, broker.create_topic()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with echo as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for i in range(3):
            process.stdin.write(f"value-{i}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{i} {i} value-{i}\n"
            broker.kill()
            broker.start()
        process.stdin.close()
        assert process.wait(30) == 0
