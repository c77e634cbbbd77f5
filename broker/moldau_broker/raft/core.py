"""What every part of the raft core stands on: state, the one way to change the role, requests under way. Pure.

`RaftNode` is put together from parts by reason to change: this one, `election`, `following`, `leading` and
`membership`. Each builds on the one before; what a lower part needs of a higher one is declared here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.history import VoterHistory, VotersAt
from moldau_broker.raft.messages import (
    Answer,
    Failure,
    Fetched,
    Leader,
    LogBatch,
    LogRange,
    Peer,
    Piece,
    Ready,
    Send,
    SnapshotRange,
)
from moldau_broker.raft.protocol import peer_at
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.raft.roles import NEVER, Campaign, Following, Leading
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import NO_LEADER, TRANSITIONS, ElectionState, Role
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.storage.epochs import LeaderEpochs
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from random import Random

_BACKOFF_FIRST_MS: Final = 50
"""Upper bound of the random pause after a first lost election; doubles with each further one."""


class Initial(NamedTuple):
    """What the store found on disk.

    Attributes:
        election: content of the quorum-state file, None if there is none yet.
        voters: the voter sets of the newest snapshot and of the log after it.
        log_start, log_end: of the log; all of it is durable.
        epochs: (epoch, start offset), oldest first.
        snapshots: all that lie in the folder, oldest first.
        recovering: what the disk held is not all there any more (see `recovering`).
    """

    election: ElectionState | None = None
    voters: tuple[VotersAt, ...] = ()
    log_start: int = 0
    log_end: int = 0
    epochs: tuple[tuple[int, int], ...] = ()
    snapshots: tuple[SnapshotId, ...] = ()
    recovering: bool = False


class Sent(NamedTuple):
    """A request under way."""

    key: ApiKey
    to: Peer
    voter: VoterKey | None
    epoch: int
    role: Role
    deadline_ms: int
    request: Struct


class RaftCore:
    """State of one node. Use `RaftNode`.

    Attributes:
        me: this node.
        role: what it is in `epoch`.
        log_start, log_end: of the log, with what was handed out but not flushed.
        durable_end: end of what is known to be on disk.
        high_watermark: first offset not known to be committed; on a follower never above `durable_end`.
        history: the voter sets of the log.
        snapshots: on disk, oldest first.
        recovering: this node has no voice, as its disk has lost what it said; see `recovering`.
    """

    def __init__(
        self,
        me: Voter,
        initial: Initial,
        timing: RaftTiming,
        rng: Random,
        now_ms: int,
        *,
        cluster_id: str | None = None,
        bootstrap: Sequence[tuple[str, int]] = (),
        auto_join: bool = False,
    ) -> None:
        self.me = me
        self.timing = timing
        self.role = Role.UNATTACHED
        self.log_start, self.log_end = initial.log_start, initial.log_end
        self.durable_end = initial.log_end
        self.epochs = LeaderEpochs(initial.epochs)
        self.snapshots = initial.snapshots
        self.recovering = initial.recovering
        self.history = VoterHistory(initial.voters)
        self.high_watermark = max((snapshot.end_offset for snapshot in initial.snapshots), default=0)
        self._rng = rng
        self._now = now_ms
        self._wall = 0
        self._cluster_id = cluster_id
        own = {(at.host, at.port) for at in me.endpoints}
        self._bootstrap = [Peer(-1, host, port) for host, port in bootstrap if (host, port) not in own]
        self._auto_join = auto_join
        saved = initial.election or ElectionState()
        # A log entry of an epoch proves the epoch, whatever became of the file.
        last = self.last_epoch
        self._election = saved if saved.epoch >= last else ElectionState(last)
        self._election_saved: ElectionState | None = saved
        self._disk_failed = False
        self._following: Following | None = None
        self._campaign: Campaign | None = None
        self._leading: Leading | None = None
        self._election_ms = now_ms + rng.randint(0, timing.start_election_ms)
        self._discover_ms = now_ms
        self._leader_mark = self.high_watermark  # as the leader of this epoch says
        self._hand_over_ms = 0  # until when a resigned leader waits for its successor
        self._was_voter = False  # in this life of the process
        self._gone: set[VoterKey] = set()  # whose node answers without that disk, since there was a leader
        self._former_disk: Uuid | None = None  # for whose vote this node was asked, since then
        self._mending: set[VoterKey] = set()  # who said that it recovers and has no vote, since then
        self._led_ms = now_ms  # when there was a leader last
        self._attempts = 0  # elections lost in a row
        self._failures = 0  # requests for data that failed in a row
        self._disk_refusals = 0  # times in a row that the own disk did not take what was fetched
        self._sent: dict[int, Sent] = {}
        self._next_id = 1
        self._endpoints: dict[int, tuple[VoterEndpoint, ...]] = {}  # of leaders, as others told
        self._reset_outbox()
        self._role_told = self.role
        self._leader_told = Leader(NO_LEADER, self.epoch)
        self._high_watermark_told = self.high_watermark

    def _reset_outbox(self) -> None:
        self._truncate: int | None = None
        self._batches: list[LogBatch] = []
        self._fetched: Fetched | None = None
        self._piece: Piece | None = None
        self._answers: list[Answer] = []
        self._sends: list[Send] = []
        self._recovered = False

    @property
    def _outbox_is_empty(self) -> bool:
        things = self._batches or self._answers or self._sends or self._recovered
        return not things and self._truncate is None and self._fetched is None and self._piece is None

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._election.epoch

    @property
    def vote(self) -> int:
        """Node id of who has this node's vote in this epoch, `NO_LEADER` for nobody; a leader had its own."""
        if self.role is Role.LEADER:
            return self.me.key.node_id
        voted = self._election.voted
        return voted.node_id if voted is not None else NO_LEADER

    @property
    def voters(self) -> VoterSet:
        """The voter set in force: the newest of the log, committed or not (KIP-853)."""
        return self.history.newest

    @property
    def is_voter(self) -> bool:
        """Whether this node, with its present directory, has a vote and may use it."""
        return not self.recovering and self.me.key in self.history.newest

    @property
    def _is_alone(self) -> bool:
        """Whether the own vote is all it takes."""
        return self.is_voter and self.voters.majority == 1

    @property
    def leader_id(self) -> int:
        """Node id of this epoch's leader, `NO_LEADER` if none is known, or if it was us and we gave up."""
        known = self._election.leader_id
        if self.role is Role.LEADER or self.role is Role.FOLLOWER:
            return known
        # A node that led this epoch and gave up may be asking whether to hold an election, too.
        return known if self.role is Role.PROSPECTIVE and known != self.me.key.node_id else NO_LEADER

    @property
    def leader(self) -> Leader:
        """The leader, and where it listens."""
        node_id = self.leader_id
        return Leader(node_id, self.epoch, self._endpoints_of(node_id))

    @property
    def hears_leader(self) -> bool:
        """Whether this node leads, or its leader has answered and not been doubted since.

        To know a leader is less: alone among dead peers, a voter goes back to the dead leader after every question
        whether to elect another one.
        """
        following = self._following
        return self.role is Role.LEADER or (
            following is not None and following.heard and not following.suspect
        )

    @property
    def last_epoch(self) -> int:
        """Epoch of the last record, 0 if there is none."""
        if self.log_end > self.log_start and self.epochs.latest >= 0:
            return self.epochs.latest
        return self.snapshots[-1].epoch if self.snapshots else 0

    def _endpoints_of(self, node_id: int) -> tuple[VoterEndpoint, ...]:
        if node_id == self.me.key.node_id:
            return self.me.endpoints
        told = self._endpoints.get(node_id)
        if told:
            return told
        voter = self.voters.by_id(node_id)
        return voter.endpoints if voter is not None else ()

    # -- what higher parts do -----------------------------------------------------------------------------

    def _leave_leading(self, leading: Leading) -> None:
        raise NotImplementedError

    def _lead(self) -> None:
        raise NotImplementedError

    # -- changing the role --------------------------------------------------------------------------------

    def _become(self, role: Role, election: ElectionState) -> None:
        """The only way to change role, epoch, vote or leader."""
        assert role in TRANSITIONS[self.role], f"{self.role.value} may not become {role.value}"
        assert election.epoch >= self.epoch, "epochs never go back"
        leading, self._leading = self._leading, None
        self._following = self._campaign = None
        self._election_ms = NEVER
        self._leader_mark = self.high_watermark
        self.role = role
        self._election = election
        if leading is not None:
            self._leave_leading(leading)
        if role is Role.LEADER:
            self._found_leader()

    def _found_leader(self) -> None:
        """There is a leader after all: whoever is missing is the leader's to deal with."""
        self._gone.clear()
        self._mending.clear()
        self._former_disk, self._led_ms = None, self._now

    def _become_unattached(self, epoch: int, wait_ms: int | None = None) -> None:
        """No leader known; a voter asks for an election after a random wait, or after `wait_ms`.

        In the same epoch the vote, and the leader that was, stay: they must not be given another successor.
        """
        state = self._election if epoch == self.epoch else ElectionState(epoch)
        self._become(Role.UNATTACHED, state)
        self._election_ms = self._now + (self._election_timeout() if wait_ms is None else wait_ms)
        self._discover_ms = self._now

    def _become_follower(self, leader_id: int, epoch: int, endpoints: tuple[VoterEndpoint, ...] = ()) -> None:
        """`leader_id` leads `epoch`."""
        if endpoints:
            self._endpoints[leader_id] = endpoints
        peer = peer_at(leader_id, self._endpoints_of(leader_id))
        if peer is None:  # somebody else may know where it is
            if epoch > self.epoch or self.role is not Role.UNATTACHED:
                self._become_unattached(epoch)
            return
        self._become(Role.FOLLOWER, ElectionState(epoch, leader_id))
        self._following = Following(
            peer, self._now + self._fetch_timeout(), update_ms=self._now + self.timing.update_voter_ms // 4
        )
        self._discover_ms = self._now

    def _observe(self, leader: Leader) -> bool:
        """Somebody told of this leader and epoch; whether that changed anything here."""
        if leader.epoch < self.epoch or leader.node_id == self.me.key.node_id:
            if leader.epoch > self.epoch:  # our own former life led it
                self._become_unattached(leader.epoch)
                return True
            return False
        if leader.epoch > self.epoch:
            if leader.node_id >= 0:
                self._become_follower(leader.node_id, leader.epoch, leader.endpoints)
            else:
                self._become_unattached(leader.epoch)
            return True
        known = self.role in (Role.FOLLOWER, Role.PROSPECTIVE, Role.LEADER) and self.leader_id >= 0
        if leader.node_id < 0 or known:
            return False
        self._become_follower(leader.node_id, leader.epoch, leader.endpoints)
        return self.role is Role.FOLLOWER

    def _election_timeout(self) -> int:
        return self.timing.election_ms + self._rng.randint(0, self.timing.election_ms)

    def _fetch_timeout(self) -> int:
        """A little random: followers that were answered together must not lose patience together."""
        return self.timing.fetch_ms + self._rng.randint(0, self.timing.early_election_ms)

    def _backoff(self) -> int:
        """A random pause that grows with every election lost in a row (KIP-595, binary exponential)."""
        self._attempts += 1
        bound = min(_BACKOFF_FIRST_MS << min(self._attempts, 16), self.timing.backoff_max_ms)
        return self._rng.randint(1, max(bound, 1))

    def _pause(self) -> int:
        """The pause after a failed request for data; grows, so that nobody is asked in a tight loop."""
        self._failures += 1
        return self._growing_pause(self._failures)

    def _disk_pause(self) -> int:
        """The pause after the own disk refused what was fetched; the leader's good answers do not shorten it."""
        self._disk_refusals += 1
        return self._growing_pause(self._disk_refusals)

    def _growing_pause(self, times: int) -> int:
        longest = max(self.timing.retry_ms, self.timing.backoff_max_ms // 5)
        return min(self.timing.retry_ms << min(times - 1, 10), longest)

    # -- requests and answers -----------------------------------------------------------------------------

    def _send(self, key: ApiKey, to: Peer, request: Struct, voter: VoterKey | None = None) -> None:
        sent_id = self._next_id
        self._next_id += 1
        deadline = self._now + self.timing.request_ms
        self._sent[sent_id] = Sent(key, to, voter, self.epoch, self.role, deadline, request)
        self._sends.append(Send(sent_id, to, key, request))

    def _under_way(self, key: ApiKey, to: Peer) -> bool:
        """Whether an answer of this kind that still matters is waited for."""
        return any(
            sent.key is key and sent.to == to and sent.epoch == self.epoch and sent.role is self.role
            for sent in self._sent.values()
        )

    def _any_under_way(self, *keys: ApiKey) -> bool:
        for sent in self._sent.values():
            if sent.key in keys and sent.epoch == self.epoch and sent.role is self.role:
                return True
        return False

    def _answer(self, token: Any, response: Struct, data: LogRange | SnapshotRange | None = None) -> None:
        self._answers.append(Answer(token, response, data))

    def _expired(self) -> list[tuple[Sent, Failure]]:
        """Requests whose time is over, taken out."""
        if not self._sent:
            return []
        late = [sent_id for sent_id, sent in self._sent.items() if sent.deadline_ms <= self._now]
        return [(self._sent.pop(sent_id), Failure.TIMED_OUT) for sent_id in late]

    # -- taking -------------------------------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """What to do next, None if nothing. Each thing is handed out once."""
        election = self._election if self._election != self._election_saved else None
        role = self.role if self.role is not self._role_told else None
        leader = self.leader
        told = leader if leader != self._leader_told else None
        mark = self.high_watermark if self.high_watermark != self._high_watermark_told else None
        if told is None and mark is None and role is None and election is None and self._outbox_is_empty:
            return None
        ready = Ready(
            election,
            self._truncate,
            tuple(self._batches),
            self._fetched,
            self._piece,
            tuple(self._answers),
            tuple(self._sends),
            role,
            told,
            mark,
            self._recovered,
        )
        self._reset_outbox()
        self._election_saved = self._election
        self._role_told = self.role
        self._leader_told = leader
        self._high_watermark_told = self.high_watermark
        return ready
