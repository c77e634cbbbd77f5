"""What a voter keeps on its simulated disk: log, quorum-state, snapshots. The light twin of `raft.store`.

Batches and snapshots are the real bytes. Everything goes through `SimDisk.operation`, so a process may die
between any two writes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from moldau_broker.raft.batches import ReadBatch, decode_batches, encode_batch
from moldau_broker.raft.core import Initial
from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.history import VotersAt, voter_sets
from moldau_broker.raft.messages import Fetched, LogBatch, Piece
from moldau_broker.raft.quorum import VoterSet
from moldau_broker.raft.snapshot import Snapshot, SnapshotId, read_snapshot
from moldau_broker.raft.state import ElectionState
from moldau_broker.raft.store import StoredSnapshot
from moldau_broker.storage.epochs import LeaderEpochs
from moldau_broker.storage.errors import FileMissing
from moldau_broker.testing.sim.disk import SimDisk
from moldau_broker.testing.sim.quorum_log import LogFace
from moldau_broker.wire.batches import parse_header

QUORUM_STATE = "quorum-state"
RECOVERING = "recovering"
LOG = "__cluster_metadata-0"
SNAPSHOTS_KEPT = 2


@lru_cache(maxsize=256)
def _election(content: bytes) -> ElectionState:
    """What a quorum-state file of that content says: it is looked at with every message, and rarely changes."""
    return ElectionState.decode(content)


class Entry(NamedTuple):
    """One batch of the metadata log."""

    base: int
    next: int
    epoch: int
    control: bool
    data: bytes


class QuorumStore:
    """A voter's folder.

    Attributes:
        entries: the log, oldest first.
        durable_offset: all below it survives a power cut.
        log_start_offset: where the log begins.
        snapshots: file content by id.
        history: the voter sets the log (or the newest snapshot, first) names, oldest first.
        watcher: told what enters and leaves the log: (entry or None, truncated-to offset or None).
        is_damaged: a bit of the log has flipped, in a batch that others follow; see `quorum_damage`.
    """

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.log = LogFace(self)
        self.entries: list[Entry] = []
        self._bases: list[int] = []
        self.log_start_offset = 0
        self.log_end_offset = 0
        self.durable_offset = 0
        self.generation = 0
        self.epochs = LeaderEpochs()
        self.snapshots: dict[SnapshotId, bytes] = {}
        self.history: list[VotersAt] = []
        self.watcher: Callable[[Entry | None, int | None], None] | None = None
        self.before_save: Callable[[ElectionState], None] | None = None
        self.on_recovered: Callable[[], None] | None = None
        self.is_damaged = False
        self._download: tuple[SnapshotId, bytearray] | None = None
        disk.logs[LOG] = self

    # -- state --------------------------------------------------------------------------------------------

    @property
    def election(self) -> ElectionState | None:
        """What the quorum-state file says, None without one."""
        content = self.disk.files.get(QUORUM_STATE)
        return None if content is None else _election(content)

    def save_election(self, election: ElectionState) -> None:
        """Replace quorum-state, atomically and durably."""
        if self.before_save is not None:
            self.before_save(election)
        self.disk.replace(QUORUM_STATE, election.encode())

    def has_recovered(self) -> None:
        """The voice is back."""
        self.disk.operation()
        self.disk.files.pop(RECOVERING, None)
        if self.on_recovered is not None:
            self.on_recovered()
        self.disk.operation()

    def begin_anew(self) -> None:
        """Empty, at the end of the newest snapshot; from the beginning where there is none."""
        newest = self.newest_snapshot
        if newest is not None:
            self.begin_with(newest)
            return
        self.entries.clear()
        self._bases.clear()
        self.generation += 1
        self.log_start_offset = self.log_end_offset = self.durable_offset = 0
        self.epochs.clear()
        self.history = []

    @property
    def initial(self) -> Initial:
        """What the core starts from."""
        return Initial(
            self.election,
            tuple(self.history),
            self.log_start_offset,
            self.log_end_offset,
            tuple(self.epochs.entries()),
            tuple(self.snapshot_ids()),
            RECOVERING in self.disk.files,
        )

    @property
    def newest_snapshot(self) -> SnapshotId | None:
        """The newest snapshot's id."""
        return max(self.snapshots) if self.snapshots else None

    @property
    def last_epoch(self) -> int:
        """Epoch of the last record, also if a snapshot holds it."""
        if self.entries:
            return self.entries[-1].epoch
        newest = self.newest_snapshot
        return newest.epoch if newest is not None else 0

    def voters_at(self, end_offset: int) -> VoterSet | None:
        """The voter set made below `end_offset`."""
        found = None
        for made in self.history:
            if made.offset < end_offset:
                found = made.voters
        return found

    # -- the core's wishes --------------------------------------------------------------------------------

    def append(self, batch: LogBatch) -> None:
        """Write a batch of our own."""
        self.disk.write()
        assert batch.base_offset == self.log_end_offset, "the core and the log disagree on the log's end"
        data = encode_batch(
            batch.records,
            base_offset=batch.base_offset,
            epoch=batch.epoch,
            timestamp_ms=batch.timestamp_ms,
            control=batch.control,
        )
        self._store(Entry(batch.base_offset, batch.next_offset, batch.epoch, batch.control, bytes(data)))

    def append_fetched(self, fetched: Fetched, now_ms: int) -> None:
        """Write the leader's batches verbatim."""
        assert fetched.base_offset == self.log_end_offset, "the core and the log disagree on the log's end"
        data = fetched.data
        position = 0
        while position < len(data):
            self.disk.write()
            header = parse_header(data, position)
            assert header.base_offset == self.log_end_offset, "a gap in what was fetched"
            piece = bytes(data[position : position + header.size])
            self._store(
                Entry(
                    header.base_offset,
                    header.next_offset,
                    header.partition_leader_epoch,
                    header.is_control,
                    piece,
                )
            )
            position += header.size

    def _store(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._bases.append(entry.base)
        self.log_end_offset = entry.next
        self._learn(entry)
        if self.watcher is not None:
            self.watcher(entry, None)

    def _learn(self, entry: Entry) -> None:
        if entry.epoch != self.epochs.latest:
            self.epochs.assign(entry.epoch, entry.base)
        if entry.control:
            self.history += voter_sets(decode_batches(entry.data, LOG))

    def truncate_to(self, offset: int) -> None:
        """Cut the log, durably; the checkpoints that promised what goes are rewritten first."""
        self.disk.write(needs_room=offset < self.durable_offset)
        keep = bisect_left(self._bases, offset)
        assert keep == 0 or self.entries[keep - 1].next <= offset, "truncation inside a batch"
        if self.watcher is not None:
            self.watcher(None, offset)
        del self.entries[keep:], self._bases[keep:]
        self.generation += 1
        self.log_end_offset = max(offset, self.log_start_offset)
        self.durable_offset = min(self.durable_offset, self.log_end_offset)
        self.epochs.truncate_from_end(offset)
        self.history = [made for made in self.history if made.offset < offset]
        self.disk.operation()

    def mark_durable(self, offset: int, generation: int | None = None) -> None:
        """All below `offset` is on the platter, unless the log was cut since."""
        if generation is None or generation == self.generation:
            self.durable_offset = max(self.durable_offset, offset)

    # -- reading ------------------------------------------------------------------------------------------

    def read_bytes(self, from_offset: int, up_to: int, max_bytes: int) -> bytes:
        """Whole batches from `from_offset` on, at least one if there is one."""
        at = max(0, bisect_right(self._bases, from_offset) - 1)
        pieces: list[bytes] = []
        size = 0
        for entry in self.entries[at:]:
            if entry.next <= from_offset:
                continue
            if entry.next > up_to or (pieces and size + len(entry.data) > max_bytes):
                break
            pieces.append(entry.data)
            size += len(entry.data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read(self, from_offset: int, up_to: int) -> Iterator[ReadBatch]:
        """Batches from `from_offset` to below `up_to`, decoded."""
        if from_offset < self.log_start_offset:
            raise RaftError(
                f"offset {from_offset} lies below the log, which begins at {self.log_start_offset}"
            )
        at = bisect_left(self._bases, from_offset)
        while at < len(self.entries) and self.entries[at].next <= up_to:
            yield from decode_batches(self.entries[at].data, LOG)
            at += 1

    def entry_before(self, end_offset: int) -> Entry | None:
        """The last entry that ends at or below `end_offset`."""
        at = bisect_right(self._bases, end_offset - 1) - 1
        if at >= 0 and self.entries[at].next <= end_offset:
            return self.entries[at]
        return self.entries[at - 1] if at > 0 else None

    def entry_at(self, base_offset: int) -> Entry | None:
        """The entry that begins at `base_offset`."""
        at = bisect_left(self._bases, base_offset)
        return self.entries[at] if at < len(self.entries) and self._bases[at] == base_offset else None

    # -- snapshots ----------------------------------------------------------------------------------------

    def write_snapshot(self, snapshot_id: SnapshotId, pieces: Sequence[bytes | bytearray]) -> None:
        """Put a snapshot of our own in place."""
        self.disk.write()
        self.snapshots[snapshot_id] = b"".join(pieces)

    def drop_before_snapshots(self, now_ms: int) -> None:
        """Keep the newest snapshots, and of the log what the oldest kept one lacks."""
        ids = sorted(self.snapshots)
        if len(ids) <= SNAPSHOTS_KEPT:
            return
        oldest = ids[-SNAPSHOTS_KEPT]
        self.disk.operation()
        self._drop_log_below(oldest.end_offset)
        for snapshot_id in ids[:-SNAPSHOTS_KEPT]:
            self.disk.operation()
            del self.snapshots[snapshot_id]

    def _drop_log_below(self, offset: int) -> None:
        keep = bisect_left(self._bases, offset)
        before = self.voters_at(offset)
        del self.entries[:keep], self._bases[:keep]
        self.log_start_offset = max(self.log_start_offset, offset)
        self.epochs.truncate_from_start(self.log_start_offset)
        later = [made for made in self.history if made.offset >= offset]
        self.history = later if before is None else [VotersAt(offset - 1, before), *later]

    def snapshot_ids(self) -> list[SnapshotId]:
        """All snapshots, oldest first."""
        return sorted(self.snapshots)

    def read_piece(self, snapshot_id: SnapshotId, position: int, max_bytes: int) -> tuple[bytes, int]:
        """(bytes from `position`, size of the whole) of a snapshot."""
        data = self.snapshots.get(snapshot_id)
        if data is None:
            raise FileMissing(snapshot_id.file_name)
        return data[position : position + max_bytes], len(data)

    def write_piece(self, piece: Piece) -> StoredSnapshot | None:
        """Take a piece of a downloaded snapshot; with the last one begin the log at its end."""
        self.disk.write()
        if piece.position == 0:
            self._download = (piece.id, bytearray())
        if (
            self._download is None
            or self._download[0] != piece.id
            or len(self._download[1]) != piece.position
        ):
            raise RaftError(f"{piece.id.file_name}: a piece for byte {piece.position} came out of order")
        self._download[1].extend(piece.data)
        return self._install(piece.id) if piece.last else None

    def _install(self, snapshot_id: SnapshotId) -> StoredSnapshot:
        assert self._download is not None, "there was a download"
        data = bytes(self._download[1])
        self._download = None
        content = read_snapshot(data, snapshot_id.file_name)
        self.disk.operation()
        self.snapshots[snapshot_id] = data
        self.disk.operation()
        if self.watcher is not None:
            self.watcher(None, self.log_start_offset)
        self._begin_at(snapshot_id, content)
        self.snapshots = {snapshot_id: data}
        return StoredSnapshot(snapshot_id, content)

    def begin_with(self, snapshot_id: SnapshotId) -> None:
        """Begin an empty log at the end of a snapshot that lies in the folder."""
        self._begin_at(snapshot_id, read_snapshot(self.snapshots[snapshot_id], snapshot_id.file_name))

    def _begin_at(self, snapshot_id: SnapshotId, snapshot: Snapshot) -> None:
        self.entries.clear()
        self._bases.clear()
        self.generation += 1
        self.log_start_offset = self.log_end_offset = self.durable_offset = snapshot_id.end_offset
        self.epochs.clear()
        self.history = (
            [] if snapshot.voters is None else [VotersAt(snapshot_id.end_offset - 1, snapshot.voters)]
        )

    # -- crashes ------------------------------------------------------------------------------------------

    def reopened(self, rng: Random, *, power_cut: bool) -> tuple[QuorumStore, int]:
        """What the next process finds, and how many batches are gone.

        Unsynced batches survive a power cut one by one; the first that did not, or is torn, ends the log.
        """
        store = QuorumStore(self.disk)
        store.log_start_offset = self.log_start_offset
        store.is_damaged = self.is_damaged
        store.snapshots = dict(self.snapshots)
        kept = [entry for entry in self.entries if entry.next <= self.durable_offset]
        for entry in self.entries[len(kept) :]:
            if power_cut and rng.random() < 0.4:
                break
            kept.append(entry)
        newest = store.newest_snapshot
        if newest is not None:
            snapshot = read_snapshot(store.snapshots[newest], newest.file_name)
            end = kept[-1].next if kept else store.log_start_offset
            if end < newest.end_offset:  # it crashed between the download and the cut of the log
                store._begin_at(newest, snapshot)
                return store, len(self.entries) - len(kept)
        store.entries = kept
        store._bases = [entry.base for entry in kept]
        store.log_end_offset = store.durable_offset = kept[-1].next if kept else self.log_start_offset
        # The log goes on from there; older ones may lie about, where it was begun anew at a newer one.
        oldest = min(
            (one for one in store.snapshots if one.end_offset >= store.log_start_offset), default=None
        )
        if oldest is not None:
            voters = read_snapshot(store.snapshots[oldest], oldest.file_name).voters
            if voters is not None:
                store.history = [VotersAt(oldest.end_offset - 1, voters)]
        for entry in kept:
            store._learn(entry)
        return store, len(self.entries) - len(kept)
