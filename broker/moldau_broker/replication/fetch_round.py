"""What a follower fetches from one leader, round by round: what to ask, what to make of the answer. Pure.

Whoever drives it sends, waits and sleeps: `fetcher` on sockets, the simulator on its network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import NO_LEADER
from moldau_broker.replication.fetch_session import Key, ReplicaSession
from moldau_broker.replication.follower import Advice, Ask, Step
from moldau_broker.replication.throttle import UNLIMITED
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.fetch import FetchRequest, FetchResponse, PartitionData

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.replication.partition import Partition
    from moldau_broker.replication.settings import ReplicaSettings
    from moldau_broker.replication.throttle import ReplicationThrottles
    from moldau_broker.storage.disk import Buffer

AHEAD_BYTES: Final = 256 * 1024
"""An answer of this size takes the disk longer than one more question does."""

FULL_LOOK_MS: Final = 250
"""Less than a question that waits to its end takes: where little happens, every round looks at all."""

Told: TypeAlias = "Callable[[Partition, Ask, Advice], None]"
"""Hears of every answer that was not simply appended."""


class Due(NamedTuple):
    """What a round begins with.

    Attributes:
        partitions: to ask anew for, once they are on disk.
        delay_ms: if there are none, in how many ms there will be some; None where none is assigned.
        partial: only of these something can have changed; all others are asked for as before.
        ahead: more is to be expected at once: ask on although not all is on disk, and do not wait at the leader.
    """

    partitions: list[Partition]
    delay_ms: int | None = None
    partial: bool = False
    ahead: bool = False


class FetchRounds:
    """All that is followed of one leader.

    A round costs what the partitions cost that the last answer was about: only their questions can have changed, but
    for what other parts of the broker do to a log. Retention is found by a look at all, every `FULL_LOOK_MS`. That a
    log is lost must be told at once (`on_lost`): what is not said anew, the leader takes for true still.

    After a large answer the next one is read ahead, while this one goes to disk: disk and network work at the same
    time. The question carries both ends of the log: the one that is on disk, which the leader goes by, and the one
    where to read on (ADR 0020). At most what two answers brought is not on disk. An answer without records ends that.
    """

    __slots__ = (
        "_ahead",
        "_ahead_bytes",
        "_assigned",
        "_clock",
        "_flushing",
        "_looked_ms",
        "_resting",
        "_session",
        "_settings",
        "_throttles",
        "_told",
        "_touched",
        "_understands",
    )

    def __init__(
        self,
        settings: ReplicaSettings,
        throttles: ReplicationThrottles,
        clock: Clock,
        told: Told,
        ahead_bytes: int = AHEAD_BYTES,
    ) -> None:
        self._settings = settings
        self._throttles = throttles
        self._clock = clock
        self._told = told
        self._assigned: dict[Key, tuple[Partition, int]] = {}
        self._resting: dict[Key, int] = {}
        self._session = ReplicaSession()
        self._looked_ms: int | None = None
        self._touched: dict[Key, Partition] = {}
        self._ahead = False
        self._ahead_bytes = ahead_bytes
        self._understands = True
        self._flushing: _Flush | None = None

    def assign(self, partitions: Iterable[Partition], *, moved: bool) -> bool:
        """From now on fetch these; `moved`: the leader's broker has changed, perhaps its address.

        Returns:
            Whether a question that waits at the leader is to be given up. Losing partitions is no reason: the late
            part of the answer is ignored.
        """
        assigned = {(one.topic_id, one.index): (one, one.leader_epoch) for one in partitions}
        disturb = moved or any(self._assigned.get(key) != one for key, one in assigned.items())
        self._assigned = assigned
        self._look_at_all()
        for one, _ in assigned.values():
            one.on_lost = self._look_at_all
        if disturb:
            self._resting.clear()
        return disturb

    def _look_at_all(self) -> None:
        self._looked_ms = None

    def begin_session(self) -> None:
        """The next question asks for everything (KIP-227)."""
        self._session = ReplicaSession()
        self._ahead = False
        self._understands = True
        self._flushing = None

    def due(self) -> Due:
        """The partitions to ask for now. One rests that was refused just now, or is throttled."""
        now = self._clock.monotonic_ms()
        if (
            self._looked_ms is not None
            and now - self._looked_ms < FULL_LOOK_MS
            and self._session.stands
            and not self._resting
            and self._throttles.follower.rate == UNLIMITED
        ):
            return Due(list(self._touched.values()), partial=True, ahead=self._ahead)
        self._looked_ms = now
        self._resting = {key: until for key, until in self._resting.items() if until > now}
        wanted, soonest = [], None
        for key, (one, _) in self._assigned.items():
            delay = max(0, self._resting.get(key, 0) - now, self._throttles.fetch_delay_ms(one))
            if not delay:
                wanted.append(one)
            elif soonest is None or delay < soonest:
                soonest = delay
        return Due(wanted, soonest)

    def question(self, due: Due, *, node_id: int, broker_epoch: int) -> FetchRequest | None:
        """The request of a round, by the session that stands; None where there is nothing to ask.

        Partitions that are not on disk by now are left out.
        """
        asks, partial = self._asks(due.partitions, ahead=due.ahead), due.partial
        if partial and (len(asks) < len(due.partitions) or not self._session.stands):
            asks, partial = self._asks((one for one, _ in self._assigned.values()), ahead=False), False
        if not asks and not partial:
            return None
        # What is read ahead is asked for anew in any case: that it is on disk has to be said.
        self._touched = {key: self._assigned[key][0] for key, ask in asks.items() if ask.read_from >= 0}
        return self._session.request(
            asks,
            node_id=node_id,
            broker_epoch=broker_epoch,
            max_wait_ms=0 if self._touched else self._settings.fetch_wait_ms_max,
            min_bytes=self._settings.fetch_bytes_min,
            max_bytes=self._settings.fetch_response_bytes_max,
            partition_bytes=self._settings.fetch_bytes_max,
            partial=partial,
        )

    def _asks(self, wanted: Iterable[Partition], *, ahead: bool) -> dict[Key, Ask]:
        """The questions of those that have one now."""
        asks = {}
        for one in wanted:
            key = (one.topic_id, one.index)
            ask = one.ask(ahead_of=self._session.asked(key) if ahead else None)
            if ask is not None:
                asks[key] = ask
        return asks

    def take(self, answer: FetchResponse) -> list[Partition] | None:
        """Append what came.

        Returns:
            The partitions that were written, for `when_next`; None where the session is gone and everything has to be
            asked for again.
        """
        self._ahead = False
        if not self._session.understood(answer):
            return None
        written, size = [], 0
        for topic in answer.responses:
            topic_id = Uuid(topic.topic_id)
            for data in topic.partitions:
                key = (topic_id, data.partition_index)
                found = self._assigned.get(key)
                if found is None:
                    continue
                self._touched[key] = found[0]
                if self._take_one(key, found[0], data):
                    written.append(found[0])
                    size += len(data.records or b"")
        self._ahead = size >= self._ahead_bytes and self._understands
        return written

    def when_next(self, written: Sequence[Partition], callback: Callable[[], None]) -> None:
        """Call back, once, when the next round may begin: when these are on disk, or, reading ahead, those before."""
        before, self._flushing = self._flushing, None
        if not self._ahead:
            when_durable(written, callback)
            return
        self._flushing = _Flush()
        when_durable(written, self._flushing.done)
        if before is None:
            callback()
        else:
            before.then(callback)

    def _take_one(self, key: Key, partition: Partition, data: PartitionData) -> bool:
        asked = self._session.asked(key)
        if asked is None:
            return False
        records: Buffer | None = data.records
        if asked.read_from >= 0 and records:
            size = len(records)
            records = _beginning_at(asked.read_from, records)
            self._understands = self._understands and len(records) == size
        advice = partition.take(
            asked,
            data.error_code,
            records,
            (data.diverging_epoch.epoch, data.diverging_epoch.end_offset),
            data.high_watermark,
            data.log_start_offset,
            self._clock.wall_ms(),
        )
        if data.records:
            self._throttles.fetched(partition, len(data.records))
        if advice is None:
            return False
        if advice.step is Step.BACK_OFF:
            self._resting[key] = self._clock.monotonic_ms() + self._settings.fetch_backoff_ms
        if advice.step is not Step.APPEND:
            self._told(partition, asked, advice)
            return False
        return bool(records)


class _Flush:
    """What an answer brought, on its way to the disk."""

    __slots__ = ("_callback", "_done")

    def __init__(self) -> None:
        self._done = False
        self._callback: Callable[[], None] | None = None

    def done(self) -> None:
        """It is there."""
        self._done = True
        if self._callback is not None:
            self._callback()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when it is there."""
        if self._done:
            callback()
        else:
            self._callback = callback


