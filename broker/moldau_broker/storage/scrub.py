"""Checking a log's closed segments while it serves: every CRC, every offset. Finds what nobody reads.

Reads are checked where other replicas have the same (`verify`); recovery checks only what a crash may have torn. This
is the third: slow, a stretch at a time, on a helper thread. What is read is not kept open among the log's own files,
so that a walk over everything does not close what clients use.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from moldau_broker.storage.batches import Scan
from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.names import LOG

if TYPE_CHECKING:
    from moldau_broker.storage.disk import DiskFile
    from moldau_broker.storage.log import Log
    from moldau_broker.storage.segment import Segment

_BEFORE_ALL: Final = -1


class SegmentCheck:
    """One closed segment under check.

    Attributes:
        log: whose it is.
        segment: what is checked.
        position: bytes that were found in order.
        done: nothing is left to read: all is in order, or `damage` says what is not.
        damage: the first thing that is wrong; believe it only while `is_current`.
    """

    def __init__(self, log: Log, segment: Segment, limit: int) -> None:
        """`limit` is the offset at which the next segment begins."""
        self.log = log
        self.segment = segment
        self.position = 0
        self.done = False
        self.damage: CorruptLog | None = None
        self._limit = limit
        self._next_offset = segment.base_offset
        self._generation = log.generation
        self._file: DiskFile | None = None

    @property
    def is_current(self) -> bool:
        """Whether the log still consists of this segment: asked on the log's thread, after a step.

        Retention, truncation and compaction rename files; a step that came between them may have read others.
        """
        log = self.log
        return (
            log.failure is None
            and log.generation == self._generation
            and any(one is self.segment for one in log.segments)
        )

    def step(self, size: int) -> int:
        """Check on for about `size` bytes, whole batches; the bytes read. Blocks; any thread, one at a time.

        A file that is not there has been renamed or deleted meanwhile: the next walk sees what is there then.
        """
        assert not self.done, "this segment has been checked"
        begin = self.position
        path = self.log.place.path(self.segment.name(LOG))
        try:
            self._scan(path, size)
        except FileMissing:
            self.done = True
        except StorageError as error:  # a sector that cannot be read is lost like one that reads wrong
            self.damage = CorruptLog(str(error), file=path, position=self.position, offset=self._next_offset)
        self.done = self.done or self.damage is not None or self.position >= self.segment.size
        if self.done:
            self._file = None
        return self.position - begin

    def _scan(self, path: str, size: int) -> None:
        if self._file is None:
            self._file = self.log.place.disk.open(path, write=False)
        segment, stop = self.segment, self.position + size
        scan = Scan(
            self._file.pread,
            self.position,
            segment.size,
            base_offset=segment.base_offset,
            next_offset=self._next_offset,
        )
        for batch in scan:
            if batch.last_offset >= self._limit:
                scan.fault = f"offset {batch.last_offset} before a segment that begins at {self._limit}"
                break
            self.position = batch.position + batch.size
            self._next_offset = batch.last_offset + 1
            if self.position >= stop:
                break
        if scan.fault is not None:
            self.damage = CorruptLog(scan.fault, file=path, position=self.position, offset=self._next_offset)


def next_check(log: Log, after: int = _BEFORE_ALL) -> SegmentCheck | None:
    """The first closed and wholly durable segment that begins above offset `after`; None if there is none.

    On the log's thread. The active segment is left out: its newest batches are checked with every fetch, and what it
    holds will be looked at once it is closed.
    """
    segments = log.segments
    if log.failure is not None:
        return None
    for segment, following in pairwise(segments):
        if following.base_offset > log.durable_offset:
            return None
        if segment.base_offset > after and segment.size:
            return SegmentCheck(log, segment, following.base_offset)
    return None
