"""Records on their way into batches, one queue per partition. Pure.

A partition has at most one batch in flight: that keeps its records in order through every retry, and a
refused batch can be split without a gap in the producer's sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from moldau_broker.client.errors import ClientError
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.records import Headers, Record

T = TypeVar("T")

SEQUENCES: Final = 2**31
"""How many sequence numbers there are before they begin again at 0 (KIP-98)."""

RECORD_OVERHEAD_BYTES: Final = 32
"""More than a record's own varints take: length, attributes, deltas, key, value and header lengths."""


@dataclass(slots=True)
class Identity:
    """The number under which a broker recognises a producer's batches (KIP-98), and how many it has seen.

    Without an id (-1) batches are not numbered.
    """

    producer_id: int = -1
    epoch: int = -1
    _sequences: dict[TopicPartition, int] = field(default_factory=dict)

    def sequence(self, partition: TopicPartition) -> int:
        """The number of the partition's next record."""
        return -1 if self.producer_id < 0 else self._sequences.get(partition, 0)

    def advance(self, partition: TopicPartition, records: int) -> None:
        """The next `records` records of the partition are stored."""
        self._sequences[partition] = (self._sequences.get(partition, 0) + records) % SEQUENCES


@dataclass(slots=True)
class PendingBatch(Generic[T]):
    """Records that leave together, with a token of the sender for each.

    Attributes:
        opened_ms: when its first record came; linger and delivery time-out count from here.
        encoded: the bytes once they were first sent: a retry sends the same ones, which is what lets a
            broker recognise it (producer id, epoch and sequence are inside).
        identity: the one in `encoded`.
        last_error: why it is tried again.
    """

    partition: TopicPartition
    opened_ms: int
    records: list[Record] = field(default_factory=list)
    tokens: list[T] = field(default_factory=list)
    bytes: int = 0
    closed: bool = False
    attempts: int = 0
    retry_at_ms: int = 0
    encoded: bytearray | None = None
    identity: Identity | None = None
    last_error: ClientError | None = None


class Accumulator(Generic[T]):
    """Queues of batches; the last batch of a queue is the one still open."""

    def __init__(self, *, batch_bytes_max: int, linger_ms: int) -> None:
        self._batch_bytes_max = batch_bytes_max
        self._linger_ms = linger_ms
        self._queues: dict[TopicPartition, deque[PendingBatch[T]]] = {}
        self._in_flight: set[TopicPartition] = set()
        self.bytes = 0
        """Of all records not yet settled."""

    def append(
        self,
        partition: TopicPartition,
        token: T,
        now_ms: int,
        *,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> bool:
        """Put a record into the partition's open batch; True if that closed a batch."""
        queue = self._queues.setdefault(partition, deque())
        size = _size(key, value, headers)
        closed = False
        if not queue or queue[-1].closed or queue[-1].bytes + size > self._batch_bytes_max:
            if queue and not queue[-1].closed:
                queue[-1].closed = closed = True
            queue.append(PendingBatch(partition, now_ms))
        batch = queue[-1]
        batch.records.append(Record(len(batch.records), timestamp_ms, key, value, headers))
        batch.tokens.append(token)
        batch.bytes += size
        self.bytes += size
        if batch.bytes >= self._batch_bytes_max:
            batch.closed = closed = True
        return closed

    def __bool__(self) -> bool:
        """Whether any record is not yet settled."""
        return bool(self._queues)

    def due(self, now_ms: int, *, flush: bool) -> list[PendingBatch[T]]:
        """The batches to send now: each idle partition's first, if it is closed, lingered or flushed."""
        return [
            batch
            for partition, queue in self._queues.items()
            if partition not in self._in_flight
            and (batch := queue[0]).retry_at_ms <= now_ms
            and (flush or batch.closed or now_ms - batch.opened_ms >= self._linger_ms)
        ]

    def next_due_ms(self, now_ms: int, *, flush: bool) -> int | None:
        """Milliseconds until another batch becomes due by itself; None if none will."""
        waits = []
        for partition, queue in self._queues.items():
            if partition not in self._in_flight:
                batch = queue[0]
                ready = flush or batch.closed
                due_ms = max(batch.retry_at_ms, 0 if ready else batch.opened_ms + self._linger_ms)
                if due_ms > now_ms:
                    waits.append(due_ms - now_ms)
        return min(waits, default=None)

    def overdue(self, now_ms: int, delivery_ms_max: int) -> list[PendingBatch[T]]:
        """The batches not in flight whose time for delivery is over, each partition's first at most."""
        return [
            queue[0]
            for partition, queue in self._queues.items()
            if partition not in self._in_flight and now_ms - queue[0].opened_ms >= delivery_ms_max
        ]

    def take(self, batch: PendingBatch[T]) -> None:
        """Mark a due batch as in flight; nothing joins it any more."""
        batch.closed = True
        self._in_flight.add(batch.partition)

    def settle(self, batch: PendingBatch[T]) -> None:
        """Forget a batch that was acknowledged or given up."""
        self._leave_flight(batch)
        queue = self._queues[batch.partition]
        assert queue[0] is batch, "batches of a partition settle in order"
        queue.popleft()
        self.bytes -= batch.bytes
        if not queue:
            del self._queues[batch.partition]

    def retry(self, batch: PendingBatch[T], error: ClientError, at_ms: int) -> None:
        """Send the same bytes again at `at_ms` or later."""
        batch.last_error = error
        self._leave_flight(batch)
        batch.attempts += 1
        batch.retry_at_ms = at_ms

    def split(self, batch: PendingBatch[T]) -> None:
        """Replace a refused batch by its two halves, which begin at its sequence number."""
        self._leave_flight(batch)
        assert len(batch.records) > 1, "one record cannot be split"
        queue = self._queues[batch.partition]
        assert queue[0] is batch, "batches of a partition settle in order"
        queue.popleft()
        middle = len(batch.records) // 2
        for part in (slice(middle, None), slice(middle)):
            records = [record._replace(offset=i) for i, record in enumerate(batch.records[part])]
            half = PendingBatch(batch.partition, batch.opened_ms, records, batch.tokens[part], closed=True)
            half.bytes = sum(_size(record.key, record.value, record.headers) for record in records)
            queue.appendleft(half)

    def unsettled(self) -> Iterable[PendingBatch[T]]:
        """Every batch not settled yet, in flight or not."""
        return [batch for queue in self._queues.values() for batch in queue]

    def _leave_flight(self, batch: PendingBatch[T]) -> None:
        assert batch.partition in self._in_flight, "only a batch in flight can come back"
        self._in_flight.remove(batch.partition)


def _size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """An upper bound of a record's bytes inside an uncompressed batch."""
    size = RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += 3 * len(name) + len(content or b"") + 10
    return size
