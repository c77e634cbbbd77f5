"""The quorum's log, snapshots and state file on disk: `__cluster_metadata-0` and `bootstrap.checkpoint`.

The only module of this package that does I/O. File formats and names are Kafka's (KIP-595, KIP-630,
KIP-853), so `kafka-dump-log --cluster-metadata-decoder` and `kafka-metadata-shell --snapshot` read the
folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from moldau_broker.base.ids import METADATA_TOPIC_ID
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.raft.batches import ReadBatch, decode_batches, encode_batch
from moldau_broker.raft.core import Initial
from moldau_broker.raft.errors import Damaged, DamagedQuorum, RaftError, UnsupportedQuorum
from moldau_broker.raft.history import VotersAt, voter_sets
from moldau_broker.raft.messages import Fetched, LogBatch, Piece
from moldau_broker.raft.protocol import PARTITION, TOPIC
from moldau_broker.raft.quorum import Voter, VoterSet
from moldau_broker.raft.snapshot import Snapshot, SnapshotId, read_snapshot, write_snapshot
from moldau_broker.raft.state import ElectionState
from moldau_broker.storage.disk import Disk, DiskFile
from moldau_broker.storage.errors import FileMissing, StorageError
from moldau_broker.storage.log import Log
from moldau_broker.wire.records import parse_header

logger = logging.getLogger(__name__)

FOLDER: Final = f"{TOPIC}-{PARTITION}"
TOPIC_ID: Final = METADATA_TOPIC_ID
QUORUM_STATE: Final = f"{FOLDER}/quorum-state"
RECOVERING_NAME: Final = ".moldau-recovering"
RECOVERING: Final = f"{FOLDER}/{RECOVERING_NAME}"
"""While it is there this node has no voice: see `recovering` and `healing`. Kafka passes over it."""
BOOTSTRAP_FILE: Final = "bootstrap.checkpoint"

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest batch, as in KRaft: what one atomic write may hold."""
SNAPSHOTS_KEPT: Final = 2
"""The newest, and one to fall back on should it be damaged; the log keeps what the older one lacks."""
_READ_BYTES: Final = 1024 * 1024

LOG_CONFIG: Final = TopicConfig(
    segment_bytes=2 * BATCH_BYTES_MAX,  # small enough that dropping what a snapshot covers frees space
    max_message_bytes=BATCH_BYTES_MAX,
    retention_ms=-1,  # only snapshots shorten this log
    retention_bytes=-1,
)


class StoredSnapshot(NamedTuple):
    """A snapshot on disk and what it says."""

    id: SnapshotId
    content: Snapshot


