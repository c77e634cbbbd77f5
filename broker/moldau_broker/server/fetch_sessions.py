"""Incremental fetch sessions (KIP-227, KIP-516): what a consumer asked for, and what it was last told. Pure.

Theory of operation: a session of many partitions, of which most are silent, costs what the others cost. It listens to
its partitions (`Watch`), and a fetch looks at those that its request names, at those where something has happened
since, and at those it was not done with: records that did not fit, or were not fetched again. At everything it looks
now and then (`FULL_LOOK_MS`), so nothing depends on being told: neither that followers are heard, nor what is answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import FETCH_SESSION_PARTITIONS_MAX, FETCH_SESSION_PARTITIONS_TOTAL_MAX

if TYPE_CHECKING:
    from moldau_broker.replication.partition import Partition
    from moldau_broker.replication.partition_base import VisibleBytesListener

INITIAL_EPOCH = 0
FINAL_EPOCH = -1
NO_SESSION = 0
_EPOCH_MAX = 2**31 - 1
_EVICTION_IDLE_MS = 120_000  # Kafka's min.incremental.fetch.session.eviction.ms

FULL_LOOK_MS: Final = 250
"""With a fetch that waits as long as followers do (0.5 s), every partition is looked at more than once a second."""

SessionKey = tuple[object, int]
"""(topic name or topic id, partition index)."""


@dataclass(slots=True)
class FetchPartition:
    """One partition of a fetch: the wish of the reader, and for sessions what it was last told.

    `read_offset`: a follower goes on reading there while it syncs what it has, which ends at `fetch_offset`.
    `held_back`: a throttled follower gets nothing of it for now, whatever is appended.
    """

    name: str
    topic_id: bytes
    index: int
    fetch_offset: int
    max_bytes: int
    current_leader_epoch: int
    last_fetched_epoch: int
    log_start_offset: int = -1
    read_offset: int = -1
    told_high_watermark: int = -2
    told_log_start_offset: int = -2
    held_back: bool = False
    watch: Watch | None = field(default=None, compare=False, repr=False)

    def update(self, wish: FetchPartition) -> None:
        """Take over a new wish for the same partition."""
        self.name = wish.name
        self.fetch_offset = wish.fetch_offset
        self.max_bytes = wish.max_bytes
        self.current_leader_epoch = wish.current_leader_epoch
        self.last_fetched_epoch = wish.last_fetched_epoch
        self.log_start_offset = wish.log_start_offset
        self.read_offset = wish.read_offset

    def position(self, end: int) -> int:
        """Where to read; `end`: how far that is possible. Whoever wants to go on beyond it begins anew."""
        return self.read_offset if self.fetch_offset < self.read_offset <= end else self.fetch_offset

    def must_tell(self, error: ErrorCode, size: int, high_watermark: int, log_start_offset: int) -> bool:
        """Whether an incremental answer has to include this partition; remembers what it then says."""
        changed = size > 0 or error is not ErrorCode.NONE or self.is_news(high_watermark, log_start_offset)
        failed = error is not ErrorCode.NONE
        self.told_high_watermark = -2 if failed else high_watermark
        self.told_log_start_offset = -2 if failed else log_start_offset
        return changed

    def is_news(self, high_watermark: int, log_start_offset: int) -> bool:
        """Whether the reader was told something else before, or nothing."""
        return high_watermark != self.told_high_watermark or log_start_offset != self.told_log_start_offset


class Watch:
    """Listens to one partition for one session."""

    __slots__ = ("_key", "_queue", "_session", "_wish", "partition")

    def __init__(
        self, session: FetchSession, wish: FetchPartition, partition: Partition, *, for_replica: bool
    ) -> None:
        self._session = session
        self._wish = wish
        self._key = session.key_of(wish)
        self._queue = partition.replica_waiters if for_replica else partition.fetch_waiters
        self.partition = partition
        self._queue.append(self)

    def on_visible_bytes(self, count: int) -> None:
        """Look there next time, and now if somebody waits for that."""
        session = self._session
        session.stirred[self._key] = self._wish
        if session.waiting is not None and not (count and self._wish.held_back):
            session.waiting.on_visible_bytes(count)

    def on_news(self) -> None:
        """Look there next time."""
        self._session.stirred[self._key] = self._wish

    def end(self) -> None:
        """Listen no more."""
        self._queue.remove(self)


class FetchSession:
    """One session: its partitions in the order they are read (moved to the end after they gave data).

    Attributes:
        stirred: the partitions that the next fetch has to look at.
        waiting: the fetch that waits, told of what happens to any partition.
    """

    __slots__ = (
        "_closed",
        "_looked_ms",
        "epoch",
        "last_used_ms",
        "partitions",
        "session_id",
        "stirred",
        "uses_topic_ids",
        "waiting",
    )

    def __init__(self, session_id: int, *, uses_topic_ids: bool) -> None:
        self.session_id = session_id
        self.uses_topic_ids = uses_topic_ids
        self.epoch = 1
        self.last_used_ms = 0
        self.partitions: OrderedDict[SessionKey, FetchPartition] = OrderedDict()
        self.stirred: dict[SessionKey, FetchPartition] = {}
        self.waiting: VisibleBytesListener | None = None
        self._looked_ms: int | None = None
        self._closed = False

    def key(self, name: str, topic_id: bytes, index: int) -> SessionKey:
        """The key of a partition: sessions of v13 and later go by topic id."""
        return (topic_id if self.uses_topic_ids else name, index)

    def key_of(self, wish: FetchPartition) -> SessionKey:
        """The same of one that is known."""
        return self.key(wish.name, wish.topic_id, wish.index)

    def update(self, wishes: Iterable[FetchPartition], forgotten: Iterable[SessionKey]) -> None:
        """Take over a request's new, changed and forgotten partitions."""
        for wish in wishes:
            key = self.key_of(wish)
            known = self.partitions.get(key)
            if known is not None:
                known.update(wish)
            else:
                known = self.partitions[key] = wish
            self.stirred[key] = known
        for key in forgotten:
            gone = self.partitions.pop(key, None)
            if gone is not None:
                self.stirred.pop(key, None)
                _unwatch(gone)

    def look_at(self, now_ms: int, *, everything: bool) -> list[FetchPartition]:
        """The partitions that a fetch has to look at when its request has come, in order."""
        if everything or self._looked_ms is None or now_ms - self._looked_ms >= FULL_LOOK_MS:
            self._looked_ms = now_ms
            return list(self.partitions.values())
        return list(self.stirred.values())

    def watch(self, wish: FetchPartition, partition: Partition, *, for_replica: bool) -> None:
        """Listen to what happens to the partition that this wish is for."""
        if wish.watch is None or wish.watch.partition is not partition:
            _unwatch(wish)
            if not self._closed:
                wish.watch = Watch(self, wish, partition, for_replica=for_replica)

    def looked(self, wish: FetchPartition, *, quiet: bool, gave_data: bool) -> None:
        """One was looked at. `quiet`: until something happens there, there is nothing to say of it."""
        key = self.key_of(wish)
        if quiet or gave_data:
            self.stirred.pop(key, None)
        if not quiet and key in self.partitions:
            self.stirred[key] = wish

    def sleep(self) -> None:
        """Listen no more, as its connection is gone; whoever goes on with it looks at everything first."""
        for wish in self.partitions.values():
            _unwatch(wish)
        self.stirred.clear()
        self._looked_ms = None

    def close(self) -> None:
        """It is over."""
        self._closed = True
        self.sleep()


