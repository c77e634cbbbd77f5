"""A producer of unique values, and the judge of what became of them."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, Message, Producer, TopicPartition


class Writer:
    """Writes unique values to a topic with acks=all until left, and knows which were acknowledged, and when.

    Fast enough to be in the middle of everything, slow enough to leave the machine to the brokers.
    """

    def __init__(self, bootstrap: str, topic: str = "orders") -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.run = b"%d" % time.monotonic_ns()
        self.acknowledged: list[bytes] = []
        self.gap_s = 0.0
        """The longest time in which nothing was acknowledged."""
        self._last = time.monotonic()
        self.refused: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 1,
                "delivery.timeout.ms": 60_000,
                "request.timeout.ms": 5_000,
                "socket.timeout.ms": 5_000,
                "socket.connection.setup.timeout.ms": 3_000,  # else half a minute to a machine without power
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        assert self._producer.flush(60) == 0, "everything is answered in the end"

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            self._producer.produce(self.topic, b"%s-%d" % (self.run, number), on_delivery=self._delivered)
            number += 1
            self._producer.poll(0.005)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        value = message.value()
        if error is not None:
            self.refused.append(str(error))
        elif value is not None:
            self.acknowledged.append(value)
            now = time.monotonic()
            self.gap_s, self._last = max(self.gap_s, now - self._last), now

    def wait_for_more(self, count: int = 50, patience_s: float = 60) -> None:
        """Until so many more were acknowledged from now on."""
        goal, deadline = len(self.acknowledged) + count, time.monotonic() + patience_s
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, f"{len(self.acknowledged)} acknowledged, wanted {goal}"
            time.sleep(0.05)


def read_everything(bootstrap: str, topic: str = "orders") -> dict[bytes, list[tuple[int, int]]]:
    """Where each value is in the topic (partition, offset), up to where every partition ends now."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reads-everything", "enable.auto.commit": False}
    )
    partitions = len(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
    ends = {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1]
        for number in range(partitions)
    }
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: dict[bytes, list[tuple[int, int]]] = {}
    deadline = time.monotonic() + 60
    while any(
        consumer.position([TopicPartition(topic, n)])[0].offset < end for n, end in ends.items() if end
    ):
        assert time.monotonic() < deadline, f"read {len(found)} of {sum(ends.values())}"
        for message in consumer.consume(1_000, timeout=0.5):
            if message.error() is None and message.timestamp()[0] != TIMESTAMP_NOT_AVAILABLE:
                place = (message.partition() or 0, message.offset() or 0)
                found.setdefault(message.value() or b"", []).append(place)
    consumer.close()
    return found


def judge(writer: Writer) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and something was acknowledged at all."""
    found = read_everything(writer.bootstrap, writer.topic)
    lost = [value for value in writer.acknowledged if value not in found]
    doubled = {value: places for value, places in found.items() if len(places) > 1}
    assert len(writer.acknowledged) > 100
    assert (lost, doubled, writer.refused) == ([], {}, [])
