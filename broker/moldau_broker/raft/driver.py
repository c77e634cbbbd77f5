"""Carries out what the raft core decides: quorum-state first, then the log, then answers and requests.

No event loop of its own: the owner calls `tick`, `propose` and `handle` on one thread; the committer and the
transport call back on that same thread. `raft.ticker` calls `tick` in time under asyncio.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random

from moldau_broker.base.clock import Clock
from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.answer_data import give
from moldau_broker.raft.answers import unsaved
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.commit_times import CommitTimes
from moldau_broker.raft.errors import NotLeader, RaftError
from moldau_broker.raft.lost_votes import LostVotes
from moldau_broker.raft.messages import (
    Answered,
    AppendFailed,
    Event,
    Failure,
    FlushFailed,
    Leader,
    LogBatch,
    LogFlushed,
    Piece,
    Ready,
    Request,
    SaveFailed,
    SnapshotInstalled,
    SnapshotRejected,
    SnapshotsChanged,
    Truncated,
    Unanswered,
)
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.ports import Committer, Listener, NoPeers, Transport
from moldau_broker.raft.protocol import whole_error
from moldau_broker.raft.quorum import Voter
from moldau_broker.raft.roles import NEVER
from moldau_broker.raft.state import NO_LEADER, Role
from moldau_broker.raft.store import RaftStore
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.storage.errors import StorageError
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

__all__ = ["Committer", "Listener", "NoPeers", "RaftDriver", "Transport"]

logger = logging.getLogger(__name__)


class RaftDriver:
    """One node of the quorum, running.

    Attributes:
        node: the core; look, do not touch.
        store: the folder.
        on_progress: called after each event, when `next_deadline_ms` may have changed; the ticker's.
        commit_times: how long this node's appends take to be committed, while it leads.
        in_other_cluster: whether a peer said that it belongs to another cluster, since there was a leader last.
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
        self.in_other_cluster = False
        self.commit_times = CommitTimes()
        self._cluster_id = cluster_id
        self._committer = committer
        self._clock = clock
        self._listener = listener
        self._transport = transport
        self._flushing = False
        self._owed_cut: int | None = None  # the core's log ends there; the disk's still reaches further
        self._stopped = False
        self._telling = False
        self._news: deque[Callable[[], None]] = deque()
        self._handed_over: Deferred[None] | None = None
        self._lost_votes: LostVotes | None = None

    # -- the owner's --------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let time pass. The first call elects a quorum of one.

        Raises:
            StorageError: quorum-state or the epoch's first entry could not be written; tick again later.
        """
        if self._stopped:
            return
        self.node.tick(self._clock.monotonic_ms(), self._clock.wall_ms())
        self._carry_out()

    @property
    def next_deadline_ms(self) -> int:
        """Monotonic time of the next `tick` that has something to do; far away when stopped."""
        return NEVER if self._stopped else self.node.next_deadline_ms

    @property
    def leader(self) -> Leader | None:
        """Who leads: (node id, epoch, endpoints); None while nobody is known to."""
        leader = self.node.leader
        return leader if leader.node_id != NO_LEADER else None

    def propose(self, values: Sequence[bytes]) -> LogBatch:
        """Append encoded metadata records as one atomic batch; `Listener.on_commit` tells of its commit.

        Raises:
            NotLeader: this node may not append.
            StorageError: nothing was appended; the next attempt may succeed.
        """
        if self._stopped or self._handed_over is not None:
            raise NotLeader("the node is stopping")
        batch = self.node.propose(values, self._clock.wall_ms())
        self.commit_times.appended(batch.base_offset + len(values), self._clock.monotonic_ms())
        self._carry_out()
        return batch

    def handle(self, key: ApiKey, version: int, request: Struct) -> Deferred[Struct]:
        """Answer one of the quorum's requests (`protocol.APIS`), perhaps much later.

        `version` is the request's; the fields it lacks have their defaults, which is all that matters here.
        """
        answer: Deferred[Struct] = Deferred()
        if self._stopped:
            answer.complete(whole_error(key, ErrorCode.BROKER_NOT_AVAILABLE))
        else:
            self._step(Request(answer, key, request))
        return answer

    def read(self, from_offset: int, up_to: int) -> Iterator[ReadBatch]:
        """Batches of the log, for a listener that has not seen them."""
        return self.store.read(from_offset, up_to)

    def snapshot_written(self) -> None:
        """A snapshot was written to the store: shorten the log to what the kept ones lack.

        Raises:
            StorageError: files could not be removed; the next snapshot tries again.
        """
        self.store.drop_before_snapshots(self._clock.wall_ms())
        ids = tuple(self.store.snapshot_ids())
        self._step(SnapshotsChanged(ids, self.store.log.log_start_offset))

    def shutdown(self) -> Deferred[None]:
        """Leave gracefully: a leader resigns and names its successors. Complete when one of them leads; then `stop`.

        Go on ticking until then: it takes an election time-out at most.
        """
        if self._handed_over is None:
            self._handed_over = Deferred()
            if self.node.role is Role.LEADER and not self._stopped:
                self.node.resign()
                self._try_carry_out()
            self._look_whether_handed_over()
        return self._handed_over

    def stop(self) -> None:
        """Take nothing more; late callbacks of committer and transport are ignored."""
        self._stopped = True
        if self._handed_over is not None and not self._handed_over.done:
            self._handed_over.complete(None)

    # -- events -------------------------------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        self.node.step(event, self._clock.monotonic_ms(), self._clock.wall_ms())
        self._try_carry_out()

    def _try_carry_out(self) -> None:
        """Where there is nobody to raise to: the core was told, and goes on from there."""
        try:
            self._carry_out()
        except StorageError as error:
            logger.warning("raft.storage_failed", extra={"reason": str(error)})

    def _answered(self, sent_id: int, answer: Struct | Failure) -> None:
        if self._stopped:
            return
        if (
            getattr(answer, "error_code", 0) == ErrorCode.INCONSISTENT_CLUSTER_ID
            and not self.in_other_cluster
        ):
            self.in_other_cluster = True
            logger.error("raft.other_cluster", extra={"cluster_id": self._cluster_id})
        failed = isinstance(answer, Failure)
        self._step(Unanswered(sent_id, answer) if failed else Answered(sent_id, answer))  # type: ignore[arg-type]

    def _look_whether_handed_over(self) -> None:
        waiting = self._handed_over
        if waiting is not None and not waiting.done and not self.node.handing_over:
            waiting.complete(None)

    def _look_whether_votes_are_lost(self) -> None:
        lost = self.node.lost_votes
        if lost != self._lost_votes:
            self._lost_votes = lost
            if lost is not None:
                logger.error("raft.votes_lost", extra={"reason": str(lost)})

    # -- carrying out -------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Until nothing is left to do; the listener is told last, in order, and never from within itself.

        Raises:
            StorageError: of the first thing that failed; the core knows. If that was quorum-state nothing more is
                done before the next event tries again.
        """
        failure: StorageError | None = None
        saved = True
        while saved and (ready := self.node.ready()) is not None:
            if ready.election is not None:
                saved, failure = self._save(ready, failure)
            if saved:
                failure = failure or self._carry_out_one(ready)
        self._tell()
        self._look_whether_handed_over()
        self._look_whether_votes_are_lost()
        if self.on_progress is not None and not self._stopped:
            self.on_progress()
        if failure is not None:
            raise failure

    def _save(self, ready: Ready, failure: StorageError | None) -> tuple[bool, StorageError | None]:
        assert ready.election is not None, "there is something to save"
        try:
            self.store.save_election(ready.election)
        except StorageError as error:
            self._not_saved(ready)
            return False, failure or error
        return True, failure

    def _carry_out_one(self, ready: Ready) -> StorageError | None:
        failure = self._write(ready)
        for answer in ready.answers:
            failure_of_log = give(answer, self.store)
            if failure_of_log is not None:  # perhaps only just found: this node leads and votes no more
                self._feed(FlushFailed(str(failure_of_log)))
        for send in ready.sends:
            self._transport.send(send.to, send.key, send.request, partial(self._answered, send.id))
        self._note_news(ready)
        return failure

    def _not_saved(self, ready: Ready) -> None:
        """Nothing that depends on the election may leave, and nothing of it enters the log."""
        self._feed(SaveFailed())
        if ready.batches:
            self._feed(AppendFailed(ready.batches[0].base_offset))
        if ready.fetched is not None:
            self._feed(AppendFailed(ready.fetched.base_offset))
        for answer in ready.answers:
            answer.token.complete(unsaved(answer.response))

    def _feed(self, event: Event) -> None:
        self.node.step(event, self._clock.monotonic_ms(), self._clock.wall_ms())

    def _write(self, ready: Ready) -> StorageError | None:
        """Bring the log to where the core wants it; what failed was reported to it.

        To cut a log takes room as well: first the checkpoints take back what they promise of it. A cut that
        the disk refuses is owed, and nothing is appended before it is done.
        """
        log = self.store.log
        try:
            if ready.truncate is not None:
                self._owed_cut = ready.truncate
            if self._owed_cut is not None:
                log.truncate_to(self._owed_cut)
                self._owed_cut = None
                self._feed(Truncated(log.log_end_offset))
            for batch in ready.batches:
                self.store.append(batch)
            if ready.fetched is not None:
                self.store.append_fetched(ready.fetched, self._clock.wall_ms())
        except StorageError as error:
            self._log_stopped_short(error)
            return error
        if ready.batches or ready.fetched is not None:
            self._flush()
        if ready.piece is not None:
            self._write_piece(ready.piece)
        return None

    def _log_stopped_short(self, error: StorageError) -> None:
        """The log could not be brought to where the core wants it: tell the core where it ends instead.

        What came in before the disk was full is flushed like anything else: a follower asks for nothing
        more before its end is durable, and would wait for ever.
        """
        log = self.store.log
        if log.failure is not None:
            self._feed(FlushFailed(str(error)))
        self._feed(AppendFailed(min(log.log_end_offset, self.node.log_end)))
        if log.failure is None and log.durable_offset < log.log_end_offset:
            self._flush()

    def _write_piece(self, piece: Piece) -> None:
        try:
            installed = self.store.write_piece(piece)
        except (StorageError, RaftError) as error:
            logger.warning("snapshot.download_failed", extra={"reason": str(error)})
            self._feed(SnapshotRejected(piece.id))
            if isinstance(error, StorageError) and self.store.log.log_end_offset != self.node.log_end:
                self._log_stopped_short(error)
            return
        if installed is not None:
            self._owed_cut = None
            self._feed(SnapshotInstalled(installed.id, installed.content.voters))
            self._news.append(partial(self._listener.on_snapshot, installed))

    def _note_news(self, ready: Ready) -> None:
        listener, epoch = self._listener, self.node.epoch
        if ready.recovered:
            self.store.has_recovered()
        if ready.role is not None and ready.role is self.node.role:  # it may have ended as it began
            logger.info("raft.role", extra={"role": ready.role.value, "epoch": epoch})
            self.commit_times.forget()
            self._news.append(partial(listener.on_role, ready.role, epoch))
        if ready.leader is not None:
            self.in_other_cluster = self.in_other_cluster and ready.leader.node_id == NO_LEADER
            self._news.append(partial(listener.on_leader, ready.leader.node_id, ready.leader.epoch))
        if ready.high_watermark is not None:
            self.store.log.high_watermark = min(ready.high_watermark, self.store.log.log_end_offset)
            self.commit_times.committed(ready.high_watermark, self._clock.monotonic_ms())
            self._news.append(partial(listener.on_commit, ready.high_watermark))

    def _tell(self) -> None:
        if self._telling:
            return
        self._telling = True
        try:
            while self._news:
                self._news.popleft()()
        finally:
            self._telling = False

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
            self._step(FlushFailed(str(error)))
            return
        durable = self.store.log.durable_offset
        if durable < self.store.log.log_end_offset:  # appended while the round was under way
            self._flush()
        self._step(LogFlushed(durable))