def _unwatch(wish: FetchPartition) -> None:
    if wish.watch is not None:
        wish.watch.end()
        wish.watch = None


class FetchSessions:
    """The cache of sessions: bounded slots and partitions, the longest idle evicted first, random ids.

    Attributes:
        slots, partitions_max: the bounds, over all sessions.
        partitions: how many all sessions remember.
        evictions: sessions that made room for others, since start.
    """

    __slots__ = ("_rng", "_sessions", "evictions", "partitions", "partitions_max", "slots")

    def __init__(
        self, slots: int, rng: Random, partitions_max: int = FETCH_SESSION_PARTITIONS_TOTAL_MAX
    ) -> None:
        self.slots = slots
        self.partitions_max = partitions_max
        self.partitions = 0
        self.evictions = 0
        self._rng = rng
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def create(
        self, wishes: Iterable[FetchPartition], *, uses_topic_ids: bool, now_ms: int
    ) -> FetchSession | None:
        """A new session, or None where no slot can be freed: the fetch is then answered without one."""
        wishes = list(wishes)
        if (
            not wishes
            or len(wishes) > FETCH_SESSION_PARTITIONS_MAX
            or not self._make_room(len(wishes), now_ms)
        ):
            return None
        session_id = NO_SESSION
        while session_id == NO_SESSION or session_id in self._sessions:
            session_id = self._rng.randrange(1, _EPOCH_MAX)
        session = FetchSession(session_id, uses_topic_ids=uses_topic_ids)
        session.last_used_ms = now_ms
        session.update(wishes, ())
        self._sessions[session_id] = session
        self.partitions += len(session.partitions)
        return session

    def _make_room(self, partitions: int, now_ms: int) -> bool:
        while len(self._sessions) >= self.slots or self.partitions + partitions > self.partitions_max:
            if not self._sessions:
                return False
            oldest = next(iter(self._sessions.values()))
            if now_ms - oldest.last_used_ms < _EVICTION_IDLE_MS:
                return False
            self.close(oldest.session_id)
            self.evictions += 1
        return True

    def update(
        self, session: FetchSession, wishes: Iterable[FetchPartition], forgotten: Iterable[SessionKey]
    ) -> bool:
        """Take over what an incremental fetch adds, changes and forgets.

        False where the session outgrows its bounds: it is closed. Its reader, told that it is gone, asks for
        everything anew and is served without one; a partition left out in silence would never be read.
        """
        before = len(session.partitions)
        session.update(wishes, forgotten)
        self.partitions += len(session.partitions) - before
        if len(session.partitions) <= FETCH_SESSION_PARTITIONS_MAX and self.partitions <= self.partitions_max:
            return True
        self.close(session.session_id)
        return False

    def use(
        self, session_id: int, epoch: int, *, uses_topic_ids: bool, now_ms: int
    ) -> FetchSession | ErrorCode:
        """The session an incremental fetch continues, its epoch advanced; or the error to answer."""
        session = self._sessions.get(session_id)
        if session is None:
            return ErrorCode.FETCH_SESSION_ID_NOT_FOUND
        if session.epoch != epoch:
            return ErrorCode.INVALID_FETCH_SESSION_EPOCH
        if session.uses_topic_ids != uses_topic_ids:
            return ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
        session.epoch = 1 if session.epoch == _EPOCH_MAX else session.epoch + 1
        session.last_used_ms = now_ms
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session_id: int) -> None:
        """Forget a session, if it is there."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self.partitions -= len(session.partitions)
            session.close()
