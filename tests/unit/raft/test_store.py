"""The quorum's folder: made, opened again, refused in words, shortened."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from moldau_broker.base.ids import Uuid, format_uuid
from moldau_broker.raft.batches import encode_batch
from moldau_broker.raft.control import encode_control
from moldau_broker.raft.errors import RaftError, UnsupportedQuorum
from moldau_broker.raft.history import VotersAt
from moldau_broker.raft.messages import Fetched, LogBatch, Piece
from moldau_broker.raft.node import RaftNode
from moldau_broker.raft.opening import found_quorum, knows_quorum, open_store
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.raft.snapshot import BOOTSTRAP, SnapshotId, write_snapshot
from moldau_broker.raft.state import ElectionState
from moldau_broker.raft.store import (
    BOOTSTRAP_FILE,
    FOLDER,
    LOG_CONFIG,
    QUORUM_STATE,
    RaftStore,
)
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.storage.errors import FileMissing
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimCrash, SimDisk

NOW = 1_700_000_000_000


class Folder:
    """A data directory with a quorum in it."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.log_dir = self._open()
        self.me = self.voter(1, self.log_dir.directory_id)

    @staticmethod
    def voter(node_id: int, directory: bytes, port: int = 9093) -> Voter:
        return Voter(VoterKey(node_id, Uuid(directory)), (VoterEndpoint("CONTROLLER", "localhost", port),))

    def _open(self) -> LogDir:
        cluster_id = format_uuid(b"c" * 16)
        return LogDir.open(self.disk, cluster_id=cluster_id, node_id=1, clock=ManualClock(NOW), rng=Random(0))

    def open(self) -> RaftStore:
        if not knows_quorum(self.log_dir):
            found_quorum(self.log_dir, self.me, [b"bootstrap"], NOW)
        return open_store(self.log_dir)

    def reopen(self, *, clean: bool = True) -> RaftStore:
        self.log_dir.close(clean=clean)
        self.log_dir = self._open()
        return self.open()

    def names(self) -> set[str]:
        return {entry.name for entry in self.disk.entries(FOLDER)}


@pytest.fixture
def folder() -> Folder:
    return Folder()


def lead(folder: Folder, store: RaftStore) -> RaftNode:
    """Elect, write the epoch's first entries, flush."""
    node = RaftNode(folder.me, store.initial, RaftTiming(), Random(0), 0)
    node.tick(0, NOW)
    while (ready := node.ready()) is not None:
        if ready.election:
            store.save_election(ready.election)
        for batch in ready.batches:
            store.append(batch)
    store.log.mark_durable(store.log.flush())
    return node


def fill(store: RaftStore, node: RaftNode, values: Iterable[bytes]) -> None:
    for value in values:
        store.append(node.propose([value], NOW))
    node.ready()
    store.log.mark_durable(store.log.flush())


def snapshot(store: RaftStore, folder: Folder, epoch: int = 1) -> SnapshotId:
    snapshot_id = SnapshotId(store.log.log_end_offset, epoch)
    store.write_snapshot(
        snapshot_id, [b"state"], voters=VoterSet([folder.me]), last_timestamp_ms=NOW, now_ms=NOW
    )
    return snapshot_id


def snapshot_and_drop(store: RaftStore, folder: Folder) -> None:
    snapshot(store, folder)
    store.drop_before_snapshots(NOW)


def test_store_formats_a_new_folder_as_kafka_storage_format_does(folder: Folder) -> None:
    """The bootstrap records beside the folder, the voters' snapshot 0-0 in it."""
    store = folder.open()
    assert BOOTSTRAP.file_name in folder.names()
    assert store.bootstrap_records() == [b"bootstrap"]
    assert store.initial.voters == (VotersAt(-1, VoterSet([folder.me])),)
    assert (store.initial.election, store.initial.log_end, store.initial.epochs) == (None, 0, ())
    store.check_voter(folder.me)


