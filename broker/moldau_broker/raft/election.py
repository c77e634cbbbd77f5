"""Who leads: pre-votes, votes, the beginning and the end of epochs. Pure.

Raft section 5.2 and 5.4.1 in KRaft's words (KIP-595), pre-vote (KIP-996), voters by id and directory
(KIP-853).
"""

from __future__ import annotations

from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.raft.core import Sent
from moldau_broker.raft.lost_votes import LostVotes
from moldau_broker.raft.messages import Request
from moldau_broker.raft.protocol import (
    Told,
    asked_partition,
    begin_answer,
    end_answer,
    peer_at,
    vote_answer,
    vote_request,
    whole_error,
)
from moldau_broker.raft.quorum import VoterEndpoint, VoterKey
from moldau_broker.raft.recovering import Recovery
from moldau_broker.raft.roles import Campaign
from moldau_broker.raft.state import NO_LEADER, ElectionState, Role
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.vote import VoteRequestPartitionData
from moldau_broker.wire.schema import ZERO_UUID

_EPOCHS_AHEAD_MAX: Final = 2**20
"""Elections that can have happened unseen: days of them without a pause. A request that names a later epoch is mad,
and would use up the int32 of all epochs to come; who was away for longer learns the epoch from whom it asks."""


class Election(Recovery):
    """The part of the core that elects. Use `RaftNode`."""

    @property
    def lost_votes(self) -> LostVotes | None:
        """Why there is no leader and will be none, as far as this node can tell; None while there may be one."""
        if self.role is Role.LEADER or self.hears_leader:
            return None
        voters = self.voters
        if self.recovering:
            waits = self._now - self._led_ms >= 2 * self.timing.check_quorum_ms
            return LostVotes(len(voters), (), None, (self.me.key,)) if waits else None
        gone = tuple(key for key in voters.keys if key in self._gone)
        mending = tuple(key for key in voters.keys if key in self._mending)
        own = self._former_disk if voters.by_id(self.me.key.node_id) is None else None
        lost = len(gone) + len(mending)
        if own is None and (not lost or len(voters) - lost >= voters.majority):
            return None
        return LostVotes(len(voters), gone, own, mending)

    # -- asking -------------------------------------------------------------------------------------------

    def _tick_election(self) -> None:
        """Time has passed for a node that neither leads nor follows."""
        if self._disk_failed:
            return
        match self.role:
            case Role.UNATTACHED if self.is_voter:
                if self._now >= self._election_ms or self._is_alone:
                    self._ask_whether()
            case Role.PROSPECTIVE | Role.CANDIDATE:
                assert self._campaign is not None, "a campaign runs"
                if self._now >= self._campaign.deadline_ms:
                    self._campaign_over()
            case Role.RESIGNED if self._now >= self._election_ms:
                self._become_unattached(self.epoch, 0)

    def _campaign_over(self) -> None:
        if self.role is Role.CANDIDATE:
            self._ask_whether()
        elif self.leader_id >= 0:
            self._follow_again()
        else:
            self._become_unattached(self.epoch, self._backoff())

    def _follow_again(self) -> None:
        """Back to the leader a majority still hears from; without an answer of it we ask again soon.

        Until it answers we would support others who ask, or two followers could refuse each other for ever.
        """
        self._become_follower(self._election.leader_id, self.epoch)
        if self._following is not None:
            self._following.suspect = True
            self._following.ask_ms = self._now + self._backoff()

    def _ask_whether(self) -> None:
        """Begin a pre-vote: nothing of it is written down."""
        self._become(Role.PROSPECTIVE, self._election)
        self._campaign = Campaign(self._now + self._election_timeout(), {self.me.key})
        self._count_votes()

    def _run(self) -> None:
        """Begin an election in a new epoch; the own vote is on disk before any other is asked for."""
        self._become(Role.CANDIDATE, ElectionState(self.epoch + 1, NO_LEADER, self.me.key))
        self._campaign = Campaign(self._now + self._election_timeout(), {self.me.key})
        self._count_votes()

    def _count_votes(self) -> None:
        campaign = self._campaign
        assert campaign is not None, "a campaign runs"
        if self.voters.has_majority(campaign.granted):
            if self.role is Role.PROSPECTIVE:
                self._run()
            else:
                self._lead()
            return
        reachable = [key for key in self.voters.keys if key not in campaign.rejected]
        if not campaign.lost and len(reachable) < self.voters.majority:
            campaign.lost = True
            campaign.deadline_ms = min(campaign.deadline_ms, self._now + self._backoff())

    def _ask_voters(self) -> None:
        """Send the vote requests that are due."""
        campaign = self._campaign
        if campaign is None or campaign.lost:
            return
        for voter in self.voters.voters:
            key = voter.key
            peer = peer_at(key.node_id, voter.endpoints)
            if (
                peer is None
                or key in campaign.granted
                or key in campaign.rejected
                or campaign.retry_ms.get(key, 0) > self._now
                or self._under_way(ApiKey.VOTE, peer)
            ):
                continue
            partition = VoteRequestPartitionData(
                replica_epoch=self.epoch,
                replica_id=self.me.key.node_id,
                replica_directory_id=self.me.key.directory_id,
                voter_directory_id=key.directory_id,
                last_offset_epoch=self.last_epoch,
                last_offset=self.log_end,
                pre_vote=self.role is Role.PROSPECTIVE,
            )
            request = vote_request(self._cluster_id, key.node_id, partition)
            self._send(ApiKey.VOTE, peer, request, key)

    def _on_vote_answer(self, sent: Sent, told: Told | None) -> None:
        """A vote, or a refusal, or (None) no answer."""
        if told is not None and sent.voter is not None:
            if told.error is ErrorCode.INVALID_VOTER_KEY:
                self._gone.add(sent.voter)
            else:
                self._gone.discard(sent.voter)
            if told.error is ErrorCode.KAFKA_STORAGE_ERROR:
                self._mending.add(sent.voter)
            else:
                self._mending.discard(sent.voter)
        if told is not None and self._observe(told.leader):
            return
        campaign, key = self._campaign, sent.voter
        if campaign is None or key is None or sent.epoch != self.epoch or sent.role is not self.role:
            return
        if told is None or told.error is not ErrorCode.NONE:
            campaign.retry_ms[key] = self._now + max(self.timing.retry_ms, self.timing.backoff_max_ms // 5)
        elif told.partition.vote_granted:
            campaign.granted.add(key)
            self._count_votes()
        else:
            campaign.rejected.add(key)
            self._count_votes()

    # -- being asked --------------------------------------------------------------------------------------

    def _on_vote(self, event: Request) -> None:
        request: Any = event.request
        asked = asked_partition(event.key, request)
        refusal = self._refusal(event, asked)
        if refusal is not None:
            self._answer(event.token, whole_error(event.key, refusal))
        elif asked.replica_id < 0:
            self._answer(event.token, vote_answer(ErrorCode.INVALID_REQUEST, self.leader))
        elif asked.replica_epoch < self.epoch:
            self._answer(event.token, vote_answer(ErrorCode.FENCED_LEADER_EPOCH, self.leader))
        elif not self._is_me(request.voter_id, asked.voter_directory_id):
            if request.voter_id == self.me.key.node_id:
                self._former_disk = Uuid(asked.voter_directory_id)
            self._answer(event.token, vote_answer(ErrorCode.INVALID_VOTER_KEY, self.leader))
        else:
            if asked.replica_epoch > self.epoch:
                self._become_unattached(asked.replica_epoch)
            if self.recovering:
                self._answer(event.token, vote_answer(ErrorCode.KAFKA_STORAGE_ERROR, self.leader))
                return
            candidate = VoterKey(asked.replica_id, asked.replica_directory_id)
            granted = self._grants(candidate, asked)
            if granted and not asked.pre_vote and self._election.voted != candidate:
                self._become(Role.UNATTACHED, ElectionState(self.epoch, NO_LEADER, candidate))
                self._election_ms = self._now + self._election_timeout()
            self._answer(event.token, vote_answer(ErrorCode.NONE, self.leader, granted=granted))

    def _grants(self, candidate: VoterKey, asked: VoteRequestPartitionData) -> bool:
        """Raft section 5.4.1, and for pre-votes KIP-996."""
        if self._disk_failed or self.recovering:
            return False
        if (asked.last_offset_epoch, asked.last_offset) < (self.last_epoch, self.log_end):
            return False
        if asked.pre_vote:
            if self.role is Role.FOLLOWER:
                assert self._following is not None, "a follower follows"
                return self._following.suspect or not self._following.heard
            return self.role is not Role.LEADER
        if self._election.leader_id >= 0 or self.role not in (Role.UNATTACHED, Role.PROSPECTIVE):
            return False
        return self._election.voted in (None, candidate)

    def _is_me(self, node_id: int, directory_id: bytes) -> bool:
        """Whether a request means this node with its present disk (KIP-853); older versions name neither."""
        named = node_id < 0 or node_id == self.me.key.node_id
        return named and directory_id in (ZERO_UUID, self.me.key.directory_id)

    def _refusal(self, event: Request, asked: Any) -> ErrorCode | None:
        """Why the whole request is refused, if it is."""
        cluster_id = getattr(event.request, "cluster_id", None)
        if self._cluster_id is not None and cluster_id is not None and cluster_id != self._cluster_id:
            return ErrorCode.INCONSISTENT_CLUSTER_ID
        if asked is None:
            return ErrorCode.INVALID_REQUEST
        named = getattr(asked, "replica_epoch" if event.key is ApiKey.VOTE else "leader_epoch", 0)
        return ErrorCode.INVALID_REQUEST if named > self.epoch + _EPOCHS_AHEAD_MAX else None

    def _may_lead(self, asked: Any) -> bool:
        """Whether the request comes from somebody else who may lead its epoch: an epoch has one leader."""
        return asked.leader_id not in (NO_LEADER, self.me.key.node_id) and (
            asked.leader_epoch != self.epoch or self._election.leader_id in (NO_LEADER, asked.leader_id)
        )

    # -- epochs begin and end -----------------------------------------------------------------------------

    def _on_begin(self, event: Request) -> None:
        """A leader makes itself known (BeginQuorumEpoch)."""
        request: Any = event.request
        asked = asked_partition(event.key, request)
        refusal = self._refusal(event, asked)
        if refusal is not None:
            self._answer(event.token, whole_error(event.key, refusal))
            return
        error = ErrorCode.NONE
        if asked.leader_epoch < self.epoch:
            error = ErrorCode.FENCED_LEADER_EPOCH
        elif not self._is_me(request.voter_id, asked.voter_directory_id):
            error = ErrorCode.INVALID_VOTER_KEY
        elif not self._may_lead(asked):
            error = ErrorCode.INVALID_REQUEST
        else:
            endpoints = tuple(VoterEndpoint(at.name, at.host, at.port) for at in request.leader_endpoints)
            following = self.role is Role.FOLLOWER and asked.leader_epoch == self.epoch
            if not following:
                self._become_follower(asked.leader_id, asked.leader_epoch, endpoints)
        self._answer(event.token, begin_answer(error, self.leader))

    def _on_end(self, event: Request) -> None:
        """A leader resigns (EndQuorumEpoch); the first successor it names runs at once, the next ones later."""
        request: Any = event.request
        asked = asked_partition(event.key, request)
        refusal = self._refusal(event, asked)
        if refusal is not None:
            self._answer(event.token, whole_error(event.key, refusal))
            return
        if asked.leader_epoch < self.epoch:
            self._answer(event.token, end_answer(ErrorCode.FENCED_LEADER_EPOCH, self.leader))
            return
        if not self._may_lead(asked):
            self._answer(event.token, end_answer(ErrorCode.INVALID_REQUEST, self.leader))
            return
        if asked.leader_epoch > self.epoch:
            self._become_unattached(asked.leader_epoch)
        self._succeed(asked)
        self._answer(event.token, end_answer(ErrorCode.NONE, self.leader))

    def _succeed(self, asked: Any) -> None:
        """What a voter makes of its leader's resignation."""
        if not self.is_voter or self._disk_failed:
            if self.role is Role.FOLLOWER:
                self._become_unattached(self.epoch)
            return
        successors = [
            VoterKey(one.candidate_id, one.candidate_directory_id) for one in asked.preferred_candidates
        ]
        place = successors.index(self.me.key) if self.me.key in successors else len(successors)
        if self.role is Role.FOLLOWER and place == 0:
            self._run()  # without a pre-vote: the leader itself says that it is gone
        elif self.role is Role.FOLLOWER and self._following is not None:
            self._following.suspect = True
            wait = self.timing.early_election_ms * place + self._rng.randint(0, self.timing.early_election_ms)
            self._following.ask_ms = min(self._following.ask_ms, self._now + wait)
        elif self.role is Role.UNATTACHED and self._election.voted is None:
            self._election_ms = min(self._election_ms, self._now + self.timing.early_election_ms * place)
