"""The scrubber's look at the quorum's own folder: the segments of the metadata log, and its snapshots.

Damage there is said and shown, and nothing more: a node that stopped to use its metadata log would be one voice less,
for records that nobody may need any more. What reads them still looks at their checksums (`raft.answer_data`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from moldau_broker.raft.protocol import PARTITION, TOPIC
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.store import FOLDER
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.scrub import FileCheck, SegmentCheck, next_check
from moldau_broker.storage.scrub_pace import Key, Round

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.storage.disk import Disk
    from moldau_broker.storage.log import Log
    from moldau_broker.telemetry.exposition import Exposition

logger = logging.getLogger(__name__)

METADATA: Final[Key] = (TOPIC, PARTITION)

RUNBOOK: Final = "docs/runbooks.md: MoldauMetadataLogDamaged"

LOG_ADVICE: Final = (
    "The node goes on. With three or more controllers, and the others up, start it anew: it fetches from them what is "
    f"damaged. With fewer, copy the directory away before it is restarted. {RUNBOOK}"
)
SNAPSHOT_ADVICE: Final = (
    "The node goes on, and its next snapshots take the place of this one. With fewer than three controllers do not "
    f"restart it before. {RUNBOOK}"
)


class Damage(NamedTuple):
    """Something damaged in the quorum's folder.

    Attributes:
        file: its path below the data directory.
        reason: what is wrong, and where.
        advice: what a person can do.
        found_ms: when it was found last, wall clock.
    """

    file: str
    reason: str
    advice: str
    found_ms: int


class Listing:
    """Looks which files there are; a step of a walk like the checks, because it may wait for the disk.

    Attributes:
        names: of the files in the folder, None where they cannot be listed.
    """

    position: Final = 0
    damage: Final = None
    is_current: Final = True

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.done = False
        self.names: list[str] | None = None

    def step(self, size: int) -> int:
        """List them. Blocks; any thread."""
        del size
        self.done = True
        try:
            self.names = [entry.name for entry in self._disk.entries(FOLDER)]
        except StorageError:
            self.names = None
        return 0


class MetadataScrub:
    """What to look at in the quorum's folder, and what was found there. Owned by the event loop."""

    def __init__(
        self, disk: Disk, log: Callable[[], Log | None], clock: Clock, damage: dict[str, Damage]
    ) -> None:
        """`damage` is kept up to date, by path: what a later look finds in order, or gone, is taken out."""
        self._disk = disk
        self._log = log
        self._clock = clock
        self._snapshots: list[str] | None = None
        self._damage = damage

    def next_check(self, walk: Round) -> FileCheck | Listing | None:
        """What to look at next; None when the folder's turn is over. Segments first, then snapshots."""
        log = self._log()
        if walk.up_to is None:
            walk.up_to = log.log_end_offset if log is not None else 0
            self._snapshots = None
        check = next_check(log, walk.after, walk.up_to) if log is not None else None
        if check is not None:
            walk.after = check.segment.base_offset
            return check
        if self._snapshots is None:
            return Listing(self._disk)
        return FileCheck(self._disk, f"{FOLDER}/{self._snapshots.pop()}") if self._snapshots else None

    def emit(self, exposition: Exposition) -> None:
        """Show how many files are damaged, as far as is known."""
        exposition.add("moldau_metadata_log_damaged_files", len(self._damage))

    def stepped(self, check: FileCheck | Listing) -> bool:
        """Take over what a step found; whether that is damage."""
        if isinstance(check, Listing):
            names = check.names or []
            self._snapshots = sorted(name for name in names if SnapshotId.from_file_name(name) is not None)
            there = {f"{FOLDER}/{name}" for name in names}
            for path in self._damage.keys() - there:
                del self._damage[path]
            return False
        if check.damage is None or not check.is_current:
            if check.done:
                self._damage.pop(check.path, None)
            return False
        advice = LOG_ADVICE if isinstance(check, SegmentCheck) else SNAPSHOT_ADVICE
        found = Damage(check.path, str(check.damage), advice, self._clock.wall_ms())
        self._damage[found.file] = found
        logger.error(
            "log.damage_found",
            extra={
                "topic": TOPIC,
                "partition": PARTITION,
                "offset": check.damage.offset,
                "reason": found.reason,
                "outcome": found.advice,
            },
        )
        return True
