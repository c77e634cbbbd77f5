"""A group coordinator on a bench: the event loop, the clock and the offsets topic turned by hand.

bench = CoordinatorBench(partitions=2)
bench.elect_all()
reply = bench.coordinator.join_group(...)
bench.run()              # the end of the loop's turn: what was written is appended
bench.commit_appends()   # ... and is durable now
bench.advance(3_000)
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.runtime import GroupCoordinator
from moldau_broker.metadata.image import MetadataImage, PartitionImage, TopicImage
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.wire.records import iter_batches, parse_header, patch_batch

_LIVELOCK = 100_000


class BenchClock:
    """Both clocks, moved by the bench alone."""

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = 1_000
        self._offset = wall_ms - self.now_ms
        self.step_ms = 0.0
        self._stepped = 0.0

    def monotonic_ms(self) -> int:
        """The time; every look costs `step_ms`, so that work takes time where a test wants it to."""
        self._stepped += self.step_ms
        return self.now_ms + int(self._stepped)

    def wall_ms(self) -> int:
        """The same moment since the Unix epoch."""
        return self.now_ms + self._offset


class MemoryLog:
    """A partition's log as the loader sees it."""

    def __init__(self) -> None:
        self.batches: list[bytearray] = []
        self.log_start_offset = 0
        self.log_end_offset = 0

    @classmethod
    def of(cls, data: bytes) -> MemoryLog:
        """The log of a segment file, with the offsets it has."""
        log = cls()
        for at, header in iter_batches(data):
            log.batches.append(bytearray(data[at : at + header.size]))
            log.log_end_offset = header.next_offset
        return log

    def append(self, batch: bytearray) -> int:
        """Add one batch; gives its base offset."""
        base = self.log_end_offset
        patch_batch(batch, 0, base, 0)
        self.batches.append(batch)
        self.log_end_offset = parse_header(batch).next_offset
        return base

    def read(self, offset: int, max_bytes: int, *, up_to: int | None = None, min_one: bool = True) -> bytes:
        """Whole batches from the one that contains `offset`."""
        taken = b""
        for batch in self.batches:
            header = parse_header(batch)
            if header.next_offset <= offset or (up_to is not None and header.base_offset >= up_to):
                continue
            if taken and len(taken) + len(batch) > max_bytes:
                break
            taken += batch
        return taken


class BenchReplica:
    """One partition of the offsets topic, and what its next appends come to.

    Attributes:
        high_watermark: the end of what is durable.
        refuse: appends fail with this error and leave nothing in the log.
        waiting: appends that are in the log and not durable yet.
    """

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.is_leader = True
        self.offline_reason: str | None = None
        self.high_watermark = 0
        self.refuse: ErrorCode | None = None
        self.waiting: deque[tuple[Deferred[AppendOutcome], AppendOutcome]] = deque()


