"""Real clients at work: idempotent producers, assigned readers, a consumer group; all they do goes into a history.

Every partition gets a probe each 20 ms, so that the gap between two acknowledged ones is the time it could not be
written; a third producer adds bursts. Some 400 records a second in all: few, so that a starved processor is not
mistaken for a fault; the lag of a thread that only sleeps is recorded, and a run that lagged is void.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import zlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.chaos.history import NEVER, UNKNOWN, Commit, Committed, History, Marks, Outcome, Poll, Send

PROBE_S: Final = 0.02
BURST_S: Final = 0.2
BURST_RECORDS: Final = 20
COMMIT_S: Final = 0.5
MARKS_S: Final = 0.25
LAG_P99_S_MAX: Final = 0.25
SLEEP_S: Final = 0.01
GROUP: Final = "chaos"
VALUE_BYTES: Final = 100

CLIENT: Final = {
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
    "socket.timeout.ms": 10_000,
    "topic.metadata.refresh.interval.ms": 10_000,
    "log_level": 0,
}
PRODUCER: Final = {
    **CLIENT,
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 0,
    "retry.backoff.ms": 50,
    "request.timeout.ms": 5_000,
    "delivery.timeout.ms": 600_000,
    "socket.timeout.ms": 6_000,
}
"""A request that was taken and is never answered holds its partition up for the request's time-out: hence 5 s."""


def content(value: int) -> bytes:
    """The bytes that carry a value, the same again whenever they are made."""
    body = b"%016d:" % value
    body += bytes((value * 7 + at) % 251 for at in range(VALUE_BYTES - len(body) - 8))
    return body + b"%08x" % zlib.crc32(body)


