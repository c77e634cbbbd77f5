"""The leader: its epoch's first entry, answers to fetches, what is committed, and when to give up. Pure.

Check-quorum: a leader that a majority did not fetch from for a while resigns, so that its clients turn to the
one the others may have elected. A waiting Fetch is answered as soon as there is data or the high watermark
is above the one it stated (KIP-1166).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.raft.control import encode_control, leader_change
from moldau_broker.raft.core import Sent
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.following import Followership
from moldau_broker.raft.messages import LogBatch, LogRange, Request, SnapshotRange
from moldau_broker.raft.progress import Progress, Replica
from moldau_broker.raft.protocol import (
    Told,
    asked_partition,
    begin_request,
    end_request,
    fetch_answer,
    fetch_snapshot_answer,
    peer_at,
    whole_error,
)
from moldau_broker.raft.quorum import KRAFT_VERSION, VoterKey, VoterSet
from moldau_broker.raft.roles import NEVER, Leading, WaitingFetch
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.raft.timing import FETCH_BYTES_MAX, OBSERVER_SESSION_MS, SNAPSHOT_PIECE_BYTES
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import EpochEndOffset, FetchPartition, PartitionData
from moldau_broker.wire.messages.fetch import SnapshotId as FetchSnapshotId
from moldau_broker.wire.messages.fetch_snapshot import FetchSnapshotResponsePartitionSnapshot
from moldau_broker.wire.messages.raft_records import KRaftVersionRecord
from moldau_broker.wire.schema import EMPTY_RECORDS


class Leadership(Followership):
    """The part of the core that leads. Use `RaftNode`."""

    # -- beginning and ending -----------------------------------------------------------------------------

    def _lead(self) -> None:
        """The election is won: the first entry of the epoch says so."""
        campaign = self._campaign
        assert campaign is not None, "votes were counted"
        granted = sorted(key for key in campaign.granted if key in self.voters)
        self._become(Role.LEADER, ElectionState(self.epoch, self.me.key.node_id))
        self._attempts = 0
        records = [encode_control(leader_change(self.me.key.node_id, self.voters, granted))]
        current = self.voters.updated(self.me) if self.is_voter else self.voters
        start = self.log_end
        self._leading = Leading(Progress(current, start), self._now)
        if self.history.newest_offset < 0 or current != self.voters:
            # The set of the bootstrap snapshot, and changed addresses of our own, become part of the log.
            records += voters_records(current)
            self.history.append(start, current)
        self._append(tuple(records), control=True)

    def resign(self, *, handing_over: bool = True) -> None:
        """Stop leading; nothing more is appended in this epoch.

        Unless the reason is that nobody listens, the voters are told who should follow, best first.
        """
        leading = self._leading
        assert leading is not None, "only a leader resigns"
        others = [key for key in self.voters.keys if key != self.me.key]
        ends = {key: replica.end for key, replica in leading.replicas.items()}
        preferred = sorted(others, key=lambda key: (-ends.get(key, -1), key))
        leader = self.leader
        # Nothing to save: we did lead this epoch, and the reason to resign may be the disk.
        self._become(Role.RESIGNED, self._election)
        self._election_ms = self._now + self._election_timeout()
        if handing_over:
            request = end_request(self._cluster_id, leader, tuple((key[0], key[1]) for key in preferred))
            for key in preferred:
                voter = self.voters.by_id(key.node_id)
                peer = peer_at(key.node_id, voter.endpoints) if voter is not None else None
                if peer is not None:
                    self._send(ApiKey.END_QUORUM_EPOCH, peer, request, key)

    @property
    def handing_over(self) -> bool:
        """Whether a resigned leader is still needed: to tell its successors, and in a quorum of two for its vote.

        Over when somebody leads, when nobody could be told, or after an election time-out.
        """
        telling = any(sent.key is ApiKey.END_QUORUM_EPOCH for sent in self._sent.values())
        return self.leader_id < 0 and (telling or self._now < self._hand_over_ms)

    def _leave_leading(self, leading: Leading) -> None:
        for waiting in leading.waiting:
            self._answer(waiting.token, self._fetch_error(ErrorCode.NOT_LEADER_OR_FOLLOWER))

    # -- writing ------------------------------------------------------------------------------------------

    def propose(self, values: Sequence[bytes], wall_ms: int) -> LogBatch:
        """Append metadata records as one atomic batch; committed once the high watermark passes it.

        Raises:
            NotLeader: only the leader appends.
        """
        assert values, "an empty batch has no offset"
        if self.role is not Role.LEADER:
            raise NotLeader(f"node {self.me.key.node_id} is {self.role.value} in epoch {self.epoch}")
        self._wall = wall_ms
        batch = self._append(tuple((None, value) for value in values), control=False)
        self._tell_waiting()
        return batch

    def _append(self, records: tuple[tuple[bytes | None, bytes], ...], *, control: bool) -> LogBatch:
        batch = LogBatch(self.log_end, self.epoch, self._wall, records, control)
        self.log_end = batch.next_offset
        self.epochs.assign(self.epoch, batch.base_offset)
        self._batches.append(batch)
        return batch

    def _append_voters(self, voters: VoterSet) -> int:
        """Write a new voter set, in force from here on; the offset after it."""
        leading = self._leading
        assert leading is not None, "the leader writes"
        batch = self._append((encode_control(voters.to_record()),), control=True)
        self.history.append(batch.base_offset, voters)
        if leading.progress.set_voters(voters):
            self._advance(leading)
        return batch.next_offset

    def _advance(self, leading: Leading) -> None:
        self.high_watermark = max(self.high_watermark, leading.progress.high_watermark or 0)
        self._committed(leading)

    def _committed(self, leading: Leading) -> None:
        raise NotImplementedError

    # -- time ---------------------------------------------------------------------------------------------

    def _tick_leading(self) -> None:
        leading = self._leading
        if leading is None:
            return
        if self._quorum_deadline(leading) <= self._now:
            self.resign(handing_over=False)
            return
        gone = [
            key
            for key, replica in leading.replicas.items()
            if key not in self.voters and replica.fetched_ms + OBSERVER_SESSION_MS <= self._now
        ]
        for key in gone:
            del leading.replicas[key]

    def _quorum_deadline(self, leading: Leading) -> int:
        """Until when the fetches of a majority keep this leader in office."""
        voters = self.voters
        needed = voters.majority - (1 if self.is_voter else 0)
        if needed <= 0:
            return NEVER
        heard = [self._heard_ms(leading, key) for key in voters.keys if key != self.me.key]
        heard.sort(reverse=True)
        return heard[needed - 1] + self.timing.check_quorum_ms

    def _heard_ms(self, leading: Leading, key: VoterKey) -> int:
        """When another voter fetched last; the epoch's beginning counts as one."""
        replica = leading.replicas.get(key)
        return leading.began_ms if replica is None else max(replica.fetched_ms, leading.began_ms)

    def _make_known(self) -> None:
        """BeginQuorumEpoch to every voter that does not fetch."""
        leading = self._leading
        if leading is None:
            return
        for voter in self.voters.voters:
            key = voter.key
            if key == self.me.key or self._now < self._begin_due(leading, key):
                continue
            leading.begin_ms[key] = self._now + self.timing.begin_epoch_ms
            peer = peer_at(key.node_id, voter.endpoints)
            if peer is None or self._under_way(ApiKey.BEGIN_QUORUM_EPOCH, peer):
                continue
            request = begin_request(self._cluster_id, key.node_id, key.directory_id, self.leader)
            self._send(ApiKey.BEGIN_QUORUM_EPOCH, peer, request, key)

    def _begin_due(self, leading: Leading, key: VoterKey) -> int:
        due_ms = leading.begin_ms.get(key, 0)
        replica = leading.replicas.get(key)
        if replica is not None:
            quiet_ms = replica.fetched_ms + self.timing.begin_epoch_ms
            if quiet_ms > due_ms:
                return quiet_ms
        return due_ms

    def _on_epoch_answer(self, sent: Sent, told: Told | None) -> None:
        """A voter's answer to Begin- or EndQuorumEpoch."""
        if told is not None:
            if sent.key is ApiKey.END_QUORUM_EPOCH and not self._hand_over_ms:
                self._hand_over_ms = self._now + self.timing.election_ms
            self._observe(told.leader)
        elif self._leading is not None and sent.voter is not None and sent.epoch == self.epoch:
            self._leading.begin_ms[sent.voter] = self._now + max(
                self.timing.retry_ms, self.timing.backoff_max_ms // 5
            )

    # -- fetches ------------------------------------------------------------------------------------------

    def _leader_refusal(self, epoch: int) -> ErrorCode | None:
        """Why a request to the leader of `epoch` (-1: of whichever) is not taken, if it is not."""
        if epoch >= 0 and epoch < self.epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if epoch > self.epoch:
            return ErrorCode.UNKNOWN_LEADER_EPOCH
        return None if self.role is Role.LEADER else ErrorCode.NOT_LEADER_OR_FOLLOWER

    def _fetch_error(self, error: ErrorCode) -> Any:
        partition = PartitionData(error_code=error, high_watermark=self.high_watermark, records=EMPTY_RECORDS)
        return fetch_answer(self.leader, partition)

    def _on_fetch(self, event: Request) -> None:
        request: Any = event.request
        asked: FetchPartition | None = asked_partition(event.key, request)
        refusal = self._refusal(event, asked)
        if refusal is not None or asked is None:
            self._answer(event.token, whole_error(event.key, refusal or ErrorCode.INVALID_REQUEST))
            return
        error = self._leader_refusal(asked.current_leader_epoch)
        if error is None and (
            asked.fetch_offset < 0 or asked.last_fetched_epoch < -1 or request.max_wait_ms < 0
        ):
            error = ErrorCode.INVALID_REQUEST
        if error is not None:
            self._answer(event.token, self._fetch_error(error))
            return
        leading = self._leading
        assert leading is not None, "the leader leads"
        node_id = max(request.replica_state.replica_id, request.replica_id)
        key = VoterKey(node_id, Uuid(asked.replica_directory_id))
        other = self._parting(asked.fetch_offset, asked.last_fetched_epoch)
        if other is not None:
            if node_id >= 0:
                self._heard(leading, key)
            self._answer(event.token, fetch_answer(self.leader, other))
            return
        if node_id >= 0:
            self._note_fetch(leading, key, asked.fetch_offset)
            if self.role is not Role.LEADER:  # what this fetch committed was our own removal
                self._answer(event.token, self._fetch_error(ErrorCode.NOT_LEADER_OR_FOLLOWER))
                return
        waiting = WaitingFetch(
            event.token,
            key,
            asked.fetch_offset,
            asked.high_watermark,
            min(asked.partition_max_bytes, request.max_bytes, FETCH_BYTES_MAX),
            self._now + min(request.max_wait_ms, self.timing.fetch_ms),  # whoever waits longer has hung up
        )
        for older in [one for one in leading.waiting if one.replica == key and node_id >= 0]:
            leading.waiting.remove(older)  # its sender has given up
            self._tell(older)
        leading.waiting.append(waiting)
        self._tell_waiting()

    def _heard(self, leading: Leading, key: VoterKey) -> Replica:
        replica = leading.replicas.setdefault(key, Replica())
        replica.fetched_ms = self._now
        return replica

    def _note_fetch(self, leading: Leading, key: VoterKey, offset: int) -> None:
        leading.replicas.setdefault(key, Replica()).fetched(offset, self.log_end, self._now)
        if key in self.voters:  # where it was recovering it is no observer any more
            leading.replicas.pop(VoterKey(key.node_id, NULL_UUID), None)
        if leading.progress.record(key, offset):
            self._advance(leading)

    def _parting(self, offset: int, epoch: int) -> PartitionData | None:
        """Where this log parts from the fetcher's, or the snapshot it needs first; None if it is a prefix."""
        if offset == 0 and self.log_start == 0:
            return None
        if epoch < 0 and self.log_start <= offset <= self.log_end:
            return None  # it cannot tell; no follower of ours does so
        before = next((one for one in self.snapshots if one.end_offset >= self.log_start), None)
        if self.log_start > 0 and before is not None:
            at_start = offset == self.log_start and before.end_offset == self.log_start
            if at_start and epoch == before.epoch:
                return None
            if offset <= self.log_start or epoch < before.epoch:
                return self._to_snapshot()
        own_epoch, end = self.epochs.end_offset_for(epoch, self.log_end)
        if own_epoch < 0:
            own_epoch, end = self.last_epoch, self.log_end
        if own_epoch == epoch and offset <= end:
            return None
        parting = EpochEndOffset(epoch=own_epoch, end_offset=end)
        return PartitionData(
            high_watermark=self.high_watermark, diverging_epoch=parting, records=EMPTY_RECORDS
        )

    def _to_snapshot(self) -> PartitionData:
        newest = self.snapshots[-1]
        return PartitionData(
            high_watermark=self.high_watermark,
            log_start_offset=self.log_start,
            snapshot_id=FetchSnapshotId(end_offset=newest.end_offset, epoch=newest.epoch),
            records=EMPTY_RECORDS,
        )

    def _tell_waiting(self) -> None:
        """Answer the fetches that have something to be told, or have waited long enough."""
        leading = self._leading
        if leading is None or not leading.waiting:
            return
        due = [
            one
            for one in leading.waiting
            if one.offset < self.log_end
            or one.high_watermark < self.high_watermark
            or one.deadline_ms <= self._now
        ]
        for one in due:
            leading.waiting.remove(one)
            self._tell(one)

    def _tell(self, waiting: WaitingFetch) -> None:
        partition = PartitionData(
            high_watermark=self.high_watermark, log_start_offset=self.log_start, records=EMPTY_RECORDS
        )
        # Who is no replica reads what is committed only.
        up_to = self.log_end if waiting.replica.node_id >= 0 else self.high_watermark
        data = LogRange(waiting.offset, up_to, waiting.max_bytes) if waiting.offset < up_to else None
        self._answer(waiting.token, fetch_answer(self.leader, partition), data)

    def _on_fetch_snapshot(self, event: Request) -> None:
        request: Any = event.request
        asked = asked_partition(event.key, request)
        refusal = self._refusal(event, asked)
        if refusal is not None or asked is None:
            self._answer(event.token, whole_error(event.key, refusal or ErrorCode.INVALID_REQUEST))
            return
        error = self._leader_refusal(asked.current_leader_epoch)
        wanted = SnapshotId(asked.snapshot_id.end_offset, asked.snapshot_id.epoch)
        if error is None and wanted not in self.snapshots:
            error = ErrorCode.SNAPSHOT_NOT_FOUND
        if error is None and asked.position < 0:
            error = ErrorCode.POSITION_OUT_OF_RANGE
        partition = FetchSnapshotResponsePartitionSnapshot(
            error_code=error or ErrorCode.NONE, snapshot_id=asked.snapshot_id, position=asked.position
        )
        data = None
        if error is None:
            assert self._leading is not None, "the leader leads"
            if request.replica_id >= 0:
                self._heard(self._leading, VoterKey(request.replica_id, asked.replica_directory_id))
            size = max(1, min(request.max_bytes, SNAPSHOT_PIECE_BYTES))
            data = SnapshotRange(wanted, asked.position, size)
        self._answer(event.token, fetch_snapshot_answer(self.leader, partition), data)


def voters_records(voters: VoterSet) -> list[tuple[bytes, bytes]]:
    """The level of kraft.version and the voters, as they first enter the log."""
    level = KRaftVersionRecord(version=0, kraft_version=KRAFT_VERSION)
    return [encode_control(level), encode_control(voters.to_record())]