def _beginning_at(offset: int, records: Buffer) -> Buffer:
    """What comes of these batches at `offset` and after.

    A leader begins before it that knows of no reading ahead, or whose log ends before it.
    """
    if int.from_bytes(records[:8], "big") >= offset:
        return records
    with suppress(WireError):  # what is damaged is asked for anew
        for position, header in iter_batches(records):
            if header.base_offset >= offset:
                return memoryview(records)[position:]
    return b""


def by_leader(partitions: Iterable[Partition], known: Iterable[int]) -> dict[int, list[Partition]]:
    """What is to be followed, by who leads it; leaders `known` from before are named although nothing is left."""
    wanted: dict[int, list[Partition]] = {leader: [] for leader in known}
    for one in partitions:
        if not one.is_leader and one.leader_id != NO_LEADER:
            wanted.setdefault(one.leader_id, []).append(one)
    return wanted


def when_durable(partitions: Iterable[Partition], callback: Callable[[], None]) -> None:
    """Call back, once, when these logs are on disk as they are now; at once where they are."""
    waiting = [one for one in partitions if one.log.durable_offset < one.log.log_end_offset]
    left = len(waiting)
    if not left:
        callback()

    def durable() -> None:
        nonlocal left
        left -= 1
        if not left:
            callback()

    for one in waiting:
        one.when_durable(durable)
