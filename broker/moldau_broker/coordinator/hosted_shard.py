"""A shard as this broker hosts it: loading, serving, failed; its log, its writer, its core. No event loop here.

elected -> Loading -> Active -> resigned
             ^  |        |
             |  +-> Failed (the log cannot be read, or nothing can be made durable)
             +-- what was appended is in doubt

Loading begins when everything in the log is committed: what is read is served, and a record that the next leader may
take back must not be. Until then, and while it reads, members are told to come back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from moldau_broker.base.clock import Clock
from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import GROUP_READY_CHECK_MS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.notices import Notice
from moldau_broker.coordinator.shard import GroupShard
from moldau_broker.coordinator.shard_loader import LoadFailed, ReadableLog, load_steps
from moldau_broker.coordinator.shard_state import Now, Write, reply_error
from moldau_broker.coordinator.shard_writer import ShardWriter
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.storage.errors import StorageError
from moldau_broker.wire.errors import WireError

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Status(Enum):
    """How far a hosted shard has come."""

    LOADING = "loading"
    ACTIVE = "active"
    FAILED = "failed"


class Surroundings(Protocol):
    """What hosted shards need from the coordinator they belong to."""

    clock: Clock
    config: GroupConfig

    def append(self, index: int, batch: bytearray) -> Deferred[AppendOutcome]:
        """Append to that partition of the offsets topic and tell when it is committed."""
        ...

    def can_append(self, index: int) -> bool:
        """Whether this broker leads that partition and its log is in order."""
        ...

    def committed_end(self, index: int) -> int:
        """The offset below which everything in that partition is committed; -1 where it is not led here."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the end of this turn of the loop."""
        ...

    def load_soon(self, shard: HostedShard) -> None:
        """Call `load_until` of that shard, a few milliseconds a turn, until it is done."""
        ...

    def new_uuid(self) -> str:
        """The random part of a member id."""
        ...

    def wake_at(self, deadline_ms: int) -> None:
        """Have `tick` called at that time on the monotonic clock, or earlier."""
        ...


class _Bounded(NamedTuple):
    """A reply that must not wait for ever, and what is said then."""

    deadline_ms: int
    reply: Deferred[Any]
    late: Callable[[], Any]


