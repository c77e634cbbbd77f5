"""Checking what a log holds while it serves: every CRC, every offset. Finds what nobody reads.

Reads are checked where other replicas have the same (`verify`); recovery checks only what a crash may have torn. This
is the third: slow, a stretch at a time, on a helper thread. What is read is not kept open among the log's own files,
so that a walk over everything does not close what clients use.

The active segment is checked up to where it is durable when its check begins. Below that nothing is written any more,
so the writer is never raced; only a truncation takes bytes there away, and `is_current` tells. What is in the kernel's
memory is read from there: a disk that has lost what was written a moment ago is found out in a later walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moldau_broker.storage.batches import Batch, Scan
from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.names import LOG

if TYPE_CHECKING:
    from moldau_broker.storage.disk import Disk, DiskFile
    from moldau_broker.storage.log import Log
    from moldau_broker.storage.segment import Segment

_BEFORE_ALL: Final = -1


class FileCheck:
    """A file of batches that does not change under check: a snapshot of the metadata log.

    Attributes:
        position: bytes that were found in order.
        done: nothing is left to read: all is in order, or `damage` says what is not.
        damage: the first thing that is wrong; believe it only while `is_current`.
    """

    def __init__(
        self, disk: Disk, path: str, *, base_offset: int = 0, end: int | None = None, footer: bool = True
    ) -> None:
        """The first `end` bytes of a file, or all of it; with `footer`, its last batch is a control batch."""
        self.position = 0
        self.done = False
        self.damage: CorruptLog | None = None
        self._disk = disk
        self._name = path
        self._base_offset = self._next_offset = base_offset
        self._end = end
        self._footer = footer
        self._ends_in_footer = False
        self._file: DiskFile | None = None

    @property
    def path(self) -> str:
        """Of the file, below the data directory."""
        return self._name

    @property
    def is_current(self) -> bool:
        """Whether what was read is what is in use: asked on the loop's thread, after a step."""
        return True

    def step(self, size: int) -> int:
        """Check on for about `size` bytes, whole batches; the bytes read. Blocks; any thread, one at a time.

        A file that is not there has been renamed or deleted meanwhile: the next walk sees what is there then.
        """
        assert not self.done, "this file has been checked"
        begin = self.position
        path = self.path
        try:
            fault = self._scan(path, size)
            if fault is not None:
                self._disk.open(path, write=False)  # whatever was deleted meanwhile is nobody's trouble
        except FileMissing:
            self.done = True
            fault = None
        except StorageError as error:  # a sector that cannot be read is lost like one that reads wrong
            fault = str(error)
        if fault is not None:
            self.damage = CorruptLog(fault, file=path, position=self.position, offset=self._next_offset)
        self.done = self.done or self.damage is not None or self.position >= (self._end or 0)
        if self.done:
            self._file = None
        return self.position - begin

    def _scan(self, path: str, size: int) -> str | None:
        """What is wrong within the next `size` bytes, None if nothing is."""
        if self._file is None:
            self._file = self._disk.open(path, write=False)
        if self._end is None:
            self._end = self._file.size()
        stop = self.position + size
        scan = Scan(
            self._file.pread,
            self.position,
            self._end,
            base_offset=self._base_offset,
            next_offset=self._next_offset,
        )
        for batch in scan:
            fault = self._fault(batch)
            if fault is not None:
                return fault
            self._ends_in_footer = batch.is_control
            self.position = batch.position + batch.size
            self._next_offset = batch.last_offset + 1
            if self.position >= stop:
                break
        if scan.fault is None and self.position >= self._end and self._footer and not self._ends_in_footer:
            return "it ends without its footer"
        return scan.fault

    def _fault(self, batch: Batch) -> str | None:
        """What is wrong with a batch that is sound in itself."""
        del batch
        return None


class SegmentCheck(FileCheck):
    """One segment under check; its `path` is where its file is now.

    Attributes:
        log: whose it is.
        segment: what is checked.
    """

    def __init__(self, log: Log, segment: Segment, end: int, limit: int) -> None:
        """The first `end` bytes; no offset may reach `limit`, where the next segment begins or the log ends."""
        super().__init__(
            log.place.disk, segment.name(LOG), base_offset=segment.base_offset, end=end, footer=False
        )
        self.log = log
        self.segment = segment
        self._limit = limit
        self._generation = log.generation

    @property
    def path(self) -> str:
        """Of its log file; the folder may have been renamed."""
        return self.log.place.path(self.segment.name(LOG))

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

    def _fault(self, batch: Batch) -> str | None:
        if batch.last_offset < self._limit:
            return None
        return f"offset {batch.last_offset} where the next segment begins, or the log ends, at {self._limit}"


def next_check(log: Log, after: int = _BEFORE_ALL, up_to: int | None = None) -> SegmentCheck | None:
    """The first segment that begins above offset `after` and has anything durable; None if there is none.

    On the log's thread. Closed segments are checked whole, once they are wholly durable; the active one as far as it
    is. Segments that begin at `up_to` or above are left for another walk: a log that grows faster than it is looked
    through would keep it for ever.
    """
    if log.failure is not None:
        return None
    segments = log.segments
    for segment, following in zip(segments, (*segments[1:], None), strict=True):
        if up_to is not None and segment.base_offset >= up_to:
            return None
        if following is None:
            end = segment.synced_size
            if segment.base_offset <= after or not end or log.durable_offset <= segment.base_offset:
                return None
            return SegmentCheck(log, segment, end, log.log_end_offset)
        if following.base_offset > log.durable_offset:
            return None
        if segment.base_offset > after and segment.size:
            return SegmentCheck(log, segment, segment.size, following.base_offset)
    return None
