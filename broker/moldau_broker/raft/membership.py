"""Voters come, go and move: AddRaftVoter, RemoveRaftVoter, UpdateRaftVoter, and joining by itself. Pure.

KIP-853: one change at a time, after the leader has committed in its own epoch; a new set is in force as soon
as it is appended. A new voter is asked first whether it can run the quorum's kraft.version, and must have caught up,
or the quorum would wait for it. Source of the order and the errors: Kafka's AddVoterHandler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.leading import Leadership
from moldau_broker.raft.messages import Request
from moldau_broker.raft.protocol import (
    add_answer,
    peer_at,
    remove_answer,
    supported_range,
    update_answer,
    versions_request,
)
from moldau_broker.raft.quorum import (
    KRAFT_VERSION,
    KRAFT_VERSION_FEATURE,
    Voter,
    VoterEndpoint,
    VoterKey,
    VoterSet,
)
from moldau_broker.raft.roles import NEVER, Leading, NewVoter, VoterChange
from moldau_broker.raft.state import Role
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest
from moldau_broker.wire.messages.add_raft_voter import Listener as AddedListener
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest
from moldau_broker.wire.messages.update_raft_voter import KRaftVersionFeature, UpdateRaftVoterRequest
from moldau_broker.wire.messages.update_raft_voter import Listener as UpdatedListener
from moldau_broker.wire.schema import ZERO_UUID, Struct

if TYPE_CHECKING:
    from moldau_broker.raft.core import Sent
    from moldau_broker.wire.messages.api_versions import ApiVersionsResponse

_CHANGE_MS_MAX: Final = 30_000
"""How long the commit of a change is waited for at most: what Kafka's tools allow an admin request."""

_MEMBERSHIP: Final = (ApiKey.ADD_RAFT_VOTER, ApiKey.REMOVE_RAFT_VOTER, ApiKey.UPDATE_RAFT_VOTER)