class HostedShard:
    """See the module.

    Attributes:
        index: the partition of the offsets topic.
        leader_epoch: the epoch in which this broker leads it.
        shard: the core; only to be used while `status` is ACTIVE.
    """

    __slots__ = (
        "_around",
        "_bounded",
        "_forget",
        "_log",
        "_look_again_ms",
        "_must_be_committed",
        "_steps",
        "_writer",
        "index",
        "leader_epoch",
        "shard",
        "status",
    )

    def __init__(self, index: int, leader_epoch: int, log: ReadableLog, around: Surroundings) -> None:
        self.index = index
        self.leader_epoch = leader_epoch
        self._log = log
        self._around = around
        self._forget: list[tuple[str, Uuid]] = []
        self._bounded: deque[_Bounded] = deque()
        self._begin()

    # -- loading -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        around = self._around
        self.status = Status.LOADING
        self.shard = GroupShard(around.config, around.new_uuid, self._notice)
        self._writer = ShardWriter(self._append, around.clock, around.soon, self)
        self._steps = load_steps(self._log, self.shard, self.now)
        self._must_be_committed = self._log.log_end_offset
        self._look_again_ms: int | None = None
        if self._log.log_start_offset == self._log.log_end_offset:
            self.load_until(around.clock.monotonic_ms() + 1)
        else:
            self._load_when_committed()

    def _load_when_committed(self) -> None:
        """Nobody but us appends to the offsets topic, so its end when we came is where our epoch begins."""
        around = self._around
        if around.committed_end(self.index) >= self._must_be_committed:
            self._look_again_ms = None
            around.load_soon(self)
        else:
            self._look_again_ms = around.clock.monotonic_ms() + GROUP_READY_CHECK_MS
            around.wake_at(self._look_again_ms)

    def load_until(self, deadline_ms: int) -> bool:
        """Replay until that time on the monotonic clock; True when there is nothing left to do."""
        if self.status is not Status.LOADING:
            return True
        clock = self._around.clock
        try:
            for _ in self._steps:
                if clock.monotonic_ms() >= deadline_ms:
                    return False
        except (LoadFailed, StorageError, WireError) as error:
            self.status = Status.FAILED
            logger.exception("groups.load_failed", extra={"partition": self.index, "reason": str(error)})
            return True
        self.status = Status.ACTIVE
        if self.shard.group_ids:
            loaded = len(self.shard.group_ids)
            logger.info("groups.loaded", extra={"partition": self.index, "groups": loaded})
        forget, self._forget = self._forget, []
        self.shard.forget_topics(forget, self.now())
        self.drain()
        return True

    # -- serving -------------------------------------------------------------------------------------------------

    def now(self) -> Now:
        """The moment on both clocks."""
        clock = self._around.clock
        return Now(clock.monotonic_ms(), clock.wall_ms())

    @property
    def error(self) -> ErrorCode:
        """What requests for groups of this shard get, or NONE."""
        if self.status is Status.ACTIVE:
            return ErrorCode.NONE
        if self.status is Status.LOADING:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        return ErrorCode.NOT_COORDINATOR

    def drain(self) -> None:
        """After the core was called: append what it wrote, wake up when it wants to be woken."""
        writes = self.shard.take_writes()
        if writes:
            self._writer.add(writes)
        deadline = self.shard.next_deadline()
        if deadline is not None:
            self._around.wake_at(deadline)

    def after_writes(self, value: Callable[[ErrorCode], T]) -> Deferred[T]:
        """`value(NONE)` once everything written so far is durable; `value(error)` if it cannot be made so."""
        reply: Deferred[T] = Deferred()
        self._writer.when_settled(lambda error: reply.complete(value(error)))
        return reply

    def read_stored(self, read: Callable[[ErrorCode], T]) -> Deferred[T]:
        """What `read(NONE)` gives now, once all of that is durable; `read(error)` if it cannot be made so.

        It is read at once: by the time that this is stored, later writes are on their way, which a failover may take
        back. Where any were taken back meanwhile, it is read again.
        """
        reply: Deferred[T] = Deferred()
        writer = self._writer

        def attempt() -> None:
            found, refusals = read(ErrorCode.NONE), writer.refusals

            def settled(error: ErrorCode) -> None:
                if error is not ErrorCode.NONE:
                    reply.complete(read(error))
                elif writer.refusals != refusals:
                    attempt()
                else:
                    reply.complete(found)

            writer.when_settled(settled)

        attempt()
        return reply

    def bounded(self, reply: Deferred[T], late: Callable[[], T]) -> Deferred[T]:
        """`reply`, or `late()` where it takes longer than a commit may take; what was written goes on its way."""
        if reply.done:
            return reply
        bounded: Deferred[T] = Deferred()
        reply.on_complete(lambda value: None if bounded.done else bounded.complete(value))
        waiting = self._bounded
        while waiting and waiting[0].reply.done:
            waiting.popleft()
        deadline = self._around.clock.monotonic_ms() + self._around.config.commit_timeout_ms
        waiting.append(_Bounded(deadline, bounded, late))
        if len(waiting) == 1:
            self._around.wake_at(deadline)
        return bounded

    def _end_late_replies(self) -> None:
        waiting, now_ms = self._bounded, self._around.clock.monotonic_ms()
        while waiting and (waiting[0].reply.done or waiting[0].deadline_ms <= now_ms):
            _, reply, late = waiting.popleft()
            if not reply.done:
                reply.complete(late())
        if waiting:
            self._around.wake_at(waiting[0].deadline_ms)

    def tick(self) -> None:
        """Let the core do what is due."""
        self._end_late_replies()
        if self.status is Status.LOADING and self._look_again_ms is not None:
            self._load_when_committed()
        if self.status is Status.ACTIVE:
            deadline = self.shard.next_deadline()
            if deadline is not None and deadline <= self._around.clock.monotonic_ms():
                self.shard.tick(self.now())
            self.drain()

    def forget_topics(self, deleted: list[tuple[str, Uuid]]) -> None:
        """Topics were deleted; while loading this waits."""
        if self.status is Status.ACTIVE:
            self.shard.forget_topics(deleted, self.now())
            self.drain()
        elif self.status is Status.LOADING:
            self._forget += deleted

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self, error: ErrorCode = ErrorCode.NOT_COORDINATOR) -> None:
        """This broker no longer leads the partition, or stops: everybody who waits is told."""
        was_active = self.status is Status.ACTIVE
        self.status = Status.FAILED
        if was_active:
            self._abandon(error)

    def _abandon(self, error: ErrorCode) -> None:
        shard, writer = self.shard, self._writer
        left = [*writer.close(), *shard.take_writes()]
        shard.unload(self.now(), error)
        for write in left:
            shard.stored(write, error, self.now())
        writer.fail_waiting(error)

    # -- what the writer tells (shard_writer.Owner) --------------------------------------------------------------

    def stored(self, write: Write) -> None:
        """See `shard_writer.Owner`."""
        self.shard.stored(write, ErrorCode.NONE, self.now())
        self.drain()

    def refused(self, writes: list[Write], error: ErrorCode) -> None:
        """See `shard_writer.Owner`."""
        logger.warning("groups.write_refused", extra={"partition": self.index, "error": error.name})
        if self.shard.refused(writes, error, self.now()):
            self.drain()
        else:
            for write in writes:
                self.shard.stored(write, error, self.now())
            self.lost(error)

    def lost(self, error: ErrorCode) -> None:
        """See `shard_writer.Owner`. The log alone knows now, so the shard is read again; unless the log is done for."""
        logger.warning("groups.write_lost", extra={"partition": self.index, "error": error.name})
        self.status = Status.FAILED
        self._abandon(reply_error(error))
        if self._around.can_append(self.index):
            self._begin()

    def _append(self, batch: bytearray) -> Deferred[AppendOutcome]:
        return self._around.append(self.index, batch)

    def _notice(self, notice: Notice) -> None:
        if logger.isEnabledFor(logging.INFO):
            fields = {name: _printable(value) for name, value in notice.fields.items()}
            logger.info(notice.event, extra={**fields, "offsets_partition": self.index})


def _printable(value: str | int) -> str | int:
    """Clients choose their ids and reasons; what they choose must not move a terminal's cursor."""
    if isinstance(value, int):
        return value
    return "".join(char if char.isprintable() else "?" for char in value)
