"""Followers and observers: finding the leader, fetching its log, truncating to it, downloading a snapshot. Pure.

Pull-based (KIP-595): the offset a Fetch carries is the own fdatasynced end, which is how the leader counts
it. A follower that lacks what the leader's log begins with downloads a snapshot (KIP-630).
"""

from __future__ import annotations

from typing import Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.batches import ReadBatch, decode_batches
from moldau_broker.raft.control import decode_control
from moldau_broker.raft.core import Sent
from moldau_broker.raft.election import Election
from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.history import VoterHistory, VotersAt, voter_sets
from moldau_broker.raft.messages import Failure, Fetched, Peer, Piece, SnapshotInstalled
from moldau_broker.raft.protocol import Told, fetch_request, fetch_snapshot_request, peer_at
from moldau_broker.raft.roles import NEVER, Download, Following
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import Role
from moldau_broker.raft.timing import FETCH_BYTES_MAX, SNAPSHOT_PIECE_BYTES
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import FetchPartition
from moldau_broker.wire.messages.fetch_snapshot import FetchSnapshotRequestPartitionSnapshot
from moldau_broker.wire.messages.fetch_snapshot import SnapshotId as WireSnapshotId

_NO_LEADER: Final = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_LEADER_EPOCH)
"""What a leader answers that has resigned, or that came back without its disk."""
_DATA: Final = (ApiKey.FETCH, ApiKey.FETCH_SNAPSHOT)


