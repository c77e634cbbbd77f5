"""The offset checkpoints of a data directory: what it has promised, on disk and about to be.

Values are taken on the loop thread and written on any; an older collection never overwrites a newer one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from moldau_broker.storage.checkpoints import decode_offsets, encode_offsets
from moldau_broker.storage.errors import CorruptLog, FileMissing
from moldau_broker.storage.names import HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS

if TYPE_CHECKING:
    from moldau_broker.storage.disk import Disk
    from moldau_broker.storage.log import Log

TopicPartition: TypeAlias = tuple[str, int]
Offsets: TypeAlias = dict[TopicPartition, int]

CHECKPOINTS: Final = (RECOVERY_POINTS, LOG_STARTS, HIGH_WATERMARKS)


@dataclass(slots=True)
class Collected:
    """Checkpoint values as of one moment; a higher number is newer."""

    number: int
    offsets: dict[str, Offsets] = field(default_factory=dict)


class OffsetCheckpoints:
    """Recovery points, log start offsets and high watermarks of one directory.

    Attributes:
        damaged: files that were unreadable when read, and why.
        points_lost: there is no telling which offsets had been promised.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._written: dict[str, Offsets | None] = dict.fromkeys(CHECKPOINTS)
        # Lines of partitions that are there but not open: a checkpoint must not forget what it promised.
        self._carried: dict[str, Offsets] = {name: {} for name in CHECKPOINTS}
        self._collections = 0
        self._last_written = 0
        self._lock = threading.Lock()
        self.damaged: list[str] = []
        self.points_lost = False

    def create(self) -> None:
        """Empty ones, in a new directory."""
        for name in CHECKPOINTS:
            self._disk.replace(name, encode_offsets({}))

    def read(self) -> None:
        """Learn what the last user of the directory wrote."""
        for name in CHECKPOINTS:
            try:
                data = self._disk.read(name)
                if not data:  # Kafka's, before it has anything to say; we never leave one empty
                    self.points_lost |= name == RECOVERY_POINTS
                    continue
                offsets = decode_offsets(data)
            except (CorruptLog, FileMissing) as error:
                self.damaged.append(f"{name}: {error}")
                self.points_lost |= name == RECOVERY_POINTS
                continue
            self._written[name] = offsets
            self._carried[name] = dict(offsets)

    def carried(self, name: str, key: TopicPartition) -> int:
        """The line of a partition that is not open; 0 without one."""
        return self._carried[name].get(key, 0)

    def forget(self, key: TopicPartition) -> None:
        """Its log speaks for itself from now on, or is gone."""
        for carried in self._carried.values():
            carried.pop(key, None)

    def carry_only(self, wanted: Callable[[TopicPartition], bool]) -> None:
        """Forget the lines of partitions that are not there any more."""
        for name, offsets in self._carried.items():
            self._carried[name] = {key: offset for key, offset in offsets.items() if wanted(key)}

    def promises(self, key: TopicPartition) -> bool:
        """Whether a file on disk has a line for the partition."""
        return any(key in (offsets or {}) for offsets in self._written.values())

    def collect(self, logs: Iterable[tuple[TopicPartition, Log]]) -> Collected:
        """The values as of now. Loop thread."""
        points, starts, marks = (dict(self._carried[name]) for name in CHECKPOINTS)
        for key, log in logs:
            points[key] = log.durable_offset
            if log.log_start_offset > log.segments[0].base_offset:
                starts[key] = log.log_start_offset
            marks[key] = log.high_watermark
        self._collections += 1
        return Collected(
            self._collections, {RECOVERY_POINTS: points, LOG_STARTS: starts, HIGH_WATERMARKS: marks}
        )

    def write(self, collected: Collected) -> None:
        """Write the files whose values changed, durably, unless newer ones were written. Any thread.

        Raises:
            StorageError: a file could not be replaced; the old one stands.
        """
        with self._lock:
            if collected.number <= self._last_written:
                return
            for name, offsets in collected.offsets.items():
                if offsets != self._written[name]:
                    self._disk.replace(name, encode_offsets(offsets))
                    self._written[name] = offsets
            self._last_written = collected.number
