"""The raft core: events and the passing of time in, things to do out. Pure.

Use, as in etcd's raft: feed `tick`, `step` and `propose`; then take `ready()` until it gives None and carry
each out in order. The core trusts that a `Ready` is carried out before the next event is fed, and that
durability is reported by `LogFlushed` (it may come much later; appends go on meanwhile).

With one voter the election is decided by the own vote and the high watermark follows the own disk; both go
through the same majority arithmetic that more voters use.
"""

from __future__ import annotations

from typing import Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.core import Initial, Sent
from moldau_broker.raft.description import Description
from moldau_broker.raft.messages import (
    Answered,
    AppendFailed,
    Event,
    Failure,
    FlushFailed,
    LogFlushed,
    Request,
    SaveFailed,
    SnapshotInstalled,
    SnapshotRejected,
    SnapshotsChanged,
    Truncated,
    Unanswered,
)
from moldau_broker.raft.protocol import Told, read_answer, whole_error
from moldau_broker.raft.roles import NEVER
from moldau_broker.raft.state import Role
from moldau_broker.wire.apis import ApiKey

__all__ = ["Initial", "RaftNode"]


class RaftNode(Description):
    """One node of the quorum: a voter or an observer. Its attributes are documented at `RaftCore`."""

    # -- feeding ------------------------------------------------------------------------------------------

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """Time has passed.

        Args:
            now_ms: monotonic time, for everything that waits.
            wall_ms: wall time, the timestamp of what is written.
        """
        self._now, self._wall = now_ms, wall_ms
        for sent, failure in self._expired():
            self._unanswered(sent, failure)
        self._tick_leading()
        self._tick_change()
        self._tick_following()
        self._tick_election()
        self._pump()

    def step(self, event: Event, now_ms: int, wall_ms: int) -> None:
        """Take an event into account."""
        self._now, self._wall = now_ms, wall_ms
        match event:
            case LogFlushed(end_offset):
                self._flushed(end_offset)
            case AppendFailed(base_offset):
                self._append_failed(base_offset)
            case FlushFailed():
                self._disk_lost()
            case SaveFailed():
                self._save_failed()
            case Truncated(end_offset):
                self._truncated(end_offset)
            case SnapshotInstalled():
                self._installed(event)
            case SnapshotRejected():
                self._rejected()
            case SnapshotsChanged(ids, log_start):
                self.snapshots, self.log_start = ids, log_start
                self.epochs.truncate_from_start(log_start)
                self.history.forget_below(ids[0].end_offset if ids else log_start)
            case Request():
                self._request(event)
            case Answered(sent_id, response):
                sent = self._sent.pop(sent_id, None)
                if sent is not None:
                    self._answered(sent, response)
            case Unanswered(sent_id, failure):
                sent = self._sent.pop(sent_id, None)
                if sent is not None:
                    self._unanswered(sent, failure)
        self._pump()

    @property
    def next_deadline_ms(self) -> int:
        """When `tick` has something to do next (monotonic); in the past if it has now."""
        times = [sent.deadline_ms for sent in self._sent.values()]
        times.append(self._election_deadline())
        leading, following = self._leading, self._following
        if leading is not None:
            times.append(self._quorum_deadline(leading))
            times += [one.deadline_ms for one in leading.waiting]
            times += [self._begin_due(leading, key) for key in self.voters.keys if key != self.me.key]
            if leading.change is not None:
                times.append(leading.change.deadline_ms)
            if leading.newcomer is not None:
                times.append(leading.newcomer.deadline_ms)
        if following is not None:
            times += [following.deadline_ms, following.ask_ms]
            if following.heard:
                times.append(following.update_ms)
        if self._hand_over_ms > self._now:
            times.append(self._hand_over_ms)
        if self._discover_ms > self._now and self.role in (Role.FOLLOWER, Role.UNATTACHED):
            times.append(self._discover_ms)
        return min(times)

    def _election_deadline(self) -> int:
        if self._campaign is not None:
            later = [at for at in self._campaign.retry_ms.values() if at > self._now]
            return min(self._campaign.deadline_ms, *later) if later else self._campaign.deadline_ms
        if self._disk_failed:
            return NEVER
        if self.role is Role.UNATTACHED:
            if self._is_alone:
                return self._now
            return self._election_ms if self.is_voter else NEVER
        return self._election_ms

    def _pump(self) -> None:
        """Send and answer what is due in the role of this moment."""
        if self.role is Role.LEADER:
            self._tell_waiting()
            self._make_known()
        elif self.role in (Role.FOLLOWER, Role.UNATTACHED):
            self._keep_membership()
            self._ask_for_data()
        else:
            self._ask_voters()

    # -- the own disk -------------------------------------------------------------------------------------

    def _flushed(self, end_offset: int) -> None:
        if self._disk_failed:
            return
        if end_offset > self.durable_end:
            self._disk_refusals = 0
        self.durable_end = max(self.durable_end, min(end_offset, self.log_end))
        leading = self._leading
        if leading is not None:
            if leading.progress.record(self.me.key, self.durable_end):
                self._advance(leading)
        elif self.role is Role.FOLLOWER:
            self._follow_mark()

    def _append_failed(self, base_offset: int) -> None:
        assert base_offset <= self.log_end, "only what was appended can fail"
        self._truncated(base_offset)
        leading = self._leading
        if leading is None:
            self._discover_ms = self._now + self._disk_pause()
        elif base_offset <= leading.progress.epoch_start or len(self.voters) > 1:
            # An epoch without its first entry must not get a second; and a controller that cannot write
            # holds up everybody, while others may have room.
            self.resign()
        else:
            leading.progress.set_voters(self.voters)

    def _disk_lost(self) -> None:
        """After a failed fsync nothing says what is on disk, and a later success proves nothing."""
        self._disk_failed = True
        if self.role is Role.LEADER:
            self.resign()
        elif self.role in (Role.FOLLOWER, Role.PROSPECTIVE, Role.CANDIDATE):
            self._become_unattached(self.epoch)

    def _save_failed(self) -> None:
        """What was decided is not on disk: lead nothing, and write it before anything else leaves."""
        if self.role is Role.LEADER:
            self.resign(handing_over=False)
        elif self.role is not Role.UNATTACHED:
            self._become_unattached(self.epoch, self._backoff())
        self._sends.clear()
        self._election_saved = None

    def _rejected(self) -> None:
        if self._following is not None:
            self._following.download = None
        self._discover_ms = self._now + self._disk_pause()

    # -- peers --------------------------------------------------------------------------------------------

    def _request(self, event: Request) -> None:
        match event.key:
            case ApiKey.VOTE:
                self._on_vote(event)
            case ApiKey.BEGIN_QUORUM_EPOCH:
                self._on_begin(event)
            case ApiKey.END_QUORUM_EPOCH:
                self._on_end(event)
            case ApiKey.FETCH:
                self._on_fetch(event)
            case ApiKey.FETCH_SNAPSHOT:
                self._on_fetch_snapshot(event)
            case ApiKey.DESCRIBE_QUORUM:
                self._on_describe(event)
            case ApiKey.ADD_RAFT_VOTER | ApiKey.REMOVE_RAFT_VOTER | ApiKey.UPDATE_RAFT_VOTER:
                self._on_change(event)
            case _:
                self._answer(event.token, whole_error(event.key, ErrorCode.UNSUPPORTED_VERSION))

    def _answered(self, sent: Sent, response: Any) -> None:
        if sent.key is ApiKey.API_VERSIONS:
            self._on_versions_answer(sent, response)
            return
        told: Told | None = None
        if sent.key not in (ApiKey.ADD_RAFT_VOTER, ApiKey.REMOVE_RAFT_VOTER, ApiKey.UPDATE_RAFT_VOTER):
            told = read_answer(sent.key, response)
        match sent.key:
            case ApiKey.VOTE:
                self._on_vote_answer(sent, told)
            case ApiKey.BEGIN_QUORUM_EPOCH | ApiKey.END_QUORUM_EPOCH:
                self._on_epoch_answer(sent, told)
            case ApiKey.FETCH | ApiKey.FETCH_SNAPSHOT if told is not None:
                self._on_data_answer(sent, told)
            case _:
                pass  # membership: looked at again in the log, and asked for again if need be

    def _unanswered(self, sent: Sent, failure: Failure) -> None:
        match sent.key:
            case ApiKey.VOTE:
                self._on_vote_answer(sent, None)
            case ApiKey.BEGIN_QUORUM_EPOCH | ApiKey.END_QUORUM_EPOCH:
                self._on_epoch_answer(sent, None)
            case ApiKey.FETCH | ApiKey.FETCH_SNAPSHOT:
                self._on_data_failure(sent, failure)
            case ApiKey.API_VERSIONS:
                self._on_versions_answer(sent, None)
            case _:
                pass