class Membership(Leadership):
    """The part of the core that changes the voters. Use `RaftNode`."""

    # -- as the leader ------------------------------------------------------------------------------------

    def _on_change(self, event: Request) -> None:
        """A voter is to be added, removed or updated."""
        refused = self._change_refusal(event)
        if refused is None:
            match event.key:
                case ApiKey.ADD_RAFT_VOTER:
                    refused = self._add(event)
                case ApiKey.REMOVE_RAFT_VOTER:
                    refused = self._remove(event)
                case _:
                    refused = self._update(event)
        if refused is not None:
            self._answer(event.token, self._change_answer(event.key, *refused))

    def _change_refusal(self, event: Request) -> tuple[ErrorCode, str] | None:
        """What stands against any change."""
        request: Any = event.request
        if self._cluster_id is not None and request.cluster_id not in (None, "", self._cluster_id):
            return ErrorCode.INCONSISTENT_CLUSTER_ID, f"this is cluster {self._cluster_id}"
        epoch = request.current_leader_epoch if event.key is ApiKey.UPDATE_RAFT_VOTER else -1
        error = self._leader_refusal(epoch)
        if error is not None:
            return error, f"node {self.me.key.node_id} is {self.role.value} in epoch {self.epoch}"
        leading = self._leading
        assert leading is not None, "the leader leads"
        if request.voter_id < 0 or request.voter_directory_id == ZERO_UUID:
            return ErrorCode.INVALID_REQUEST, "a voter has a node id and a directory id"
        if leading.progress.high_watermark is None:
            return ErrorCode.REQUEST_TIMED_OUT, "the leader has not committed anything in its epoch yet"
        if leading.newcomer is not None or self.history.newest_offset >= self.high_watermark:
            return ErrorCode.REQUEST_TIMED_OUT, "another change of the voters is under way"
        return None

    def _add(self, event: Request) -> tuple[ErrorCode, str] | None:
        request: Any = event.request
        key = VoterKey(request.voter_id, request.voter_directory_id)
        if self.voters.by_id(key.node_id) is not None:
            return ErrorCode.DUPLICATE_VOTER, f"node {key.node_id} is a voter already"
        endpoints = tuple(VoterEndpoint(at.name, at.host, at.port) for at in request.listeners)
        if not endpoints or not all(at.host and at.port for at in endpoints):
            return ErrorCode.INVALID_REQUEST, "a voter has a listener with host and port"
        leading = self._leading
        peer = peer_at(key.node_id, endpoints)
        assert leading is not None, "the leader leads"
        assert peer is not None, "it has a listener"
        deadline = self._now + max(0, min(request.timeout_ms, _CHANGE_MS_MAX))
        leading.newcomer = NewVoter(event, key, endpoints, deadline)
        self._send(ApiKey.API_VERSIONS, peer, versions_request(), key)
        return None

    def _on_versions_answer(self, sent: Sent, response: ApiVersionsResponse | None) -> None:
        """The newcomer has said what it can run, or has not answered: make it a voter, or say why not."""
        leading = self._leading
        newcomer = leading.newcomer if leading is not None and sent.epoch == self.epoch else None
        if leading is None or newcomer is None or newcomer.key != sent.voter:
            return  # whoever asked for it has been answered
        leading.newcomer = None
        refused, levels = self._newcomer_refusal(newcomer.key, response)
        if refused is not None:
            self._answer(newcomer.request.token, add_answer(*refused))
            return
        voters = self.voters.with_voter(Voter(newcomer.key, newcomer.endpoints, levels))
        self._change(newcomer.request, voters, newcomer.deadline_ms - self._now)

    def _newcomer_refusal(
        self, key: VoterKey, response: ApiVersionsResponse | None
    ) -> tuple[tuple[ErrorCode, str] | None, tuple[int, int]]:
        """What stands against it, and the levels of kraft.version it can run."""
        if response is None or response.error_code:
            problem = "did not answer" if response is None else f"answered error {response.error_code}"
            return (ErrorCode.REQUEST_TIMED_OUT, f"node {key} was asked what it can run and {problem}"), (
                0,
                0,
            )
        levels = supported_range(response, KRAFT_VERSION_FEATURE)
        if levels is None or not levels[0] <= KRAFT_VERSION <= levels[1]:
            can = f"levels {levels[0]} to {levels[1]}" if levels is not None else "no level"
            text = f"the quorum runs kraft.version {KRAFT_VERSION}; node {key} can run {can} of it"
            return (ErrorCode.INVALID_REQUEST, text), (0, 0)
        if not self._caught_up(key):
            return (ErrorCode.REQUEST_TIMED_OUT, f"node {key} has not caught up with the log"), levels
        return None, levels

    def _caught_up(self, key: VoterKey) -> bool:
        leading = self._leading
        replica = leading.replicas.get(key) if leading is not None else None
        if replica is None or replica.caught_up_ms < 0:
            return False
        return replica.caught_up_ms >= self._now - 2 * self.timing.fetch_ms

    def _remove(self, event: Request) -> tuple[ErrorCode, str] | None:
        request: Any = event.request
        key = VoterKey(request.voter_id, request.voter_directory_id)
        if key not in self.voters:
            return ErrorCode.VOTER_NOT_FOUND, f"node {key} is no voter"
        if len(self.voters) == 1:
            return ErrorCode.INVALID_REQUEST, "a quorum keeps its last voter"
        left = self.voters.without(key)
        silent = self._silent(left)
        if len(left) - len(silent) < left.majority:
            names = ", ".join(str(one.node_id) for one in silent)
            return ErrorCode.INVALID_REQUEST, (
                f"the {len(left)} voters left could not commit anything: {names} {'do' if len(silent) > 1 else 'does'} "
                "not fetch, or recovers and has no vote yet; bring back, or remove, those first"
            )
        self._change(event, left, _CHANGE_MS_MAX)
        return None

    def _silent(self, voters: VoterSet) -> list[VoterKey]:
        """Those that recover, or that this leader has not heard for as long as it goes on without a majority."""
        leading = self._leading
        assert leading is not None, "the leader leads"
        since, recovering = self._now - self.timing.check_quorum_ms, self._who_recovers()
        return [
            key
            for key in voters.keys
            if key != self.me.key and (key.node_id in recovering or self._heard_ms(leading, key) <= since)
        ]

    def _update(self, event: Request) -> tuple[ErrorCode, str] | None:
        request: Any = event.request
        key = VoterKey(request.voter_id, request.voter_directory_id)
        if key not in self.voters:
            return ErrorCode.VOTER_NOT_FOUND, f"node {key} is no voter"
        endpoints = tuple(VoterEndpoint(at.name, at.host, at.port) for at in request.listeners)
        if not endpoints:
            return ErrorCode.INVALID_REQUEST, "a voter has a listener"
        levels = request.kraft_version_feature
        if not levels.min_supported_version <= KRAFT_VERSION <= levels.max_supported_version:
            return ErrorCode.INVALID_REQUEST, f"the quorum runs kraft.version {KRAFT_VERSION}"
        voter = Voter(key, endpoints, (levels.min_supported_version, levels.max_supported_version))
        updated = self.voters.updated(voter)
        if updated == self.voters and not self._who_recovers():
            self._answer(event.token, update_answer(ErrorCode.NONE, self.leader))
            return None
        self._change(event, updated, _CHANGE_MS_MAX)
        return None

    def _who_recovers(self) -> set[int]:
        """Ids of members that fetch without a voice, and need something new to be committed (see `recovering`)."""
        leading = self._leading
        assert leading is not None, "the leader leads"
        since = self._now - self.timing.check_quorum_ms
        found = set()
        for key, replica in leading.replicas.items():
            if key.directory_id == ZERO_UUID and replica.fetched_ms > since:
                voter = self.voters.by_id(key.node_id)
                voiced = leading.replicas.get(voter.key) if voter is not None else None
                if voiced is None or voiced.fetched_ms < replica.fetched_ms:
                    found.add(key.node_id)
        return found

    def _change(self, event: Request, voters: VoterSet, timeout_ms: int) -> None:
        leading = self._leading
        assert leading is not None, "the leader leads"
        if leading.change is not None:  # its change is committed or its time was over
            self._finish_change(leading, ErrorCode.REQUEST_TIMED_OUT, "another change came first")
        if getattr(event.request, "ack_when_committed", True):
            deadline = self._now + max(0, min(timeout_ms, _CHANGE_MS_MAX))
            leading.change = VoterChange(event.token, event.key, NEVER, deadline)
        else:
            self._answer(event.token, self._change_answer(event.key, ErrorCode.NONE))
        end = self._append_voters(voters)
        if leading.change is not None:
            leading.change.end_offset = end
        if self._leading is leading:
            self._committed(leading)
            self._tell_waiting()

    def _committed(self, leading: Leading) -> None:
        """The high watermark is where it is: answer who waits for a change; go if we were removed."""
        change = leading.change
        if change is not None and change.end_offset <= self.high_watermark:
            self._finish_change(leading, ErrorCode.NONE, None)
        self._was_voter = True
        removed = not self.is_voter and 0 <= self.history.newest_offset < self.high_watermark
        if removed and self._leading is leading and self.role is Role.LEADER:
            self._tell_waiting()
            self.resign()

    def _tick_change(self) -> None:
        leading = self._leading
        if leading is None:
            return
        newcomer = leading.newcomer
        if newcomer is not None and newcomer.deadline_ms <= self._now:
            leading.newcomer = None
            text = f"node {newcomer.key} has not said yet what it can run; it was not added"
            self._answer(newcomer.request.token, add_answer(ErrorCode.REQUEST_TIMED_OUT, text))
        if leading.change is not None and leading.change.deadline_ms <= self._now:
            self._finish_change(leading, ErrorCode.REQUEST_TIMED_OUT, "not committed yet; it may be later")

    def _finish_change(self, leading: Leading, error: ErrorCode, message: str | None) -> None:
        change, leading.change = leading.change, None
        assert change is not None, "somebody waits"
        self._answer(change.token, self._change_answer(change.key, error, message))

    def _leave_leading(self, leading: Leading) -> None:
        super()._leave_leading(leading)
        newcomer, leading.newcomer = leading.newcomer, None
        if newcomer is not None:
            text = f"the leader changed; node {newcomer.key} was not added"
            self._answer(newcomer.request.token, add_answer(ErrorCode.NOT_LEADER_OR_FOLLOWER, text))
        if leading.change is not None:
            self._finish_change(
                leading,
                ErrorCode.NOT_LEADER_OR_FOLLOWER,
                "the leader changed; look whether the change was made",
            )

    def _change_answer(self, key: ApiKey, error: ErrorCode, message: str | None = None) -> Struct:
        match key:
            case ApiKey.ADD_RAFT_VOTER:
                return add_answer(error, message)
            case ApiKey.REMOVE_RAFT_VOTER:
                return remove_answer(error, message)
            case _:
                return update_answer(error, self.leader)

    # -- as a follower ------------------------------------------------------------------------------------

    def _keep_membership(self) -> None:
        """Ask the leader to bring our own entry in line: new addresses, a new disk, or no entry yet.

        A node that saw itself removed does not ask again before it is started anew.
        """
        following = self._following
        if following is None or not following.heard or self._now < following.update_ms:
            return
        following.update_ms = self._now + self.timing.update_voter_ms
        request = self._wish()
        if request is not None and not self._any_under_way(*_MEMBERSHIP):
            self._send(_key_of(request), following.leader, request)

    def _update_request(self, voter: Voter) -> Struct:
        return UpdateRaftVoterRequest(
            cluster_id=self._cluster_id,
            current_leader_epoch=self.epoch,
            voter_id=voter.key.node_id,
            voter_directory_id=voter.key.directory_id,
            listeners=tuple(
                UpdatedListener(name=at.name, host=at.host, port=at.port) for at in voter.endpoints
            ),
            kraft_version_feature=KRaftVersionFeature(
                min_supported_version=voter.kraft_versions[0],
                max_supported_version=voter.kraft_versions[1],
            ),
        )

    def _wish(self) -> Struct | None:
        key = self.me.key
        if self.recovering:
            entry = self._entry_to_renew
            return self._update_request(entry) if entry is not None else None
        present = self.voters.by_id(key.node_id)
        if present == self.me or not len(self.voters):
            return None
        if present is not None and present.key == key:
            return self._update_request(self.me)
        if not self._auto_join or self._was_voter or not self.me.endpoints:
            return None
        if present is not None:  # our id votes with a disk we have no more
            return RemoveRaftVoterRequest(
                cluster_id=self._cluster_id,
                voter_id=key.node_id,
                voter_directory_id=present.key.directory_id,
            )
        return AddRaftVoterRequest(
            cluster_id=self._cluster_id,
            timeout_ms=self.timing.request_ms,
            voter_id=key.node_id,
            voter_directory_id=key.directory_id,
            listeners=tuple(
                AddedListener(name=at.name, host=at.host, port=at.port) for at in self.me.endpoints
            ),
            ack_when_committed=False,  # our own disk may be needed for the commit
        )


def _key_of(request: Struct) -> ApiKey:
    key = request.__schema__.key
    assert key is not None, "requests have a key"
    return ApiKey(key)