def test_store_formats_once(folder: Folder) -> None:
    """Opening again changes nothing, also before anything was written to the log."""
    folder.open()
    before = {name: bytes(folder.disk.content(f"{FOLDER}/{name}")) for name in folder.names()}
    folder.reopen()
    for name, content in before.items():
        assert bytes(folder.disk.content(f"{FOLDER}/{name}")) == content


def test_store_finds_epoch_voters_and_end_again(folder: Folder) -> None:
    """What the last life wrote is what the next one starts from."""
    store = folder.open()
    node = lead(folder, store)
    fill(store, node, [b"a", b"b"])
    initial = folder.reopen().initial
    assert initial.election == ElectionState(1, 1)
    assert (initial.log_end, initial.epochs) == (5, ((1, 0),))
    assert [entry.offset for entry in initial.voters] == [-1, 0]


def test_store_reads_batches_back(folder: Folder) -> None:
    """Control and data batches from any batch's base on, up to an offset."""
    store = folder.open()
    fill(store, lead(folder, store), [b"a", b"b"])
    batches = list(store.read(0, 5))
    assert [(batch.base_offset, batch.next_offset, batch.control) for batch in batches] == [
        (0, 3, True),
        (3, 4, False),
        (4, 5, False),
    ]
    assert [bytes(value or b"") for batch in store.read(3, 4) for _, value in batch.records] == [b"a"]
    assert [batch.base_offset for batch in store.read(0, 5, control_only=True)] == [0]


def test_store_refuses_a_quorum_of_more_voters_in_words(folder: Folder) -> None:
    """Until the replicated version, a folder that names three voters is not opened."""
    store = folder.open()
    lead(folder, store)
    three = VoterSet([folder.me, folder.voter(2, b"2" * 16), folder.voter(3, b"3" * 16)])
    store.append(LogBatch(3, 1, NOW, (encode_control(three.to_record()),), control=True))
    store.log.mark_durable(store.log.flush())
    again = folder.reopen()
    assert again.initial.voters[-1] == VotersAt(3, three)
    with pytest.raises(UnsupportedQuorum, match=r"quorum of 3 voters .* runs a quorum of one"):
        again.check_voter(folder.me)


def test_store_refuses_another_nodes_folder_in_words(folder: Folder) -> None:
    """The same node id under another directory id is another voter (KIP-853)."""
    store = folder.open()
    stranger = folder.me._replace(key=VoterKey(1, Uuid(b"x" * 16)))
    with pytest.raises(UnsupportedQuorum, match="only voter is node 1"):
        store.check_voter(stranger)


def test_store_refuses_damaged_quorum_state(folder: Folder) -> None:
    """A flipped bit in the file that guards the epoch stops the start."""
    lead(folder, folder.open())
    folder.disk.content(QUORUM_STATE)[0] ^= 0x01
    with pytest.raises(RaftError, match="quorum-state is damaged"):
        folder.reopen()


def test_store_without_quorum_state_goes_by_its_log(folder: Folder) -> None:
    """The log's last epoch is proof enough for a quorum of one."""
    lead(folder, folder.open())
    folder.log_dir.close()
    folder.disk.unlink(QUORUM_STATE)
    folder.log_dir = folder._open()
    initial = folder.open().initial
    assert (initial.election, initial.epochs) == (None, ((1, 0),))


def test_store_takes_the_newest_snapshot(folder: Folder) -> None:
    """The log is read from the snapshot's end on."""
    store = folder.open()
    node = lead(folder, store)
    fill(store, node, [b"a"])
    snapshot_id = snapshot(store, folder)
    fill(store, node, [b"b"])
    again = folder.reopen()
    assert again.snapshot is not None
    assert again.snapshot.id == snapshot_id
    assert again.initial.voters == (VotersAt(snapshot_id.end_offset - 1, VoterSet([folder.me])),)
    assert again.initial.snapshots == (BOOTSTRAP, snapshot_id)


