"""Carries out what the raft core decides: quorum-state first, then the log, then answers and requests.

No event loop of its own: the owner calls `tick`, `propose` and `handle` on one thread; the committer and the
transport call back on that same thread. `raft.ticker` calls `tick` in time under asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Protocol

from moldau_broker.base.clock import Clock
from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.answers import with_error, with_piece, with_records
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.errors import NotLeader, RaftError
from moldau_broker.raft.messages import (
    Answer,
    Answered,
    AppendFailed,
    Failure,
    Fetched,
    FlushFailed,
    Leader,
    LogBatch,
    LogFlushed,
    LogRange,
    Peer,
    Piece,
    Ready,
    Request,
    SaveFailed,
    Send,
    SnapshotInstalled,
    SnapshotRange,
    SnapshotRejected,
    SnapshotsChanged,
    Truncated,
    Unanswered,
)
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.quorum import Voter
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import NO_LEADER, Role
from moldau_broker.raft.store import RaftStore, StoredSnapshot
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.storage.errors import OffsetOutOfRange, StorageError
from moldau_broker.storage.log import Log
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)


class Committer(Protocol):
    """Makes a log durable and says when (see `storage.group_commit`)."""

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        """Fdatasync `log` in the next round; `callback(error)` runs on the owner's thread afterwards."""
        ...


class Listener(Protocol):
    """The state machine above the log. Called on the owner's thread, never from within one another."""

    def on_commit(self, high_watermark: int) -> None:
        """Everything below `high_watermark` is committed, on the own disk, and may be applied."""
        ...

    def on_role(self, role: Role, epoch: int) -> None:
        """The node's role changed."""
        ...

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """Another leader, or `NO_LEADER`, is in force."""
        ...

    def on_snapshot(self, snapshot: StoredSnapshot) -> None:
        """The log was replaced by a downloaded snapshot: begin anew from it; what was applied is in it."""
        ...


class Transport(Protocol):
    """Carries requests to peers."""

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        """Send soon; `on_answer` runs later on the owner's thread, once, with the response or why there is none."""
        ...


class NoPeers:
    """The transport of a quorum of one: everybody refuses, when `deliver` is called."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[Struct | Failure], None]] = []

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        """Forget it: the core gives up by itself."""


class RaftDriver:
    """One node of the quorum, running.

    Attributes:
        node: the core; look, do not touch.
        store: the folder.
        on_progress: called after each event, when `next_deadline_ms` may have changed; the ticker's.
    """

    def __init__(
        self,
        me: Voter,
        store: RaftStore,
        committer: Committer,
        clock: Clock,
        listener: Listener,
        transport: Transport,
        rng: Random,
        timing: RaftTiming | None = None,
        *,
        cluster_id: str | None = None,
        bootstrap: Sequence[tuple[str, int]] = (),
        auto_join: bool = False,
    ) -> None:
        """Take up the folder's state; nothing happens before the first `tick`.

        Args:
            me: this node, with its advertised controller endpoints.
            store: its opened folder. committer: makes the log durable. clock: wall and monotonic.
            listener: the state machine. transport: to the peers. rng: for time-outs.
            timing: how patient.
            cluster_id: requests that name another are refused; None: none is.
            bootstrap: (host, port) of servers that know the leader; this node's own are left out.
            auto_join: whether this node, as an observer, asks to become a voter (it has the controller role).
        """
        self.store = store
        self.node = RaftNode(
            me,
            store.initial,
            timing or RaftTiming(),
            rng,
            clock.monotonic_ms(),
            cluster_id=cluster_id,
            bootstrap=bootstrap,
            auto_join=auto_join,
        )
        self.on_progress: Callable[[], None] | None = None
        self._committer = committer
        self._clock = clock
        self._listener = listener
        self._transport = transport
        self._flushing = False
        self._stopped = False
