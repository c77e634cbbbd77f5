"""What to do with a log after a crash: the rule, and the report of what was done. Pure.

The recovery point is an offset up to which the log was made durable. A fault below it means that data we
promised to keep is damaged: the log is put aside, whole. A fault at or above it is what a crash leaves of
writes nobody was promised: the log ends at the last whole batch before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from moldau_broker.storage.batches import Batch, Reader, Scan
from moldau_broker.storage.errors import CorruptLog


class Fault(Enum):
    """What a damaged place in a log is."""

    TORN = "torn"
    CORRUPT = "corrupt"


@dataclass(slots=True)
class RecoveryReport:
    """What opening a log found and did. Sizes in bytes.

    Attributes:
        clean: it had been closed cleanly, so nothing was scanned.
        scanned_bytes: verified batch by batch.
        cut_bytes: dropped from the end, whole later segments included.
        cut_segments: later segments dropped.
        cut_at: the log's end after the cut; -1 without one.
        reason: why the scan stopped there.
        rebuilt_indexes: segments whose indexes were missing or damaged.
        walked_bytes: headers read to restore producer state.
    """

    clean: bool = True
    scanned_bytes: int = 0
    cut_bytes: int = 0
    cut_segments: int = 0
    cut_at: int = -1
    reason: str = ""
    rebuilt_indexes: int = 0
    walked_bytes: int = 0

    def __str__(self) -> str:
        if self.clean:
            return "closed cleanly"
        text = f"checked {self.scanned_bytes} bytes"
        if self.cut_at >= 0:
            text += f", cut {self.cut_bytes} bytes at offset {self.cut_at}: {self.reason}"
        return text


def judge(
    scan: Scan, recovery_point: int | None, *, is_last: bool, read: Reader, size: int, base_offset: int
) -> Fault:
    """What the fault that stopped `scan` is.

    Without a recovery point (its checkpoint is lost) there is no telling for sure: a fault is taken for a torn
    tail only in the last segment, and only if no valid batch follows where the damaged one says it ends.
    """
    if recovery_point is not None:
        return Fault.CORRUPT if scan.next_offset < recovery_point else Fault.TORN
    if not is_last or _continues(scan, read, size, base_offset):
        return Fault.CORRUPT
    return Fault.TORN


def _continues(scan: Scan, read: Reader, size: int, base_offset: int) -> bool:
    head = bytes(read(12, scan.position))
    if len(head) < 12:
        return False
    base, length = int.from_bytes(head[:8], "big"), int.from_bytes(head[8:], "big")
    after = scan.position + 12 + length
    if base < scan.next_offset or base - base_offset >= 2**31 or after >= size:
        return False
    return any(True for _ in Scan(read, after, size, base_offset=base_offset, next_offset=base + 1))


def ascending(entries: list[tuple[int, int]]) -> bool:
    """Whether an index is in order; one that is not anywhere is not believed at all."""
    return all(one[0] < two[0] and one[1] < two[1] for one, two in pairwise(entries))


def verified_start(
    entries: list[tuple[int, int]], base_offset: int, recovery_point: int, read: Reader, size: int
) -> tuple[int, int]:
    """(number of index entries to keep, position to scan from) for the segment that holds the recovery point.

    The newest entry below the recovery point whose batch is whole and is the one the entry names; (0, 0)
    without one.
    """
    at = len(entries)
    while at > 0:
        offset, position = entries[at - 1]
        if base_offset + offset < recovery_point and position < size:
            scan = Scan(read, position, size, base_offset=base_offset, next_offset=base_offset)
            first: Batch | None = next(iter(scan), None)
            if first is not None and first.last_offset == base_offset + offset:
                return at, position
        at -= 1
    return 0, 0


def corrupt(path: str, scan: Scan, recovery_point: int | None) -> CorruptLog:
    """The error for a fault that must not be cut away."""
    promised = "an unknown offset" if recovery_point is None else f"offset {recovery_point}"
    reason = f"{scan.fault}, though the log was durable up to {promised}"
    return CorruptLog(reason, file=path, position=scan.position, offset=scan.next_offset)


Progress = Callable[[str, int, int], None]
"""(folder, bytes done, bytes to do), called now and then while a log is scanned."""