class CoordinatorBench:
    """See the module.

    Attributes:
        replicas: the partitions of the offsets topic.
        auto_commit: appends are durable at once.
        appended: how many batches were appended.
    """

    def __init__(
        self, config: GroupConfig | None = None, *, partitions: int = 1, auto_commit: bool = True
    ) -> None:
        self.clock = BenchClock()
        self.auto_commit = auto_commit
        self.appended = 0
        self.replicas = [BenchReplica() for _ in range(partitions)]
        self._ready: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._sequence = 0
        self._ids = 0
        self.image = MetadataImage(
            "bench",
            topics={
                CONSUMER_OFFSETS: TopicImage(
                    CONSUMER_OFFSETS,
                    Uuid(bytes(16)),
                    tuple(PartitionImage((0,), (), (0,), 0, 0, 0) for _ in range(partitions)),
                )
            },
        )
        self.coordinator = GroupCoordinator(
            self,
            self.clock,
            config or GroupConfig(initial_rebalance_delay_ms=0),
            lambda: self.image,
            soon=self._soon,
            call_later=self.call_later,
            new_uuid=self._new_uuid,
        )

    def elect_all(self) -> None:
        """This broker leads every partition of the offsets topic; they are loaded."""
        for index in range(len(self.replicas)):
            self.elect(index)
        self.run()

    def heir(self, *, keep_uncommitted: bool = False) -> CoordinatorBench:
        """Another broker's coordinator, at the same moment, with replicas of these logs; nobody has elected it yet.

        It has all that is committed, and with `keep_uncommitted` what was only appended as well, uncommitted still.
        """
        heir = CoordinatorBench(
            self.coordinator.config, partitions=len(self.replicas), auto_commit=self.auto_commit
        )
        heir.clock.now_ms = self.clock.now_ms
        heir._ids = self._ids
        for mine, theirs in zip(self.replicas, heir.replicas, strict=True):
            theirs.is_leader = False
            theirs.high_watermark = mine.high_watermark
            for batch in mine.log.batches:
                if keep_uncommitted or parse_header(batch).next_offset <= mine.high_watermark:
                    theirs.log.append(bytearray(batch))
        return heir

    def elect(self, index: int, epoch: int = 0) -> None:
        """This broker leads that partition from now on."""
        self.replicas[index].is_leader = True
        self.coordinator.on_elected(index, epoch, self.replicas[index].log)

    def resign(self, index: int, epoch: int) -> None:
        """Another broker leads that partition as of `epoch`: what was appended and is not committed fails."""
        replica = self.replicas[index]
        replica.is_leader = False
        replica.refuse = ErrorCode.NOT_LEADER_OR_FOLLOWER
        self.commit_appends(index, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.coordinator.on_resigned(index, epoch)
        self.run()

    def run(self) -> None:
        """Turn the loop until nothing is ready."""
        for _ in range(_LIVELOCK):
            if not self._ready:
                return
            self.turn()
        raise AssertionError("the loop never comes to rest")

    def turn(self) -> None:
        """One turn of the loop."""
        ready, self._ready = list(self._ready), deque()
        for callback in ready:
            callback()

    def advance(self, ms: int) -> None:
        """Let time pass, timers fire and the loop turn."""
        end = self.clock.now_ms + ms
        self.run()
        while self._timers and self._timers[0][0] <= end:
            at, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.clock.now_ms = max(self.clock.now_ms, int(at))
                timer.callback()
                self.run()
        self.clock.now_ms = end

    def commit_appends(
        self, index: int = 0, error: ErrorCode = ErrorCode.NONE, *, at_most: int | None = None
    ) -> None:
        """What was appended to that partition, or the first few of it, is durable now, or will never be."""
        replica = self.replicas[index]
        waiting = replica.waiting
        for _ in range(len(waiting) if at_most is None else at_most):
            later, outcome = waiting.popleft()
            if error is ErrorCode.NONE:
                replica.high_watermark = outcome.next_offset
            later.complete(outcome if error is ErrorCode.NONE else AppendOutcome(error))
        self.run()

    # -- what the coordinator needs ------------------------------------------------------------------------------

    def partition(self, topic: str, index: int) -> BenchReplica | None:
        """See `coordinator.runtime.Replicas`."""
        assert topic == CONSUMER_OFFSETS
        return self.replicas[index]

    def append_internal(self, topic: str, index: int, batch: bytearray) -> Deferred[AppendOutcome]:
        """See `coordinator.runtime.Replicas`."""
        assert topic == CONSUMER_OFFSETS
        replica = self.replicas[index]
        later: Deferred[AppendOutcome] = Deferred()
        if replica.refuse is not None:
            later.complete(AppendOutcome(replica.refuse))
            return later
        self.appended += 1
        base = replica.log.append(batch)
        outcome = AppendOutcome(ErrorCode.NONE, base, replica.log.log_end_offset)
        if self.auto_commit:
            replica.high_watermark = replica.log.log_end_offset
            later.complete(outcome)
        else:
            replica.waiting.append((later, outcome))
        return later

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> _Timer:
        """A timer on the bench's clock."""
        timer = _Timer(callback)
        self._sequence += 1
        heapq.heappush(self._timers, (self.clock.now_ms + delay_ms, self._sequence, timer))
        return timer

    @property
    def timers(self) -> int:
        """How many timers are set."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def _soon(self, callback: Callable[[], None]) -> None:
        self._ready.append(callback)

    def _new_uuid(self) -> str:
        self._ids += 1
        return f"{self._ids:04d}"


class _Timer:
    """A callback that can be called off."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not fire."""
        self.cancelled = True