def test_store_falls_back_from_a_damaged_snapshot(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    """The one before it and the log stand for the same; the damage is reported."""
    store = folder.open()
    node = lead(folder, store)
    fill(store, node, [b"a"])
    older = snapshot(store, folder)
    fill(store, node, [b"b"])
    newer = snapshot(store, folder)
    folder.disk.content(f"{FOLDER}/{newer.file_name}")[80] ^= 0x40
    again = folder.reopen()
    assert again.snapshot is not None
    assert again.snapshot.id == older
    assert "snapshot.damaged" in caplog.text


def test_store_drops_what_two_snapshots_cover(folder: Folder) -> None:
    """The newest two stay, the log begins where the older of them ends, and it all opens again."""
    store = folder.open()
    node = lead(folder, store)
    ids = []
    for value in (b"a", b"b", b"c"):
        fill(store, node, [value])
        ids.append(snapshot(store, folder))
        store.drop_before_snapshots(NOW)
    assert store.snapshot_ids() == ids[-2:]
    assert store.log.log_start_offset == ids[-2].end_offset
    again = folder.reopen()
    assert again.snapshot is not None
    assert again.snapshot.id == ids[-1]
    folder.disk.content(f"{FOLDER}/{ids[-1].file_name}")[80] ^= 0x40
    again = folder.reopen()
    assert again.snapshot is not None
    assert again.snapshot.id == ids[-2]


def test_store_frees_the_space_of_what_snapshots_cover(folder: Folder) -> None:
    """Segments that the older kept snapshot covers leave the log at once, the disk after the deletion's delay."""
    store = folder.open()
    node = lead(folder, store)
    for _ in range(6):
        fill(store, node, [bytes(7 * 1024 * 1024)])
        store.log.high_watermark = store.log.log_end_offset
        snapshot_and_drop(store, folder)
    logs = [name for name in folder.names() if name.endswith(".log")]
    assert logs == ["00000000000000000007.log"]
    assert "00000000000000000000.log.deleted" in folder.names()
    store.log.purge(NOW + LOG_CONFIG.file_delete_delay_ms)
    assert not [name for name in folder.names() if name.endswith(".deleted")]
    again = folder.reopen()
    assert again.snapshot is not None
    assert again.log.log_end_offset == store.log.log_end_offset


def test_store_survives_a_crash_anywhere_in_taking_a_snapshot() -> None:
    """At every disk operation of writing one and dropping what it covers: the folder opens and nothing is missing."""

    def prepared() -> tuple[Folder, RaftStore]:
        folder = Folder()
        store = folder.open()
        node = lead(folder, store)
        for value in (b"a", b"b", b"c"):
            fill(store, node, [value])
            if value != b"c":
                snapshot(store, folder)
                store.drop_before_snapshots(NOW)
        return folder, store

    folder, store = prepared()
    folder.disk.operations.clear()
    end = store.log.log_end_offset
    snapshot_and_drop(store, folder)
    operations = len(folder.disk.operations)
    assert operations > 5
    for crash_at in range(operations):
        for seed in range(3):
            folder, store = prepared()
            folder.disk.operations.clear()
            folder.disk.crash_at = crash_at
            with pytest.raises(SimCrash):
                snapshot_and_drop(store, folder)
            folder.disk.crash(Random(seed))
            folder.log_dir = folder._open()
            again = folder.open()
            assert again.snapshot is not None
            assert again.log.log_end_offset == end
            tail = list(again.read(again.snapshot.id.end_offset, end))
            assert again.snapshot.id.end_offset + sum(len(batch.records) for batch in tail) == end


def test_store_refuses_a_log_that_begins_after_all_snapshots(folder: Folder) -> None:
    """With both snapshots damaged the beginning is gone, and the text says so."""
    store = folder.open()
    node = lead(folder, store)
    for value in (b"a", b"b", b"c"):
        fill(store, node, [value])
        snapshot(store, folder)
        store.drop_before_snapshots(NOW)
    for snapshot_id in store.snapshot_ids():
        folder.disk.content(f"{FOLDER}/{snapshot_id.file_name}")[80] ^= 0x40
    with pytest.raises(RaftError, match="no readable snapshot stands for what came before"):
        folder.reopen()


def test_store_begins_anew_at_a_snapshot_beyond_the_log(folder: Folder) -> None:
    """What a crash left between putting a downloaded snapshot in place and emptying the log: the snapshot counts.

    Reference: KIP-630; a snapshot stands for committed records only.
    """
    store = folder.open()
    lead(folder, store)
    pieces = write_snapshot(
        SnapshotId(99, 1), [], voters=VoterSet([folder.me]), last_timestamp_ms=NOW, now_ms=NOW
    )
    folder.disk.replace(f"{FOLDER}/{SnapshotId(99, 1).file_name}", b"".join(pieces))
    again = folder.reopen()
    assert (again.initial.log_start, again.initial.log_end) == (99, 99)
    assert again.initial.epochs == ()
    once_more = folder.reopen(clean=False)
    assert (once_more.initial.log_start, once_more.initial.log_end) == (99, 99)


def test_store_opens_an_empty_folder_as_an_observers(folder: Folder) -> None:
    """Without founding there are no voters, no snapshot and nothing that says a quorum exists."""
    assert not knows_quorum(folder.log_dir)
    initial = open_store(folder.log_dir).initial
    assert (initial.voters, initial.snapshots, initial.log_end, initial.election) == ((), (), 0, None)
    assert not knows_quorum(folder.log_dir)


def test_store_knows_its_quorum_by_each_of_its_files(folder: Folder) -> None:
    """An observer that has seen an epoch must never found another quorum."""
    store = open_store(folder.log_dir)
    store.save_election(ElectionState(3, 2))
    assert knows_quorum(folder.log_dir)


def downloaded(folder: Folder, end: int = 50, epoch: int = 4) -> tuple[SnapshotId, bytes]:
    snapshot_id = SnapshotId(end, epoch)
    pieces = write_snapshot(
        snapshot_id, [b"state"], voters=VoterSet([folder.me]), last_timestamp_ms=NOW, now_ms=NOW
    )
    return snapshot_id, b"".join(pieces)


def install(store: RaftStore, snapshot_id: SnapshotId, data: bytes) -> None:
    half = len(data) // 2
    assert store.write_piece(Piece(snapshot_id, 0, data[:half], last=False)) is None
    installed = store.write_piece(Piece(snapshot_id, half, data[half:], last=True))
    assert installed is not None
    assert installed.id == snapshot_id


def test_store_puts_a_downloaded_snapshot_in_the_place_of_the_log(folder: Folder) -> None:
    """Checked whole, renamed, and the log begins at its end; older snapshots and the old log are gone.

    Reference: KIP-630.
    """
    store = folder.open()
    fill(store, lead(folder, store), [b"a", b"b"])
    snapshot_id, data = downloaded(folder)
    install(store, snapshot_id, data)
    assert store.snapshot_ids() == [snapshot_id]
    assert (store.log.log_start_offset, store.log.log_end_offset, store.log.durable_offset) == (50, 50, 50)
    batch = encode_batch([(None, b"x")], base_offset=50, epoch=5, timestamp_ms=NOW, control=False)
    store.append_fetched(Fetched(50, 51, bytes(batch)), NOW)
    store.log.sync()
    again = folder.reopen()
    assert again.snapshot is not None
    assert again.snapshot.id == snapshot_id
    assert (again.initial.log_start, again.initial.log_end, again.initial.epochs) == (50, 51, ((5, 50),))


def test_store_throws_a_damaged_download_away(folder: Folder) -> None:
    """A flipped bit is found before the log is touched, and the next download may succeed."""
    store = folder.open()
    fill(store, lead(folder, store), [b"a"])
    end = store.log.log_end_offset
    snapshot_id, data = downloaded(folder)
    bad = bytearray(data)
    bad[80] ^= 0x10
    with pytest.raises(RaftError, match="damaged"):
        store.write_piece(Piece(snapshot_id, 0, bytes(bad), last=True))
    assert store.log.log_end_offset == end
    with pytest.raises(RaftError, match="without its beginning"):
        store.write_piece(Piece(snapshot_id, 10, data[10:], last=True))
    install(store, snapshot_id, data)


def test_store_survives_a_crash_anywhere_in_installing_a_snapshot() -> None:
    """At every disk operation: the folder opens with the old log whole, or at the snapshot, and nothing between."""

    def prepared() -> tuple[Folder, RaftStore]:
        folder = Folder()
        store = folder.open()
        fill(store, lead(folder, store), [b"a", b"b", b"c"])
        folder.log_dir.checkpoint(folder.log_dir.collect())
        folder.disk.operations.clear()
        return folder, store

    folder, store = prepared()
    old_end = store.log.log_end_offset
    snapshot_id, data = downloaded(folder)
    install(store, snapshot_id, data)
    operations = len(folder.disk.operations)
    assert operations > 8
    for crash_at in range(operations):
        for seed in range(4):
            folder, store = prepared()
            folder.disk.crash_at = crash_at
            with pytest.raises(SimCrash):
                install(store, snapshot_id, data)
            folder.disk.crash(Random(seed))
            folder.log_dir = folder._open()
            initial = folder.open().initial
            assert (initial.log_start, initial.log_end) in ((0, old_end), (50, 50)), f"at {crash_at}/{seed}"
            assert initial.voters


def test_store_reads_a_snapshot_piece_by_piece(folder: Folder) -> None:
    """The size is the whole file's; beyond the end there is nothing; a file that is gone says so."""
    store = folder.open()
    fill(store, lead(folder, store), [b"a"])
    snapshot_id = snapshot(store, folder)
    whole = bytes(folder.disk.content(f"{FOLDER}/{snapshot_id.file_name}"))
    data, position = b"", 0
    while position < len(whole):
        piece, size = store.read_piece(snapshot_id, position, 100)
        assert size == len(whole)
        data += piece
        position += len(piece)
    assert data == whole
    assert store.read_piece(snapshot_id, len(whole), 100) == (b"", len(whole))
    with pytest.raises(FileMissing):
        store.read_piece(SnapshotId(77, 1), 0, 100)


def test_store_clears_temp_files_away(folder: Folder) -> None:
    """A crash while a snapshot or quorum-state was written leaves nothing that is ever read."""
    folder.open()
    for name in ("00000000000000000007-0000000001.checkpoint.tmp", "quorum-state.tmp"):
        folder.disk.write(f"{FOLDER}/{name}", b"half")
    folder.reopen()
    assert not [name for name in folder.names() if name.endswith(".tmp")]


def test_store_without_voters_is_refused(folder: Folder) -> None:
    """A log that nobody votes on is not a quorum's."""
    store = folder.open()
    data = encode_batch([(None, b"x")], base_offset=0, epoch=1, timestamp_ms=NOW, control=False)
    store.log.append_replica(data, NOW)
    store.log.mark_durable(store.log.flush())
    folder.log_dir.close()
    folder.disk.unlink(f"{FOLDER}/{BOOTSTRAP.file_name}")
    folder.log_dir = folder._open()
    with pytest.raises(RaftError, match="name the quorum's voters"):
        folder.open()


def test_store_reports_a_missing_bootstrap_file(folder: Folder) -> None:
    """The first start needs it; its absence is a storage error, not an empty cluster."""
    store = folder.open()
    folder.disk.unlink(BOOTSTRAP_FILE)
    with pytest.raises(Exception, match="no such file"):
        store.bootstrap_records()