class Followership(Election):
    """The part of the core that follows. Use `RaftNode`."""

    # -- asking -------------------------------------------------------------------------------------------

    def _tick_following(self) -> None:
        """Time has passed for a follower: has it still got a leader?"""
        following = self._following
        if following is None:
            return
        if self._now >= following.deadline_ms or self._now >= following.ask_ms:
            if self.is_voter and not self._disk_failed:
                self._ask_whether()
            else:
                self._become_unattached(self.epoch)

    def _ask_for_data(self) -> None:
        """Send the Fetch that is due: to the leader, or to anyone who may know it."""
        if self._disk_failed or self._now < self._discover_ms or self._any_under_way(*_DATA):
            return
        if self.log_end != self.durable_end:
            return  # the offset to state is on its way to the disk
        following = self._following
        if following is not None:
            elsewhere = self._somebody() if self._doubts(following) else None
            if elsewhere is not None:
                self._fetch(elsewhere, 0)
            elif following.download is None:
                self._fetch(following.leader, self.timing.fetch_wait_ms)
            elif not following.download.installing:
                self._fetch_piece(following, following.download)
        elif self.role is Role.UNATTACHED and not self._is_alone:
            somebody = self._somebody()
            if somebody is not None:
                self._fetch(somebody, 0)

    def _somebody(self) -> Peer | None:
        """One of those who may know the leader, at random."""
        known = [
            peer_at(voter.key.node_id, voter.endpoints)
            for voter in self.voters.voters
            if voter.key.node_id != self.me.key.node_id
        ]
        choices = [peer for peer in known if peer is not None] + self._bootstrap
        return choices[self._rng.randrange(len(choices))] if choices else None

    def _doubts(self, following: Following) -> bool:
        """Whether an observer asks around instead of its silent leader: every other time."""
        return following.suspect and not self.is_voter and self._failures % 2 == 1

    def _fetch(self, to: Peer, wait_ms: int) -> None:
        partition = FetchPartition(
            current_leader_epoch=self.epoch,
            fetch_offset=self.durable_end,
            last_fetched_epoch=self.last_epoch,
            log_start_offset=self.log_start,
            partition_max_bytes=FETCH_BYTES_MAX,
            replica_directory_id=self._voice,
            high_watermark=self.high_watermark,
        )
        request = fetch_request(self._cluster_id, self.me.key.node_id, wait_ms, FETCH_BYTES_MAX, partition)
        self._send(ApiKey.FETCH, to, request)

    def _fetch_piece(self, following: Following, download: Download) -> None:
        partition = FetchSnapshotRequestPartitionSnapshot(
            current_leader_epoch=self.epoch,
            snapshot_id=WireSnapshotId(end_offset=download.id.end_offset, epoch=download.id.epoch),
            position=download.position,
            replica_directory_id=self._voice,
        )
        request = fetch_snapshot_request(
            self._cluster_id, self.me.key.node_id, SNAPSHOT_PIECE_BYTES, partition
        )
        self._send(ApiKey.FETCH_SNAPSHOT, following.leader, request)

    # -- being answered -----------------------------------------------------------------------------------

    def _on_data_failure(self, sent: Sent, failure: Failure) -> None:
        """No answer: a lost connection is an early sign that the leader is gone."""
        if sent.role is not self.role or sent.epoch != self.epoch:
            return
        self._discover_ms = self._now + self._pause()
        following = self._following
        if following is not None and failure is not Failure.TIMED_OUT and sent.to == following.leader:
            self._suspect(following)

    def _suspect(self, following: Following) -> None:
        """The leader may be gone: ask the others soon, and support them if they ask."""
        following.suspect = True
        if following.ask_ms == NEVER and self.is_voter:
            following.ask_ms = self._now + self._rng.randint(0, self.timing.early_election_ms)

    def _on_data_answer(self, sent: Sent, told: Told) -> None:
        """A Fetch or FetchSnapshot answer, of the leader or of someone who knows it."""
        changed = self._observe(told.leader)
        if changed or sent.role is not self.role or sent.epoch != self.epoch:
            if changed and self.role is not Role.FOLLOWER:
                self._discover_ms = self._now + self._pause()
            return
        following = self._following
        if following is None or (sent.to != following.leader and told.error is not ErrorCode.NONE):
            self._discover_ms = self._now + self._pause()
            return
        if told.error is ErrorCode.SNAPSHOT_NOT_FOUND or told.error is ErrorCode.POSITION_OUT_OF_RANGE:
            following.download = None  # the leader has a newer one by now
        if told.error is not ErrorCode.NONE:
            self._discover_ms = self._now + self._pause()
            if told.error in _NO_LEADER:
                self._suspect(following)
            return
        following.leader = sent.to  # who answers like this leads, wherever we thought it was
        following.deadline_ms = self._now + self._fetch_timeout()
        following.heard, following.suspect, following.ask_ms = True, False, NEVER
        self._found_leader()
        self._attempts = self._failures = 0
        if sent.key is ApiKey.FETCH_SNAPSHOT:
            self._on_piece(sent, following, told.partition)
        else:
            self._on_fetched(sent, following, told.partition)

    def _on_fetched(self, sent: Sent, following: Following, partition: Any) -> None:
        """Cut, begin a download, or append; then take the leader's high watermark."""
        request: Any = sent.request
        if request.topics[0].partitions[0].fetch_offset != self.log_end:
            return  # the log has changed since it was asked
        if partition.diverging_epoch.epoch >= 0:
            self._cut(partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset)
            return
        if partition.snapshot_id.end_offset >= 0:
            wanted = SnapshotId(partition.snapshot_id.end_offset, partition.snapshot_id.epoch)
            following.download = Download(wanted)
            return
        if partition.records:
            self._take(partition.records)
        else:
            self._note_end(following)
        self._leader_mark = max(self._leader_mark, partition.high_watermark)
        self._follow_mark()

    def _follow_mark(self) -> None:
        """What is committed counts here once it is on the own disk: what was applied never has to be taken back."""
        self.high_watermark = max(self.high_watermark, min(self._leader_mark, self.durable_end))
        self._look_whether_recovered()
        if self.is_voter and self.history.newest_offset < self.high_watermark:
            self._was_voter = True

    def _cut(self, epoch: int, end_offset: int) -> None:
        """The leader's log parts from ours: epoch `epoch` ended there at `end_offset` (KIP-595)."""
        own_epoch, own_end = self.epochs.end_offset_for(epoch, self.log_end)
        cut = min(own_end, end_offset) if own_epoch == epoch else own_end
        if cut >= self.log_end or cut < self.log_start:
            cut = self.log_start  # nothing in common above it: the leader offers a snapshot next
        assert cut >= self.high_watermark, "what is committed is never taken back"
        if cut < self.log_end:
            self._truncate = cut
            self._truncated(cut)
        else:
            self._discover_ms = self._now + self._pause()

    def _truncated(self, end_offset: int) -> None:
        self.log_end = end_offset
        self.durable_end = min(self.durable_end, end_offset)
        self.epochs.truncate_from_end(end_offset)
        self.history.truncate(end_offset)

    def _take(self, data: Any) -> None:
        """Append the leader's batches if they are what was asked for; else ask again."""
        try:
            batches = list(decode_batches(data, "the leader's answer", control_only=True))
            end = self._check(batches)
        except RaftError:
            self._discover_ms = self._now + self._pause()
            return
        self._fetched = Fetched(self.log_end, end, data)
        for batch in batches:
            self.epochs.assign(batch.epoch, batch.base_offset)
        for made in voter_sets(batches):
            self.history.append(made.offset, made.voters)
        self.log_end = end

    def _check(self, batches: list[ReadBatch]) -> int:
        offset, epoch = self.log_end, self.last_epoch
        for batch in batches:
            if batch.base_offset != offset or not epoch <= batch.epoch <= self.epoch:
                raise RaftError(
                    f"a batch of epoch {batch.epoch} at offset {batch.base_offset} does not follow"
                )
            if batch.control:
                for key, value in batch.records:
                    decode_control(key, value)
            offset, epoch = batch.next_offset, batch.epoch
        return offset

    # -- snapshots ----------------------------------------------------------------------------------------

    def _on_piece(self, sent: Sent, following: Following, piece: Any) -> None:
        download = following.download
        request: Any = sent.request
        asked = request.topics[0].partitions[0]
        given = SnapshotId(piece.snapshot_id.end_offset, piece.snapshot_id.epoch)
        if (
            download is None
            or given != download.id
            or asked.position != download.position
            or piece.position != download.position
        ):
            return
        data = piece.unaligned_records
        last = download.position + len(data) >= piece.size
        if not last and not data:
            self._discover_ms = self._now + self._pause()
            return
        self._piece = Piece(download.id, download.position, data, last)
        download.position += len(data)
        download.installing = last

    def _installed(self, event: SnapshotInstalled) -> None:
        """The log is the snapshot now, and nothing after it."""
        end = event.id.end_offset
        assert end >= self.high_watermark, "a snapshot of the leader's is newer than what we lack"
        self.snapshots = (event.id,)
        self.log_start = self.log_end = self.durable_end = end
        self.epochs.clear()
        self.history = VoterHistory([VotersAt(end - 1, event.voters)] if event.voters else ())
        self._leader_mark = max(self._leader_mark, end)
        self.high_watermark = end
        if self._following is not None:
            self._following.download = None
        self._look_whether_recovered()