class Workload:
    """Clients against one cluster. Threads of their own; `stop` and `drain` end it.

    Attributes:
        topics: what is written and read.
        history: what happened.
        notes: what else clients said, counted: fatal producer errors, lost positions, refused commits.
    """

    def __init__(
        self, bootstrap: str, *, seed: int = 0, topics: int = 2, partitions: int = 3, replication: int = 3
    ) -> None:
        self.bootstrap = bootstrap
        self.topics = [f"chaos-{chr(ord('a') + at)}" for at in range(topics)]
        self.partitions = [(topic, at) for topic in self.topics for at in range(partitions)]
        self.partition_count = partitions
        self.replication = replication
        self.history = History()
        self.notes: Counter[str] = Counter()
        self.lags: list[float] = []
        self._chance = random.Random(seed)
        self._values = itertools.count(1)
        self._sessions = itertools.count(1)
        self._pending: dict[int, Send] = {}
        self._lock = threading.Lock()
        self._stop_sending = threading.Event()
        self._stop_all = threading.Event()
        self._senders: list[threading.Thread] = []
        self._others: list[threading.Thread] = []
        self.base_timestamp = int(time.time() * 1000)

    # --- life -----------------------------------------------------------------------------------------

    def create_topics(self, within: float = 60.0, **settings: str) -> None:
        """The topics, with retention off so that nothing goes for good reason."""
        config = {"retention.ms": "-1", "min.insync.replicas": "2", **settings}
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **CLIENT})
        new = [NewTopic(name, self.partition_count, self.replication, config=config) for name in self.topics]
        for future in admin.create_topics(new, request_timeout=within).values():
            future.result(within)

    def start(self) -> None:
        """All clients begin."""
        for at, topic in enumerate(self.topics):
            mine = [one for one in self.partitions if one[0] == topic]
            self._thread(self._senders, self._send_probes, f"probes-{at}", mine)
        self._thread(self._senders, self._send_bursts, "bursts")
        self._thread(self._others, self._read_assigned, "reader")
        for at in range(2):
            self._thread(self._others, self._read_in_group, f"member-{at}")
        self._thread(self._others, self._watch_marks, "marks")
        self._thread(self._others, self._watch_lag, "lag")

    def _thread(self, threads: list[threading.Thread], target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=str(arguments[0]), daemon=True)
        threads.append(thread)
        thread.start()

    def stop(self, flush_s: float = 60.0) -> None:
        """Producers deliver what they have and end, then everybody else ends."""
        self._flush_s = flush_s
        self._stop_sending.set()
        for thread in self._senders:
            thread.join(flush_s + 30)
        self._stop_all.set()
        for thread in self._others:
            thread.join(30)
            if thread.is_alive():
                self.notes[f"{thread.name} did not end"] += 1
        with self._lock:
            self.history.sends += self._pending.values()
            self._pending.clear()

    def drain(self, within: float = 60.0) -> bool:
        """Read everything once more, from the beginnings to the ends; whether the ends were reached."""
        reader = Consumer({**self._consumer_settings("drain"), "auto.offset.reset": "earliest"})
        deadline = time.monotonic() + within
        try:
            ends = {}
            while len(ends) < len(self.partitions) and time.monotonic() < deadline:
                for topic, at in self.partitions:
                    try:
                        _, high = reader.get_watermark_offsets(TopicPartition(topic, at), timeout=5)
                        ends[f"{topic}-{at}"] = high
                    except KafkaException:
                        time.sleep(0.2)
            reader.assign([TopicPartition(topic, at, 0) for topic, at in self.partitions])
            session, reached = next(self._sessions), dict.fromkeys(ends, 0)
            while time.monotonic() < deadline and len(ends) == len(self.partitions):
                if all(reached[partition] >= end for partition, end in ends.items()):
                    self.history.drained = True
                    break
                for partition, offset, _ in self._poll(reader, "drain", lambda: session, "", 1_000):
                    reached[partition] = offset + 1
        finally:
            reader.close()
        self.ends = ends
        return self.history.drained

    # --- producers ------------------------------------------------------------------------------------

    def _send_probes(self, name: str, partitions: Sequence[tuple[str, int]]) -> None:
        with self._producer(name) as send:
            due = time.monotonic()
            while not self._stop_sending.is_set():
                for topic, at in partitions:
                    send(topic, at)
                due = max(due + PROBE_S, time.monotonic() - 1.0)
                send.serve(max(0.0, due - time.monotonic()))

    def _send_bursts(self, name: str) -> None:
        with self._producer(name) as send:
            while not self._stop_sending.is_set():
                topic, at = self._chance.choice(self.partitions)
                for _ in range(BURST_RECORDS):
                    send(topic, at)
                send.serve(BURST_S)

    @contextmanager
    def _producer(self, name: str) -> Iterator[_Sender]:
        sender = _Sender(self, name)
        try:
            yield sender
        finally:
            sender.flush(self._flush_s)

    # --- consumers ------------------------------------------------------------------------------------

    def _consumer_settings(self, group: str) -> dict[str, Any]:
        return {
            **CLIENT,
            "bootstrap.servers": self.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
        }

    def _poll(
        self, consumer: Consumer, name: str, session: Callable[[], int], group: str, count: int
    ) -> list[tuple[str, int, int]]:
        """Up to `count` records one by one, as one operation of the history, or two when the session changed."""
        invoked, begun_in = time.monotonic_ns(), session()
        records: list[tuple[str, int, int]] = []
        got: list[tuple[str, int, int]] = []
        for at in range(count):
            message = consumer.poll(0.1 if at == 0 else 0.0)
            if session() != begun_in:
                self._polled(name, begun_in, group, invoked, records)
                begun_in, records = session(), []
            if message is None:
                break
            error = message.error()
            if error is not None:
                self._note_error(name, error)
                if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION):
                    self.notes[f"{name} lost its position"] += 1
                break
            record = self._checked(message)
            records.append(record)
            got.append(record)
        self._polled(name, begun_in, group, invoked, records)
        return got

    def _polled(
        self, name: str, session: int, group: str, invoked: int, records: list[tuple[str, int, int]]
    ) -> None:
        if records:
            with self._lock:
                self.history.polls.append(Poll(name, session, group, invoked, time.monotonic_ns(), records))

    def _checked(self, message: Any) -> tuple[str, int, int]:
        """A message as the history has it; whatever is not as it was sent is noted."""
        partition, offset = f"{message.topic()}-{message.partition()}", message.offset()
        data = message.value() or b""
        value = int(data[:16]) if data[:16].isdigit() else -1
        headers = message.headers() or []
        timestamp = message.timestamp()[1]
        if data != content(value) or headers != [("value", b"%d" % value)]:
            self.history.corrupt.append(f"{partition}@{offset}: {data!r} {headers}")
        elif timestamp != self.base_timestamp + value or message.key() != b"k%d" % (value % 100):
            self.history.corrupt.append(f"{partition}@{offset}: {message.key()!r} at {timestamp}")
        return partition, offset, value

    def _note_error(self, name: str, error: KafkaError) -> None:
        if error.code() != KafkaError._PARTITION_EOF:
            self.notes[f"{name}: {error.name()}"] += 1

    def _read_assigned(self, name: str) -> None:
        reader = Consumer(self._consumer_settings("reads-alone"))
        reader.assign([TopicPartition(topic, at, 0) for topic, at in self.partitions])
        session = [next(self._sessions)]
        while not self._stop_all.is_set():
            before = self.notes[f"{name} lost its position"]
            self._poll(reader, name, lambda: session[0], "", 50)
            if self.notes[f"{name} lost its position"] != before:
                session[0] = next(self._sessions)
                reader.assign([TopicPartition(topic, at, 0) for topic, at in self.partitions])
        reader.close()

    def _read_in_group(self, name: str) -> None:
        session = [next(self._sessions)]
        positions: dict[str, int] = {}

        def assigned(_: Consumer, __: list[TopicPartition]) -> None:
            session[0] = next(self._sessions)
            positions.clear()
            self.notes["assignments"] += 1

        def revoked(consumer: Consumer, _: list[TopicPartition]) -> None:
            self._commit(consumer, positions)
            positions.clear()

        def lost(_: Consumer, __: list[TopicPartition]) -> None:
            self.notes["assignments lost"] += 1
            positions.clear()

        settings = {
            **self._consumer_settings(GROUP),
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 1_000,
        }
        consumer = Consumer(settings)
        consumer.subscribe(self.topics, on_assign=assigned, on_revoke=revoked, on_lost=lost)
        due = time.monotonic() + COMMIT_S
        while not self._stop_all.is_set():
            before = session[0]
            got = self._poll(consumer, name, lambda: session[0], GROUP, 50)
            if session[0] == before:
                positions.update((partition, offset + 1) for partition, offset, _ in got)
            if time.monotonic() > due:
                self._commit(consumer, positions)
                due = time.monotonic() + COMMIT_S
        consumer.close()

    def _commit(self, consumer: Consumer, positions: dict[str, int]) -> None:
        """Commit and wait for the answer; one operation for each partition."""
        if not positions:
            return
        offsets = [
            TopicPartition(*_split(partition), offset) for partition, offset in sorted(positions.items())
        ]
        invoked = time.monotonic_ns()
        outcomes: dict[str, Outcome] = {}
        try:
            for one in consumer.commit(offsets=offsets, asynchronous=False):
                outcomes[f"{one.topic}-{one.partition}"] = "info" if one.error else "ok"
        except KafkaException as error:
            self.notes[f"commit: {error.args[0].name()}"] += 1
        completed = time.monotonic_ns()
        with self._lock:
            for one in offsets:
                partition = f"{one.topic}-{one.partition}"
                outcome = outcomes.get(partition, "info")
                self.history.commits.append(Commit(GROUP, partition, one.offset, invoked, completed, outcome))
        positions.clear()

    # --- watching -------------------------------------------------------------------------------------

    def _watch_marks(self, name: str) -> None:
        consumer = Consumer(self._consumer_settings(GROUP))
        every = itertools.cycle(self.partitions)
        while not self._stop_all.wait(MARKS_S):
            topic, at = next(every)
            invoked = time.monotonic_ns()
            try:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, at), timeout=5)
            except KafkaException as error:
                self.notes[f"marks: {error.args[0].name()}"] += 1
            else:
                seen = Marks(name, f"{topic}-{at}", low, high, invoked, time.monotonic_ns())
                self.history.marks.append(seen)
            invoked = time.monotonic_ns()
            try:
                (found,) = consumer.committed([TopicPartition(topic, at)], timeout=5)
            except KafkaException as error:
                self.notes[f"committed: {error.args[0].name()}"] += 1
            else:
                if found.error is None:
                    read = Committed(
                        GROUP, f"{topic}-{at}", max(found.offset, 0), invoked, time.monotonic_ns()
                    )
                    self.history.committed.append(read)
        consumer.close()

    def _watch_lag(self, _: str) -> None:
        while not self._stop_all.is_set():
            begun = time.monotonic()
            time.sleep(SLEEP_S)
            self.lags.append(time.monotonic() - begun - SLEEP_S)

    def lag_p99(self) -> float:
        """Seconds; above `LAG_P99_S_MAX` the run says nothing about brokers."""
        return sorted(self.lags)[len(self.lags) * 99 // 100] if self.lags else 0.0

    def acknowledged(self) -> int:
        """Records acknowledged until now."""
        with self._lock:
            return sum(send.outcome == "ok" for send in self.history.sends)

    def write_gaps(self, begun: int, ended: int) -> dict[str, float]:
        """Seconds between acknowledged records around the time between two instants, the longest of each partition."""
        with self._lock:
            sends = [send for send in self.history.sends if send.outcome == "ok"]
        times: dict[str, list[int]] = defaultdict(list)
        for send in sends:
            times[send.partition].append(send.completed)
        return {f"{topic}-{at}": _gap(times[f"{topic}-{at}"], begun, ended) for topic, at in self.partitions}

    def read_gaps(self, begun: int, ended: int) -> dict[str, float]:
        """The same for what the assigned reader got."""
        with self._lock:
            polls = [poll for poll in self.history.polls if poll.consumer == "reader"]
        times: dict[str, list[int]] = defaultdict(list)
        for poll in polls:
            for partition in {record[0] for record in poll.records}:
                times[partition].append(poll.completed)
        return {f"{topic}-{at}": _gap(times[f"{topic}-{at}"], begun, ended) for topic, at in self.partitions}


class _Sender:
    """A producer that writes down what it does, and begins anew after a fatal error."""

    def __init__(self, workload: Workload, name: str) -> None:
        self.workload, self.base_name, self.lives = workload, name, 0
        self._renew()

    def _renew(self) -> None:
        self.lives += 1
        self.name = f"{self.base_name}.{self.lives}"
        settings = {**PRODUCER, "bootstrap.servers": self.workload.bootstrap, "client.id": self.name}
        self.producer = Producer({**settings, "error_cb": self._error})
        self.fatal = False

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fatal = True
            self.workload.notes[f"fatal: {error.name()}"] += 1

    def __call__(self, topic: str, at: int) -> None:
        work = self.workload
        value = next(work._values)
        send = Send(self.name, f"{topic}-{at}", value, time.monotonic_ns(), NEVER, "info")
        with work._lock:
            work._pending[value] = send

        def delivered(error: KafkaError | None, message: Any) -> None:
            completed = time.monotonic_ns()
            offset = message.offset() if message.offset() is not None else UNKNOWN
            with work._lock:
                work._pending.pop(value)
                if error is None:
                    done = send._replace(completed=completed, outcome="ok", offset=max(offset, UNKNOWN))
                else:
                    done = send._replace(completed=completed)
                    work.notes[f"send: {error.name()}"] += 1
                work.history.sends.append(done)

        try:
            self.producer.produce(
                topic,
                content(value),
                b"k%d" % (value % 100),
                at,
                on_delivery=delivered,
                timestamp=work.base_timestamp + value,
                headers=[("value", b"%d" % value)],
            )
        except (BufferError, KafkaException) as error:
            with work._lock:
                work._pending.pop(value)
            work.notes[f"not sent: {error.args[0]}"] += 1

    def serve(self, seconds: float) -> None:
        """Serve callbacks for that long."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            self.producer.poll(max(0.0, left))
            if self.fatal:
                self.producer.purge()
                self.producer.flush(5)
                self._renew()
            if left <= 0:
                return

    def flush(self, seconds: float) -> None:
        """Wait until all is delivered, at most so long."""
        if self.producer.flush(seconds):
            self.workload.notes["not flushed"] += 1
            self.producer.purge()
            self.producer.flush(5)


def _split(partition: str) -> tuple[str, int]:
    topic, _, at = partition.rpartition("-")
    return topic, int(at)


def _gap(times: list[int], begun: int, ended: int) -> float:
    """Seconds between neighbours, the longest that touches the time from `begun` to `ended`; up to `ended` if open."""
    times.sort()
    first = max(0, bisect_left(times, begun) - 1)
    window = times[first : bisect_left(times, ended) + 1]
    if not window or window[-1] < ended:
        window.append(ended)
    return max((after - before for before, after in itertools.pairwise(window)), default=0) / 1e9
