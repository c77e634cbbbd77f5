"""A damaged metadata log or quorum-state: set aside, and this node made one that recovers, without a voice meanwhile.

A bit that flips at rest must neither be cut away, as what stands there may have been acknowledged, nor keep a node down
for good, as the others have all that was committed. Before anything is touched a mark is written, durably
(`store.RECOVERING`): as long as it is there this node votes for nobody and counts for nothing, wherever a crash comes.
What is damaged keeps its bytes under a name that nothing reads (`*.damaged-1`); the log begins anew, empty, at the end
of the newest snapshot that can be read, and the rest comes from the leader. The mark goes when `recovering` says so.

Healed is a folder of which at least two other voters are known (an observer's: any). A quorum of one has nobody to
fetch from, and one of two can commit nothing without this node: both are refused as ever. What a crash tears off the
end, with nothing whole behind it, is cut as ever; otherwise a power cut could make everybody recover, and nobody lead.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from moldau_broker.raft.damage import Examined, examine
from moldau_broker.raft.errors import Damaged, DamagedQuorum, RaftError
from moldau_broker.raft.protocol import PARTITION, TOPIC
from moldau_broker.raft.quorum import VoterKey, VoterSet
from moldau_broker.raft.snapshot import SUFFIX, SnapshotId, read_snapshot
from moldau_broker.raft.store import FOLDER, QUORUM_STATE, RECOVERING, RECOVERING_NAME
from moldau_broker.storage.errors import CorruptLog, FileMissing
from moldau_broker.storage.names import (
    LEADER_EPOCHS,
    QUARANTINE,
    SEGMENT_SUFFIXES,
    SNAPSHOT,
    parse_segment_file,
)

if TYPE_CHECKING:
    from moldau_broker.storage.logdir import LogDir

logger = logging.getLogger(__name__)

VOTERS_MIN: Final = 3
"""With fewer the others are no majority without this node."""
_BEGUN: Final = b"setting aside: "
_DONE: Final = b"fetching anew"


class Healing:
    """Of one data directory, before its quorum folder is opened."""

    def __init__(self, log_dir: LogDir) -> None:
        self._log_dir = log_dir
        self._disk = log_dir.disk

    def go_on(self) -> None:
        """End what a crash interrupted; and look at a log that a crash left, before opening it would cut it.

        Raises:
            StorageError: the disk failed.
        """
        names = self._names()
        if RECOVERING_NAME in names:
            mark = self._disk.read(RECOVERING)
            if mark != _DONE:
                kinds = [kind for kind in Damaged if kind.value in mark.decode(errors="replace").split(" ")]
                # A mark that cannot be read may have been about anything.
                self._set_aside(kinds if mark.startswith(_BEGUN) and kinds else list(Damaged))
        if names and not self._log_dir.was_clean and (TOPIC, PARTITION) not in self._log_dir.logs:
            examined = examine(self._disk, FOLDER)
            if examined.damage is not None and examined.followed and self._others_know(examined):
                self._begin(Damaged.LOG, examined.damage, examined.damage)

    def heal(self, error: CorruptLog | DamagedQuorum) -> None:
        """Opening the folder came upon damage: make it one that can be opened.

        Raises:
            CorruptLog, DamagedQuorum: `error`, as there is nobody to fetch it from.
            StorageError: the disk failed.
        """
        examined = examine(self._disk, FOLDER)
        if not self._others_know(examined):
            raise error
        what = error.what if isinstance(error, DamagedQuorum) else Damaged.LOG
        self._begin(what, error, examined.damage)

    # -- whether --------------------------------------------------------------------------------------------

    def _others_know(self, examined: Examined) -> bool:
        if RECOVERING_NAME in self._names():
            return True  # it has no voice in any case, and who the voters are may have been set aside already
        voters = self._newest_voters(examined)
        if VoterKey(self._log_dir.node_id, self._log_dir.directory_id) in voters:
            return len(voters) + examined.hidden >= VOTERS_MIN
        return len(voters) > 0

    def _newest_voters(self, examined: Examined) -> VoterSet:
        ids = (SnapshotId.from_file_name(name) for name in self._names())
        for snapshot_id in sorted((found for found in ids if found is not None), reverse=True):
            name = snapshot_id.file_name
            try:
                voters = read_snapshot(self._disk.read(f"{FOLDER}/{name}"), name).voters
            except RaftError:
                continue
            newer = examined.voters is not None and examined.voters.offset >= snapshot_id.end_offset
            if voters is not None and not newer:
                return voters
            break
        return examined.voters.voters if examined.voters is not None else VoterSet(())

    # -- how ------------------------------------------------------------------------------------------------

    def _begin(self, what: Damaged, error: Exception, where: CorruptLog | None) -> None:
        logger.error(
            "raft.damage_found",
            extra={
                "what": what.value,
                "reason": str(error),
                "file": where.file if where is not None and what is Damaged.LOG else "",
                "position": where.position if where is not None and what is Damaged.LOG else -1,
                "action": "the damaged files are kept as *.damaged-N, what they held is fetched from the other voters, "
                "and this node has no vote until then",
            },
        )
        kinds: list[Damaged] = [what, Damaged.LOG] if what is Damaged.SNAPSHOTS else [what]
        self._disk.replace(RECOVERING, _BEGUN + " ".join(kind.value for kind in kinds).encode())
        self._set_aside(kinds)

    def _set_aside(self, kinds: list[Damaged]) -> None:
        """May be repeated from the beginning: what was renamed is not there any more."""
        if Damaged.LOG in kinds:
            self._log_dir.give_up_log(TOPIC, PARTITION)
        for name in sorted(self._names()):
            if any(_is_of(kind, name) for kind in kinds):
                self._disk.rename(f"{FOLDER}/{name}", f"{FOLDER}/{self._free_name(name)}")
        self._disk.sync_folder(FOLDER)
        self._disk.replace(RECOVERING, _DONE)

    def _names(self) -> set[str]:
        try:
            return {entry.name for entry in self._disk.entries(FOLDER)}
        except FileMissing:
            return set()

    def _free_name(self, name: str) -> str:
        taken = self._names()
        number = 1
        while f"{name}.damaged-{number}" in taken:
            number += 1
        return f"{name}.damaged-{number}"


def _is_of(kind: Damaged, name: str) -> bool:
    """Whether a file of the folder is of this kind."""
    match kind:
        case Damaged.STATE:
            return f"{FOLDER}/{name}" == QUORUM_STATE
        case Damaged.SNAPSHOTS:
            return name.endswith(SUFFIX) and SnapshotId.from_file_name(name) is not None
        case Damaged.LOG:
            parsed = parse_segment_file(name)
            return name in (LEADER_EPOCHS, QUARANTINE) or (
                parsed is not None and parsed[1] in (*SEGMENT_SUFFIXES, SNAPSHOT)
            )
