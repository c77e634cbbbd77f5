"""Requests that wait: produce for the commit of several partitions, fetch for visible bytes. No event loop here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.partition import Partition


class DelayedProduce:
    """Waits until every batch of one acks=all request is committed, then calls `done(errors)` once.

    `errors` has one code per awaited batch, in the order given; a batch that was still waiting when
    `expire()` was called has REQUEST_TIMED_OUT (its data stays in the log, as in Kafka).
    """

    __slots__ = ("_done", "_errors", "_open")

    def __init__(self, done: Callable[[Sequence[ErrorCode]], None]) -> None:
        self._done: Callable[[Sequence[ErrorCode]], None] | None = done
        self._errors: list[ErrorCode] = []
        self._open = 1

    def add(self, partition: Partition, next_offset: int) -> None:
        """Wait for `partition` to commit everything below `next_offset`."""
        partition.when_committed(next_offset, self._slot())

    def _slot(self) -> Callable[[ErrorCode], None]:
        """Room for one more outcome, and what takes it."""
        slot = len(self._errors)
        self._errors.append(ErrorCode.REQUEST_TIMED_OUT)
        self._open += 1

        def committed(error: ErrorCode) -> None:
            if self._done is not None:
                self._errors[slot] = error
                self._close_one()

        return committed

    def all_added(self) -> bool:
        """No more batches follow; True where everything was committed already (and `done` was called)."""
        self._close_one()
        return self._done is None

    def expire(self) -> None:
        """The request's timeout has passed: answer with what is known."""
        self._finish()

    def _close_one(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._finish()

    def _finish(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self._errors)


class DelayedDeletion(DelayedProduce):
    """The same for DeleteRecords: waits until no replica on a live broker has what is to be deleted."""

    __slots__ = ()

    def add(self, partition: Partition, next_offset: int) -> None:
        """Wait until nobody has anything of `partition` below `next_offset`."""
        partition.when_deleted(next_offset, self._slot())


class DelayedFetch:
    """Waits on its partitions until `min_bytes` more are there for it or anything else about them changes.

    Consumers wait for visible bytes, followers for appended ones. A session listens itself, and tells its fetch.
    """

    __slots__ = ("_done", "_missing", "_queues")

    def __init__(
        self,
        partitions: Sequence[Partition],
        missing_bytes: int,
        done: Callable[[], None],
        *,
        for_replica: bool = False,
    ) -> None:
        """`done()` is called exactly once, unless `cancel()` comes first."""
        self._missing = missing_bytes
        self._done: Callable[[], None] | None = done
        self._queues = [one.replica_waiters if for_replica else one.fetch_waiters for one in partitions]
        for queue in self._queues:
            queue.append(self)

    def on_visible_bytes(self, count: int) -> None:
        """`count` more bytes can be read from one of the partitions; 0 means: look again now."""
        self._missing -= count
        if count == 0 or self._missing <= 0:
            self.finish()

    def on_news(self) -> None:
        """It waits on."""

    def finish(self) -> None:
        """Stop waiting and answer (also called when max_wait_ms has passed)."""
        done = self._done
        if done is not None:
            self.cancel()
            done()

    def cancel(self) -> None:
        """Stop waiting without an answer: the connection has gone."""
        if self._done is not None:
            self._done = None
            for queue in self._queues:
                queue.remove(self)