class RaftStore:
    """An opened quorum folder.

    Attributes:
        log: the metadata log, recovered by whoever opened it.
        snapshot: the newest snapshot that can be read, None if there is none.
        initial: what the core starts from.
    """

    def __init__(self, disk: Disk, log: Log) -> None:
        """Look at what is there.

        Raises:
            RaftError: it cannot be used; the text says why.
            StorageError: the disk failed.
        """
        self.log = log
        self._disk = disk
        self._download: tuple[SnapshotId, DiskFile] | None = None
        self._served: tuple[SnapshotId, DiskFile, int] | None = None
        self._remove_leftovers()
        self.snapshot = self._newest_snapshot()
        self.initial = self._examine()

    # -- opening ------------------------------------------------------------------------------------------

    def _remove_leftovers(self) -> None:
        for entry in self._disk.entries(FOLDER):
            if entry.name.endswith((".checkpoint.tmp", "quorum-state.tmp")):
                self._disk.unlink(f"{FOLDER}/{entry.name}")

    def snapshot_ids(self) -> list[SnapshotId]:
        """All snapshots in the folder, oldest first."""
        ids = (SnapshotId.from_file_name(entry.name) for entry in self._disk.entries(FOLDER))
        return sorted(found for found in ids if found is not None)

    def _newest_snapshot(self) -> StoredSnapshot | None:
        damage: RaftError | None = None
        for snapshot_id in reversed(self.snapshot_ids()):
            name = snapshot_id.file_name
            try:
                content = read_snapshot(self._disk.read(f"{FOLDER}/{name}"), name)
            except RaftError as error:
                logger.warning("snapshot.damaged", extra={"file": name, "reason": str(error)})
                damage = damage or error
                continue
            if damage is not None and self.log.log_start_offset > snapshot_id.end_offset:
                break  # the log was begun anew at the damaged one
            self._meet(snapshot_id)
            return StoredSnapshot(snapshot_id, content)
        if self.log.log_start_offset > 0:
            text = (
                f"the metadata log begins at offset {self.log.log_start_offset} and no readable snapshot "
                "stands for what came before"
            )
            if damage is not None:
                raise DamagedQuorum(Damaged.SNAPSHOTS, f"{text}: {damage}")
            raise RaftError(text)
        return None

    def _meet(self, snapshot_id: SnapshotId) -> None:
        """Bring the log in line with the newest snapshot.

        A snapshot stands for committed records only. A log that ends below it, or in an older epoch, is what a
        crash left while a downloaded snapshot was put in place: the log begins anew at the snapshot's end.
        """
        log = self.log
        if log.log_start_offset > snapshot_id.end_offset:
            raise RaftError(
                f"snapshot {snapshot_id.file_name} does not meet the metadata log, which begins at offset "
                f"{log.log_start_offset}: files are missing or from another folder"
            )
        if (snapshot_id.epoch, snapshot_id.end_offset) > (max(log.epochs.latest, 0), log.log_end_offset):
            logger.warning(
                "snapshot.replaces_log",
                extra={"file": snapshot_id.file_name, "log_end": log.log_end_offset},
            )
            self._begin_at(snapshot_id)

    def _begin_at(self, snapshot_id: SnapshotId) -> None:
        """Empty the log at a snapshot's end. The first cut takes back what checkpoints promise of the old log."""
        log = self.log
        log.truncate_to(log.log_start_offset)
        log.truncate_fully(snapshot_id.end_offset)
        log.sync()
        log.high_watermark = snapshot_id.end_offset

    def _examine(self) -> Initial:
        try:
            election: ElectionState | None = ElectionState.decode(self._disk.read(QUORUM_STATE))
        except FileMissing:
            election = None
        log = self.log
        if log.durable_offset < log.log_end_offset:
            log.sync()  # after a crash: what recovery found is stated to the leader, so it must be durable
        sets: list[VotersAt] = []
        from_offset = 0
        if self.snapshot is not None:
            from_offset = self.snapshot.id.end_offset
            if self.snapshot.content.voters is not None:
                sets.append(VotersAt(from_offset - 1, self.snapshot.content.voters))
        try:
            sets += voter_sets(self.read(from_offset, log.log_end_offset, control_only=True))
        except RaftError as error:
            raise DamagedQuorum(Damaged.LOG, str(error)) from error
        if not sets and (log.log_end_offset > 0 or self.snapshot is not None):
            raise RaftError(
                f"neither {FOLDER} nor its snapshots name the quorum's voters; is this the right folder?"
            )
        return Initial(
            election,
            tuple(sets),
            log.log_start_offset,
            log.log_end_offset,
            tuple(log.epochs.entries()),
            tuple(self.snapshot_ids()),
            any(entry.name == RECOVERING_NAME for entry in self._disk.entries(FOLDER)),
        )

    def check_voter(self, me: Voter) -> None:
        """Refuse a quorum that a node without peers cannot serve.

        Raises:
            UnsupportedQuorum: more than one voter, or a sole voter that is not this node with this directory.
        """
        sets = self.initial.voters
        voters = sets[-1].voters if sets else VoterSet(())
        if len(voters) > 1:
            names = ", ".join(str(key) for key in voters.keys)
            raise UnsupportedQuorum(
                f"this folder belongs to a quorum of {len(voters)} voters ({names}); "
                "this version runs a quorum of one"
            )
        if me.key not in voters:
            raise UnsupportedQuorum(
                f"the quorum's only voter is node {voters.keys[0]}, but this is node {me.key}: "
                "the folder is another node's, or its meta.properties was replaced"
            )

    def bootstrap_records(self) -> list[bytes]:
        """The encoded metadata records of bootstrap.checkpoint."""
        content = read_snapshot(self._disk.read(BOOTSTRAP_FILE), BOOTSTRAP_FILE)
        return [bytes(value or b"") for batch in content.batches for _, value in batch.records]

    # -- the core's wishes --------------------------------------------------------------------------------

    def save_election(self, election: ElectionState) -> None:
        """Replace quorum-state, atomically and durably."""
        self._disk.replace(QUORUM_STATE, election.encode())

    def has_recovered(self) -> None:
        """This node has its voice back. A mark that cannot be removed only takes it away again at the next start."""
        try:
            self._disk.unlink(RECOVERING)
            self._disk.sync_folder(FOLDER)
        except StorageError as error:
            logger.warning("raft.mark_left", extra={"reason": str(error)})
        logger.warning("raft.recovered", extra={"log_end": self.log.log_end_offset})

    def append(self, batch: LogBatch) -> None:
        """Write a batch at the log's end; durable only after a flush.

        Raises:
            StorageError: nothing of it is in the log.
        """
        data = encode_batch(
            batch.records,
            base_offset=batch.base_offset,
            epoch=batch.epoch,
            timestamp_ms=batch.timestamp_ms,
            control=batch.control,
        )
        assert batch.base_offset == self.log.log_end_offset, "the core and the log disagree on the log's end"
        self.log.append(data, parse_header(data), batch.epoch, batch.timestamp_ms)

    def append_fetched(self, fetched: Fetched, now_ms: int) -> None:
        """Write the leader's batches at the log's end, verbatim; durable only after a flush.

        Raises:
            StorageError: some of the batches may be in the log, whole; the log's end says which.
        """
        log = self.log
        assert fetched.base_offset == log.log_end_offset, "the core and the log disagree on the log's end"
        log.append_replica(fetched.data, now_ms)
        assert fetched.end_offset == log.log_end_offset, "the core and the log disagree on the log's end"

    # -- reading back -------------------------------------------------------------------------------------

    def read(self, from_offset: int, up_to: int, *, control_only: bool = False) -> Iterator[ReadBatch]:
        """Whole batches from `from_offset` (a batch's base) to below `up_to`.

        Raises:
            RaftError, StorageError: they cannot be read.
        """
        offset = from_offset
        while offset < up_to:
            data = self.log.read(offset, _READ_BYTES, up_to=up_to)
            if not data:
                raise RaftError(f"the metadata log gives nothing at offset {offset}, below its end {up_to}")
            for batch in decode_batches(data, f"{FOLDER} from offset {offset}", control_only=control_only):
                offset = batch.next_offset
                if batch.control or not control_only:
                    yield batch

    # -- snapshots ----------------------------------------------------------------------------------------

    def write_snapshot(
        self,
        snapshot_id: SnapshotId,
        values: Iterable[bytes],
        *,
        voters: VoterSet,
        last_timestamp_ms: int,
        now_ms: int,
    ) -> int:
        """Write a snapshot durably; its size in bytes. Touches only its own file, so any thread may call."""
        pieces = write_snapshot(
            snapshot_id, values, voters=voters, last_timestamp_ms=last_timestamp_ms, now_ms=now_ms
        )
        data = b"".join(pieces)
        self._disk.replace(f"{FOLDER}/{snapshot_id.file_name}", data)
        return len(data)

    def drop_before_snapshots(self, now_ms: int) -> None:
        """Keep the newest snapshots; shorten the log to what the oldest of them lacks; drop the rest.

        In this order a crash leaves too much, never too little. Whole segments go; their files a delay after `now_ms`
        (wall clock), by `LogDir.purge`.
        """
        ids = self.snapshot_ids()
        if len(ids) <= SNAPSHOTS_KEPT:
            return
        oldest = ids[-SNAPSHOTS_KEPT]
        self.log.advance_log_start(oldest.end_offset)
        for snapshot_id in ids[:-SNAPSHOTS_KEPT]:
            self._disk.unlink(f"{FOLDER}/{snapshot_id.file_name}")
        self.log.enforce_retention(now_ms)

    def write_piece(self, piece: Piece) -> StoredSnapshot | None:
        """Take a piece of a downloaded snapshot; with the last one, check it and begin the log at its end.

        Raises:
            RaftError: it is damaged, and was thrown away.
            StorageError: the disk failed.
        """
        name = f"{FOLDER}/{piece.id.file_name}"
        temporary = f"{name}.tmp"
        if piece.position == 0:
            self._disk.write(temporary, b"")
            self._download = piece.id, self._disk.open(temporary)
        if self._download is None or self._download[0] != piece.id:
            raise RaftError(f"{piece.id.file_name}: a piece came without its beginning")
        file = self._download[1]
        if file.size() != piece.position:
            raise RaftError(f"{piece.id.file_name}: a piece for byte {piece.position} came at {file.size()}")
        file.append(piece.data)
        if not piece.last:
            return None
        self._download = None
        file.datasync()
        content = read_snapshot(self._disk.read(temporary), piece.id.file_name)
        if content.voters is None:
            raise RaftError(f"{piece.id.file_name} does not name the voters")
        self._disk.rename(temporary, name)
        self._disk.sync_folder(FOLDER)
        self._begin_at(piece.id)
        for older in self.snapshot_ids():
            if older != piece.id:
                self._disk.unlink(f"{FOLDER}/{older.file_name}")
        return StoredSnapshot(piece.id, content)

    def read_piece(self, snapshot_id: SnapshotId, position: int, max_bytes: int) -> tuple[bytes, int]:
        """(bytes from `position`, size of the whole file) of a snapshot; no bytes beyond its end.

        Raises:
            FileMissing: it is gone.
            StorageError: the disk failed.
        """
        if self._served is None or self._served[0] != snapshot_id:
            file = self._disk.open(f"{FOLDER}/{snapshot_id.file_name}", write=False)
            self._served = snapshot_id, file, file.size()
        _, file, size = self._served
        data = file.pread(max_bytes, position) if position < size else b""
        if position + len(data) >= size:
            self._served = None  # whoever asks again opens it again
        return data, size
