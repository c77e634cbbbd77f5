"""Producers and consumers at a steady pace, each of which can be slowed or stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

QUIET = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500}
TICK_S = 0.1


def create_topics(bootstrap: str, *topics: NewTopic) -> None:
    """All of them, or an error."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    for made in admin.create_topics(list(topics)).values():
        made.result(30)


def alter_topic(bootstrap: str, topic: str, name: str, value: str) -> None:
    """Set one of its settings: a record in the metadata log."""
    _alter(AdminClient({"bootstrap.servers": bootstrap, **QUIET}), topic, name, value)


def change_topic(bootstrap: str, topic: str, times: int) -> None:
    """So many records in the metadata log."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    for number in range(times):
        _alter(admin, topic, "retention.ms", str(604_800_000 + number))


def _alter(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    wanted = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([wanted]).values():
        done.result(30)


class Load:
    """Threads that run while entered.

    Attributes:
        per_tick: records written each tick by topic.
        ended_early: what ended a consumer that nobody had asked to leave.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._produce, daemon=True)]
        self.ended_early: list[str] = []
        self.per_tick = {"orders": 20, "payments": 4, "strict": 1, "single": 2, "risky": 1}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)

    def _produce(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._bootstrap, "acks": "all", "message.timeout.ms": 5000, **QUIET}
        )
        number = 0
        while not self._ended.wait(TICK_S):
            for topic, count in self.per_tick.items():
                for _ in range(count):
                    number += 1
                    try:
                        producer.produce(topic, key=str(number), value=b"x" * 300)
                    except BufferError:
                        break
            producer.poll(0)

    def consumer(
        self, group: str, topic: str, pace: Callable[[], int], *, commits: Callable[[], bool]
    ) -> None:
        """One more member: reads `pace()` records a tick at most, and commits them if `commits()`."""
        thread = threading.Thread(target=self._consume, args=(group, topic, pace, commits), daemon=True)
        self._threads.append(thread)
        if self._threads[0].is_alive():
            thread.start()

    def _consume(self, group: str, topic: str, pace: Callable[[], int], commits: Callable[[], bool]) -> None:
        try:
            self._read(group, topic, pace, commits)
        except Exception as error:  # noqa: BLE001 - a thread's end is told by the tests that look for it
            self.ended_early.append(f"{group}: {error!r}")

    def _read(self, group: str, topic: str, pace: Callable[[], int], commits: Callable[[], bool]) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": group,
                "client.id": f"{group}-app",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 6000,
                **QUIET,
            }
        )
        consumer.subscribe([topic])
        while not self._ended.is_set():
            wanted = pace()
            if wanted < 0:
                break  # leave the group
            got = consumer.consume(wanted, TICK_S) if wanted else []
            if not wanted:
                time.sleep(TICK_S)
            if got and commits():
                with suppress(KafkaException):  # the group rebalances, or has no coordinator now
                    consumer.commit(asynchronous=False)
            time.sleep(TICK_S)
        consumer.close()
