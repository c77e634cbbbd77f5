"""Writes of one shard on their way into the log: coalesced, appended in order, their outcomes handed back in order.

No event loop here: `soon` runs a callback at the end of the current turn, so that everything one turn of the loop
writes shares a batch (and a group commit). Batches follow each other without waiting; a batch that the log refuses
takes with it everything not yet appended, because that may have built on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from moldau_broker.base.clock import Clock
from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import GROUP_BATCH_BYTES_MAX
from moldau_broker.coordinator.shard_state import Write
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.wire.records import Record, build_batch

Append = Callable[[bytearray], Deferred[AppendOutcome]]


class Owner(Protocol):
    """Who hears what became of the writes."""

    def stored(self, write: Write) -> None:
        """`write` is durable. In order."""
        ...

    def refused(self, writes: list[Write], error: ErrorCode) -> None:
        """None of `writes` is in the log; nothing else is waiting to be appended."""
        ...

    def lost(self, error: ErrorCode) -> None:
        """What was appended cannot be made durable: nobody knows what the log will say."""
        ...


class ShardWriter:
    """See the module.

    Attributes:
        refusals: how often writes were taken back.
    """

    __slots__ = (
        "_added",
        "_append",
        "_clock",
        "_closed",
        "_flushing",
        "_in_flight",
        "_owner",
        "_queue",
        "_scheduled",
        "_settled",
        "_soon",
        "_waiting",
        "refusals",
    )

    def __init__(
        self, append: Append, clock: Clock, soon: Callable[[Callable[[], None]], None], owner: Owner
    ) -> None:
        self._append = append
        self._clock = clock
        self._soon = soon
        self._owner = owner
        self._queue: list[Write] = []
        self._in_flight: deque[_Batch] = deque()
        self._waiting: deque[tuple[int, Callable[[ErrorCode], None]]] = deque()
        self._added = 0
        self._settled = 0
        self._scheduled = False
        self._flushing = False
        self._closed = False
        self.refusals = 0

    def add(self, writes: Iterable[Write]) -> None:
        """Append these at the end of the turn."""
        before = len(self._queue)
        self._queue.extend(writes)
        self._added += len(self._queue) - before
        if not self._scheduled and not self._flushing:
            self._scheduled = True
            self._soon(self.flush)

    def when_settled(self, callback: Callable[[ErrorCode], None]) -> None:
        """Call `callback(NONE)` once all that was added so far is durable or taken back; an error if it is lost."""
        if self._settled == self._added:
            callback(ErrorCode.NONE)
        else:
            self._waiting.append((self._added, callback))

    def flush(self) -> None:
        """Append everything queued."""
        self._scheduled = False
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._queue and not self._closed:
                self._append_one()
        finally:
            self._flushing = False

    def close(self) -> list[Write]:
        """Stop; gives the writes nobody will hear of any more. Whoever waits is the caller's to tell, by `fail`.

        Those that the log has refused are not among them: the owner has heard of them, and may be closing for that.
        """
        self._closed = True
        under_way = [batch for batch in self._in_flight if not batch.refused]
        left = [write for batch in under_way for write in batch.writes] + self._queue
        self._in_flight.clear()
        self._queue = []
        return left

    def fail_waiting(self, error: ErrorCode) -> None:
        """Tell everybody who waits for writes that will not come."""
        waiting, self._waiting = self._waiting, deque()
        for _, callback in waiting:
            callback(error)

    def _append_one(self) -> None:
        batch = _Batch(self._take())
        now_ms = self._clock.wall_ms()
        encoded = [record for write in batch.writes for record in write.records]
        data = build_batch([Record(at, now_ms, key, value) for at, (key, value) in enumerate(encoded)])
        self._in_flight.append(batch)
        outcome = self._append(data)
        if outcome.done and outcome.value.error is not ErrorCode.NONE:
            self._refuse(batch, outcome.value.error)
        else:
            outcome.on_complete(lambda result: self._committed(batch, result.error))

    def _take(self) -> list[Write]:
        """As many queued writes as a batch may hold, but always one."""
        size = taken = 0
        for write in self._queue:
            size += write.size_max
            if taken and size > GROUP_BATCH_BYTES_MAX:
                break
            taken += 1
        writes = self._queue[:taken]
        del self._queue[:taken]
        return writes

    def _refuse(self, batch: _Batch, error: ErrorCode) -> None:
        batch.writes += self._queue
        batch.refused = True
        self.refusals += 1
        self._queue = []
        self._owner.refused(batch.writes, error)
        self._committed(batch, ErrorCode.NONE)

    def _committed(self, batch: _Batch, error: ErrorCode) -> None:
        batch.outcome = error
        while not self._closed and self._in_flight:
            first = self._in_flight[0]
            if first.outcome is None:
                return
            if first.outcome is not ErrorCode.NONE:
                self._owner.lost(first.outcome)
                return
            self._in_flight.popleft()
            for write in () if first.refused else first.writes:
                self._owner.stored(write)
            self._settle(len(first.writes))

    def _settle(self, count: int) -> None:
        self._settled += count
        while self._waiting and self._waiting[0][0] <= self._settled:
            self._waiting.popleft()[1](ErrorCode.NONE)


class _Batch:
    """Writes that were appended together, or refused together."""

    __slots__ = ("outcome", "refused", "writes")

    def __init__(self, writes: list[Write]) -> None:
        self.writes = writes
        self.outcome: ErrorCode | None = None
        self.refused = False
