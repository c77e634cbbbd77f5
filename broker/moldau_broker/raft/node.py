"""The raft core: events and the passing of time in, things to do out. Pure.

Use, as in etcd's raft: feed `tick`, `step` and `propose`; then take `ready()` until it gives None and carry
each out in order. The core trusts that a `Ready` is carried out before the next event is fed, and that
durability is reported by `LogFlushed` (it may come much later; appends go on meanwhile).

With one voter the election is decided by the own vote and the high watermark follows the own disk; both go
through the same majority arithmetic that more voters use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from moldau_broker.raft.control import encode_control, leader_change
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.messages import AppendFailed, Event, FlushFailed, LogBatch, LogFlushed, Ready
from moldau_broker.raft.progress import Progress
from moldau_broker.raft.quorum import KRAFT_VERSION, Voter, VoterKey, VoterSet
from moldau_broker.raft.state import NO_LEADER, TRANSITIONS, ElectionState, Role
from moldau_broker.wire.messages.raft_records import KRaftVersionRecord


class Initial(NamedTuple):
    """What the store found on disk.

    Attributes:
        election: content of the quorum-state file, None if there is none yet.
        voters: the newest voter set of log or snapshot.
        voters_in_log: False while the set stands in the bootstrap snapshot only.
        log_end: offset after the last record.
        last_epoch: epoch of the last record, 0 if there is none.
    """

    election: ElectionState | None
    voters: VoterSet
    voters_in_log: bool
    log_end: int
    last_epoch: int


class RaftNode:
    """One voter.

    Attributes:
        role: what it is in `epoch`.
        epoch: the current epoch.
        leader_id: the leader of this epoch if known, else `NO_LEADER`.
        voters: the voter set in force; takes effect when appended, not when committed (KIP-853).
        log_end: offset the next batch gets.
    """

    __slots__ = (
        "_batches",
        "_election",
        "_election_saved",
        "_granted",
        "_high_watermark",
        "_high_watermark_told",
        "_me",
        "_progress",
        "_role_told",
        "_voters_in_log",
        "log_end",
        "role",
        "voters",
    )

    def __init__(self, me: Voter, initial: Initial) -> None:
        self._me = me
        self.voters = initial.voters
        self._voters_in_log = initial.voters_in_log
        self.log_end = initial.log_end
        self.role = Role.UNATTACHED
        saved = initial.election or ElectionState()
        # A log entry of an epoch proves the epoch, whatever became of the file.
        self._election = saved if saved.epoch >= initial.last_epoch else ElectionState(initial.last_epoch)
        self._election_saved = saved
        self._granted: set[VoterKey] = set()
        self._progress: Progress | None = None
        self._batches: list[LogBatch] = []
        self._high_watermark = 0
        self._high_watermark_told = 0
        self._role_told = self.role

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._election.epoch

    @property
    def leader_id(self) -> int:
        """Node id of this epoch's leader, `NO_LEADER` if none is known, or if it was us and we gave up."""
        return NO_LEADER if self.role is Role.RESIGNED else self._election.leader_id

    @property
    def high_watermark(self) -> int:
        """First offset not known to be committed."""
        return self._high_watermark

    # -- feeding ------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Time has passed; `now_ms` is wall time, used as the timestamp of what is written.

        A voter that sees no leader starts an election. Alone it need not wait for anyone's heartbeat first.
        """
        if self.role is Role.UNATTACHED and self._me.key in self.voters:
            self._campaign(now_ms)

    def propose(self, values: Sequence[bytes], now_ms: int) -> LogBatch:
        """Append metadata records as one atomic batch; committed once the high watermark passes it.

        Raises:
            NotLeader: only the leader appends.
        """
        assert values, "an empty batch has no offset"
        if self.role is not Role.LEADER:
            raise NotLeader(f"node {self._me.key.node_id} is {self.role.value} in epoch {self.epoch}")
        return self._append(tuple((None, value) for value in values), now_ms, control=False)

    def step(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case LogFlushed(end_offset):
                if self._progress is not None and self._progress.record(self._me.key, end_offset):
                    self._high_watermark = max(self._high_watermark, self._progress.high_watermark or 0)
            case AppendFailed(base_offset):
                assert base_offset <= self.log_end, "only what was appended can fail"
                self.log_end = base_offset
                if self._progress is not None and base_offset <= self._progress.epoch_start:
                    self.resign()  # an epoch without its first entry must not get a second
            case FlushFailed():
                # After a failed fsync nothing says what is on disk, and a later success proves nothing.
                if self.role is Role.LEADER:
                    self.resign()

    def resign(self) -> None:
        """Stop leading; nothing more is appended in this epoch."""
        assert self.role is Role.LEADER, "only a leader resigns"
        self._progress = None
        # Nothing to save: we did lead this epoch, and the reason to resign may be the disk.
        self._become(Role.RESIGNED, self._election)

    # -- taking -------------------------------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """What to do next, None if nothing. Each thing is handed out once."""
        election = self._election if self._election != self._election_saved else None
        role = self.role if self.role is not self._role_told else None
        mark = self._high_watermark if self._high_watermark != self._high_watermark_told else None
        if election is None and not self._batches and role is None and mark is None:
            return None
        batches, self._batches = tuple(self._batches), []
        self._election_saved = self._election
        self._role_told = self.role
        self._high_watermark_told = self._high_watermark
        return Ready(election, batches, role, mark)

    # -- deciding -----------------------------------------------------------------------------------------

    def _campaign(self, now_ms: int) -> None:
        self._become(Role.CANDIDATE, ElectionState(self.epoch + 1, NO_LEADER, self._me.key))
        self._granted = {self._me.key}
        if self.voters.has_majority(self._granted):
            self._lead(now_ms)

    def _lead(self, now_ms: int) -> None:
        self._become(Role.LEADER, ElectionState(self.epoch, self._me.key.node_id))
        self._progress = Progress(self.voters, self.log_end)
        change = leader_change(self._me.key.node_id, self.voters, sorted(self._granted))
        records = [encode_control(change)]
        current = self.voters.updated(self._me)
        if not self._voters_in_log or current != self.voters:
            # The set of the bootstrap snapshot, and changed addresses of our own, become part of the log.
            self.voters = current
            self._voters_in_log = True
            records.append(encode_control(KRaftVersionRecord(version=0, kraft_version=KRAFT_VERSION)))
            records.append(encode_control(current.to_record()))
        self._append(tuple(records), now_ms, control=True)

    def _append(
        self, records: tuple[tuple[bytes | None, bytes], ...], now_ms: int, *, control: bool
    ) -> LogBatch:
        batch = LogBatch(self.log_end, self.epoch, now_ms, records, control)
        self.log_end = batch.next_offset
        self._batches.append(batch)
        return batch

    def _become(self, role: Role, election: ElectionState) -> None:
        assert role in TRANSITIONS[self.role], f"{self.role.value} may not become {role.value}"
        assert election.epoch >= self.epoch, "epochs never go back"
        self.role = role
        self._election = election
