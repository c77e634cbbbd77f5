"""Checking a log's closed segments while it serves: every CRC, every offset. Finds what reading does not.

Reads are checked where other replicas have the same (`verify`); recovery checks only what a crash may have torn. This
is the third: slow, whenever wanted, on a helper thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from moldau_broker.storage.batches import Scan
from moldau_broker.storage.errors import CorruptLog, FileMissing
from moldau_broker.storage.folder import quarantine
from moldau_broker.storage.names import LOG

if TYPE_CHECKING:
    from moldau_broker.storage.log import Log
    from moldau_broker.storage.segment import Segment


class Scrubbed(NamedTuple):
    """A segment that was checked: its base offset, its bytes, what is wrong with it."""

    base_offset: int
    size: int
    damage: CorruptLog | None


def scrub(log: Log) -> Iterator[Scrubbed]:
    """Check what is durable of a log, segment by segment. Blocks for each; any thread.

    The caller decides what damage means; `put_aside` takes the log out of service for good.
    """
    durable = log.durable_offset
    for segment in log.segments:
        if segment.base_offset >= durable:
            return
        try:
            damage = _check(log, segment, durable)
        except FileMissing:
            continue  # retention or compaction took it
        yield Scrubbed(segment.base_offset, segment.size, damage)


def put_aside(log: Log, damage: CorruptLog) -> None:
    """Take a damaged log out of service, over restarts too. Blocks for the note."""
    if log.observer is None:
        quarantine(log.place, damage)
    log.fail(damage)


def _check(log: Log, segment: Segment, durable: int) -> CorruptLog | None:
    generation = log.generation
    size = segment.size
    read = segment.reader()
    scan = Scan(read, 0, size, base_offset=segment.base_offset, next_offset=segment.base_offset)
    for _ in scan:
        if scan.next_offset >= durable:
            return None
    if scan.fault is None or generation != log.generation or scan.next_offset >= durable:
        return None
    return CorruptLog(
        scan.fault, file=log.place.path(segment.name(LOG)), position=scan.position, offset=scan.next_offset
    )
