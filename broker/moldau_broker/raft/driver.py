"""Carries out what the raft core decides: quorum-state first, then the log, then whoever waits for it.

No event loop of its own: the owner calls `start`, `tick` and `propose` on one thread, and the committer
calls back on that same thread once a round of fdatasync is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from moldau_broker.base.clock import Clock
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.messages import AppendFailed, FlushFailed, LogBatch, LogFlushed
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.quorum import Voter
from moldau_broker.raft.state import Role
from moldau_broker.raft.store import RaftStore
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log

logger = logging.getLogger(__name__)


class Committer(Protocol):
    """Makes a log durable and says when (see `storage.group_commit`)."""

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        """Fdatasync `log` in the next round; `callback(error)` runs on the owner's thread afterwards."""
        ...


class Listener(Protocol):
    """The state machine above the log."""

    def on_commit(self, high_watermark: int) -> None:
        """Everything below `high_watermark` is committed and may be applied."""
        ...

    def on_role(self, role: Role, epoch: int) -> None:
        """The node's role changed."""
        ...


class RaftDriver:
    """One voter, running.

    Attributes:
        node: the core; look, do not touch.
        store: the folder.
    """

    def __init__(
        self, me: Voter, store: RaftStore, committer: Committer, clock: Clock, listener: Listener
    ) -> None:
        store.check_voter(me)
        self.store = store
        self.node = RaftNode(me, store.initial)
        self._committer = committer
        self._clock = clock
        self._listener = listener
        self._flushing = False
        self._stopped = False

    def tick(self) -> None:
        """Let time pass. The first call elects a quorum of one.

        Raises:
            StorageError: quorum-state or the epoch's first entry could not be written.
        """
        self.node.tick(self._clock.wall_ms())
        self._carry_out()

    def propose(self, values: Sequence[bytes]) -> LogBatch:
        """Append encoded metadata records as one atomic batch; `Listener.on_commit` tells of its commit.

        Raises:
            NotLeader: this node may not append.
            StorageError: nothing was appended; the next attempt may succeed.
        """
        if self._stopped:
            raise NotLeader("the node is stopping")
        batch = self.node.propose(values, self._clock.wall_ms())
        self._carry_out()
        return batch

    def read(self, from_offset: int, up_to: int) -> Iterator[ReadBatch]:
        """Batches of the log, for a listener that has not seen them."""
        return self.store.read(from_offset, up_to)

    def stop(self) -> None:
        """Take nothing more; late callbacks of the committer are ignored."""
        self._stopped = True

    # -- carrying out -------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        while (ready := self.node.ready()) is not None:
            if ready.election is not None:
                self.store.save_election(ready.election)
            for batch in ready.batches:
                try:
                    self.store.append(batch)
                except StorageError:
                    self.node.step(AppendFailed(batch.base_offset))
                    self._carry_out()
                    raise
            if ready.batches:
                self._flush()
            if ready.role is not None:
                logger.info("raft.role", extra={"role": ready.role.value, "epoch": self.node.epoch})
                self._listener.on_role(ready.role, self.node.epoch)
            if ready.high_watermark is not None:
                self.store.log.high_watermark = ready.high_watermark
                self._listener.on_commit(ready.high_watermark)

    def _flush(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._committer.request(self.store.log, self._flushed)

    def _flushed(self, error: StorageError | None) -> None:
        self._flushing = False
        if self._stopped:
            return
        if error is not None:
            logger.error("raft.flush_failed", extra={"reason": str(error)})
            self.node.step(FlushFailed(str(error)))
        else:
            durable = self.store.log.durable_offset
            if durable < self.store.log.log_end_offset:  # appended while the round was under way
                self._flush()
            self.node.step(LogFlushed(durable))
        self._carry_out()
