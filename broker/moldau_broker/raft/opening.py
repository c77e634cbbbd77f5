"""The quorum's folder in a data directory: whether it is there; made for a new quorum; opened, healed if need be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from moldau_broker.raft.errors import DamagedQuorum
from moldau_broker.raft.healing import Healing
from moldau_broker.raft.protocol import PARTITION, TOPIC
from moldau_broker.raft.quorum import Voter, VoterSet
from moldau_broker.raft.snapshot import BOOTSTRAP, SnapshotId, write_snapshot
from moldau_broker.raft.store import BOOTSTRAP_FILE, FOLDER, LOG_CONFIG, RECOVERING_NAME, TOPIC_ID, RaftStore
from moldau_broker.storage.checkpoints import encode_partition_metadata
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.names import PARTITION_METADATA

if TYPE_CHECKING:
    from moldau_broker.storage.logdir import LogDir

_KINDS: Final = 3
"""Log, snapshots and quorum-state may be damaged, and are found one after the other."""


def open_store(log_dir: LogDir) -> RaftStore:
    """Open the data directory's quorum folder; an empty one is that of an observer that knows no voters yet.

    What is damaged is set aside and fetched from the others again, where they are enough for that (`healing`).

    Raises:
        RaftError: the folder cannot be used; the text says why.
        StorageError: the disk failed, or the log is damaged and there is nobody to fetch it from.
    """
    healing = Healing(log_dir)
    healing.go_on()
    for _ in range(_KINDS):
        try:
            return _open(log_dir)
        except (CorruptLog, DamagedQuorum) as error:
            healing.heal(error)
    return _open(log_dir)


def _open(log_dir: LogDir) -> RaftStore:
    log = log_dir.logs.get((TOPIC, PARTITION))
    if log is None:
        log = log_dir.open_log(TOPIC, PARTITION, LOG_CONFIG, topic_id=TOPIC_ID)
    return RaftStore(log_dir.disk, log)


def knows_quorum(log_dir: LogDir) -> bool:
    """Whether the data directory belongs to a quorum already, before anything is opened."""
    disk = log_dir.disk
    if all(entry.name != FOLDER for entry in disk.entries()):
        return False
    entries = disk.entries(FOLDER)
    return any(
        entry.name in ("quorum-state", RECOVERING_NAME)
        or SnapshotId.from_file_name(entry.name) is not None
        or (entry.name.endswith(".log") and entry.size > 0)
        for entry in entries
    )


def found_quorum(log_dir: LogDir, me: Voter, bootstrap: Iterable[bytes], now_ms: int) -> None:
    """Make `me` the only voter of a new quorum, where there is none yet; call it before `open_store`.

    The voters' file comes last: it is what says that the quorum exists.

    Args:
        log_dir: the opened data directory.
        me: this node.
        bootstrap: encoded metadata records for the new quorum's bootstrap.checkpoint.
        now_ms: wall time.

    Raises:
        StorageError: the disk failed.
    """
    assert not knows_quorum(log_dir), "a quorum is founded once"
    disk = log_dir.disk
    disk.make_folder(FOLDER)
    disk.replace(f"{FOLDER}/{PARTITION_METADATA}", encode_partition_metadata(TOPIC_ID))
    disk.sync_folder()
    records = write_snapshot(BOOTSTRAP, bootstrap, voters=None, last_timestamp_ms=0, now_ms=now_ms)
    disk.replace(BOOTSTRAP_FILE, b"".join(records))
    empty = write_snapshot(BOOTSTRAP, (), voters=VoterSet([me]), last_timestamp_ms=now_ms, now_ms=now_ms)
    disk.replace(f"{FOLDER}/{BOOTSTRAP.file_name}", b"".join(empty))
