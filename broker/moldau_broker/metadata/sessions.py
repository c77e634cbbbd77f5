"""When each broker was last heard of: the active controller's soft state. Pure.

Nothing here is in the log: a new controller starts with a guess. It gives every broker that is not fenced a first
session of half the usual length, so that a broker that died together with the old controller is not waited for
twice; a live one finds the new controller within a heartbeat. Times are monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.operation import ClusterSettings

FIRST_SESSION_DIVISOR: Final = 2
"""A new controller waits this part of a session for brokers it never heard of. Two heartbeats fit in it many times
over, also after the time a broker needs to learn of the election."""


class _Session:
    """One incarnation's session.

    `metadata_offset` is the last one it said it has published; `leave_offset` is the metadata offset every broker
    must have passed before a controlled shutdown is granted, -1 where none is under way.
    """

    __slots__ = ("deadline_ms", "epoch", "leave_offset", "metadata_offset")

    def __init__(self, epoch: int, deadline_ms: int) -> None:
        self.epoch = epoch
        self.deadline_ms = deadline_ms
        self.metadata_offset = -1
        self.leave_offset = -1


class Expired(NamedTuple):
    """An incarnation that was not heard of for a whole session, or is known to be dead."""

    broker_id: int
    epoch: int


class BrokerSessions:
    """The sessions of one controller's term."""

    __slots__ = ("_next_ms", "_sessions", "_timeout_ms")

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}
        self._timeout_ms = ClusterSettings().session_timeout_ms
        self._next_ms: int | None = None

    def begin(self, now_ms: int, image: MetadataImage, settings: ClusterSettings) -> None:
        """A term begins: a shortened first session for every broker that is not fenced."""
        self.clear()
        self._timeout_ms = settings.session_timeout_ms
        first_ms = now_ms + settings.session_timeout_ms // FIRST_SESSION_DIVISOR
        for broker in image.brokers.values():
            if not broker.fenced:
                session = self._sessions[broker.id] = _Session(broker.epoch, first_ms)
                if broker.in_controlled_shutdown:
                    # When its last leadership moved is not known; everything before this term is safe to ask for.
                    session.leave_offset = image.offset
        self._schedule()

    def clear(self) -> None:
        """The term is over."""
        self._sessions.clear()
        self._next_ms = None

    def adopt(self, now_ms: int, image: MetadataImage, without: Sequence[Expired]) -> None:
        """Give a whole session to brokers that are not fenced and have none; forget brokers that are gone.

        `without` are those about to be fenced.
        """
        for broker in image.brokers.values():
            session = self._sessions.get(broker.id)
            if (
                not broker.fenced
                and (session is None or session.epoch != broker.epoch)
                and Expired(broker.id, broker.epoch) not in without
            ):
                self._sessions[broker.id] = _Session(broker.epoch, now_ms + self._timeout_ms)
        for broker_id in self._sessions.keys() - image.brokers.keys():
            del self._sessions[broker_id]
        self._schedule()

    def touch(self, broker_id: int, epoch: int, now_ms: int, metadata_offset: int = -1) -> None:
        """This incarnation was heard of; its session begins anew."""
        session = self._sessions.get(broker_id)
        deadline_ms = now_ms + self._timeout_ms
        if session is None or session.epoch != epoch:
            session = self._sessions[broker_id] = _Session(epoch, deadline_ms)
        session.deadline_ms = deadline_ms
        session.metadata_offset = max(session.metadata_offset, metadata_offset)
        if self._next_ms is None or deadline_ms < self._next_ms:
            self._next_ms = deadline_ms

    def end(self, broker_id: int, epoch: int) -> None:
        """This incarnation is known to be dead: its session is over at once."""
        session = self._sessions.get(broker_id)
        if session is not None and session.epoch == epoch:
            session.deadline_ms = -1
            self._next_ms = -1

    def is_alive(self, broker_id: int, epoch: int, now_ms: int) -> bool:
        """Whether that incarnation has a session that is not over."""
        session = self._sessions.get(broker_id)
        return session is not None and session.epoch == epoch and now_ms < session.deadline_ms

    def take_expired(self, now_ms: int) -> list[Expired]:
        """The sessions that are over; they are forgotten."""
        if self._next_ms is None or now_ms < self._next_ms:
            return []
        over = [
            Expired(broker_id, session.epoch)
            for broker_id, session in self._sessions.items()
            if session.deadline_ms <= now_ms
        ]
        for expired in over:
            del self._sessions[expired.broker_id]
        self._schedule()
        return over

    @property
    def next_deadline_ms(self) -> int | None:
        """When the next session is over at the earliest; may lie before the truth, never after it."""
        return self._next_ms

    # -- controlled shutdown ------------------------------------------------------------------------------

    def leave(self, broker_id: int, offset: int) -> None:
        """A controlled shutdown began, or moved more leaderships, with the record at `offset`."""
        session = self._sessions.get(broker_id)
        if session is not None:
            session.leave_offset = max(session.leave_offset, offset)

    def leave_offset(self, broker_id: int) -> int:
        """The offset that everybody must have passed before that broker may go; -1 without any."""
        session = self._sessions.get(broker_id)
        return -1 if session is None else session.leave_offset

    def lowest_offset(self, image: MetadataImage) -> int | None:
        """The lowest metadata offset that an active broker has published, None when there is no active broker."""
        return min(self._active_offsets(image), default=None)

    def _active_offsets(self, image: MetadataImage) -> Iterator[int]:
        for broker in image.brokers.values():
            if broker.active:
                session = self._sessions.get(broker.id)
                yield -1 if session is None else session.metadata_offset

    def _schedule(self) -> None:
        self._next_ms = min((session.deadline_ms for session in self._sessions.values()), default=None)
