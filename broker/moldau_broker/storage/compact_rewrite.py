"""One cleaning round over a partition's files: index the dirty section, rewrite group after group.

Reads closed segments and writes `.cleaned` files beside them, nothing else; the swap is the log owner's
(`compact_swap`). Runs in a process of its own (`compact_worker`), or in place with any Disk in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from moldau_broker.storage import txn_index
from moldau_broker.storage.batches import HEADER_SIZE, LENGTH_OVERHEAD, Batch, walk
from moldau_broker.storage.compact_job import CleanJob, Done, Ready
from moldau_broker.storage.compaction import SegmentFacts, group_segments
from moldau_broker.storage.compaction_filter import BatchFilter, DirtyIndexer, Filtered
from moldau_broker.storage.compaction_records import DirtyIndex
from moldau_broker.storage.compaction_txn import TransactionTracker
from moldau_broker.storage.disk import Disk
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.names import CLEANED, INDEX, LOG, TIME_INDEX, TXN_INDEX, segment_file
from moldau_broker.storage.place import OpenFiles, Place
from moldau_broker.storage.segment import Segment
from moldau_broker.storage.txn_index import AbortedTxn
from moldau_broker.wire.records import crc_ok

SYNC_BYTES: Final = 8 * 1024 * 1024
"""Written data is made durable in such portions, so that no producer's fdatasync waits for a gigabyte of ours."""

Throttle = Callable[[int], None]
"""Called with every number of bytes read or written; may wait."""


class Round:
    """One round. Call `index` once, then take `groups`; the result grows in `done`."""

    def __init__(self, disk: Disk, job: CleanJob, throttle: Throttle) -> None:
        self.done = Done(end=job.first_dirty)
        self._place = Place(disk, job.folder)
        self._files = OpenFiles(2)
        self._job = job
        self._throttle = throttle
        bases = [facts.base_offset for facts in job.segments]
        self._ends = dict(zip(bases, [*bases[1:], job.upper_bound], strict=True))
        self._index: DirtyIndex | None = None
        self._aborted = self._aborted_transactions()
        self._filter: BatchFilter | None = None

    def _aborted_transactions(self) -> list[AbortedTxn]:
        return [
            entry
            for base in self._job.txn_segments
            for entry in txn_index.read(self._place, segment_file(base, TXN_INDEX))
        ]

    def index(self) -> None:
        """Walk the dirty section; the round's end is as far as its index reached.

        Raises:
            StorageError: the files cannot be read, or are damaged.
        """
        job = self._job
        index = DirtyIndex.sized(
            job.first_dirty, job.upper_bound, bytes_max=job.map_bytes_max, load_factor=job.map_load_max
        )
        indexer = DirtyIndexer(index, TransactionTracker(self._aborted), job.now_ms)
        for facts in job.segments:
            if self._ends[facts.base_offset] > job.first_dirty and not self._index_segment(indexer, facts):
                break
        self._index = index
        self.done.end = index.end
        self.done.records_indexed = index.records
        self.done.keyless = index.keyless
        self.done.map_bytes = index.keys.nbytes + len(index.superseded.raw) + len(index.tombstones.raw)
        self.done.map_used = index.keys.utilisation

    def _index_segment(self, indexer: DirtyIndexer, facts: SegmentFacts) -> bool:
        """Whether the whole segment fitted."""
        for batch, data, at in self._batches(facts, self._job.first_dirty):
            if not indexer.add(batch, data, at):
                return False
            self.done.bytes_indexed += batch.size
        # Offsets may be missing at a segment's end.
        indexer.index.end = max(indexer.index.end, self._ends[facts.base_offset])
        return True

    def groups(self) -> Iterator[Ready]:
        """Rewrite one group at a time; the caller swaps it in (or drops it) before it takes the next.

        Raises:
            StorageError: the files cannot be read or written, or are damaged.
        """
        job, index = self._job, self._index
        assert index is not None, "index the dirty section first"
        if index.end == job.first_dirty:
            return
        batch_filter = BatchFilter(
            index,
            TransactionTracker(self._aborted),
            job.last_records(),
            now_ms=job.now_ms,
            delete_retention_ms=job.delete_retention_ms,
            upper_bound=job.upper_bound,
        )
        facts = {segment.base_offset: segment for segment in self._with_index_sizes()}
        for bases in group_segments(
            facts.values(),
            end=index.end,
            upper_bound=job.upper_bound,
            config=job.config(),
            files_max=job.group_segments_max,
        ):
            ready = self._rewrite(batch_filter, [facts[base] for base in bases])
            self.done.unopened = batch_filter.unopened
            if ready is not None:
                yield ready

    def _rewrite(self, batch_filter: BatchFilter, group: list[SegmentFacts]) -> Ready | None:
        """The group as one segment; None if that would be the segment that is there already."""
        target = Segment(
            self._place,
            self._files,
            group[0].base_offset,
            suffix=CLEANED,
            interval=self._job.index_interval_bytes,
            index_bytes=self._job.segment_index_bytes,
        )
        target.create()
        target.tail = None
        writer = _Writer(target, self._job.io_bytes, self._throttle)
        changed = len(group) > 1
        for facts in group:
            for batch, data, at in self._batches(facts, 0):
                self.done.bytes_read += batch.size
                self.done.records_read += batch.record_count
                kept = batch_filter.filter(batch, data, at)
                if kept is None:
                    changed = True
                    continue
                changed = changed or kept.changed
                self.done.records_written += kept.records
                self.done.bytes_written += len(kept.content)
                writer.add(batch, kept)
        if not changed:
            target.remove()
            return None
        writer.finish()
        # Even without entries: the swap must replace the file that is there, whatever it holds.
        entries = b"".join(txn_index.ENTRY.pack(txn_index.VERSION, *entry) for entry in writer.aborted)
        self._place.disk.write(self._place.path(target.name(TXN_INDEX)), entries)
        target.sync(finished=True)
        self._place.disk.sync_folder(self._place.folder)
        return Ready(tuple(facts.base_offset for facts in group), target.size)

    def _batches(self, facts: SegmentFacts, first: int) -> Iterator[tuple[Batch, bytes, int]]:
        """A segment's batches from the one that holds offset `first`, each with a buffer and its place there.

        Raises:
            CorruptLog: what is there is no batch, its CRC does not match, or its offsets are out of order.
        """
        segment = Segment(self._place, self._files, facts.base_offset, size=facts.size)
        file = segment.handle()
        name = self._place.path(segment.name(LOG))
        position = segment.locate(first) if first > facts.base_offset else 0
        next_offset, end_offset = facts.base_offset, self._ends[facts.base_offset]
        while position < segment.size:
            left = segment.size - position
            data = file.pread(min(self._job.io_bytes, left), position)
            size = LENGTH_OVERHEAD + int.from_bytes(data[8:12], "big")
            if len(data) < size <= left:
                data = file.pread(size, position)
            self._throttle(len(data))
            whole = _whole_batches_end(data)
            if not whole:
                raise CorruptLog("a batch is cut short", file=name, position=position)
            for batch in self._checked(name, position, data, whole):
                if batch.base_offset < next_offset or batch.last_offset >= end_offset:
                    raise _damaged("an offset out of order", name, position, batch)
                next_offset = batch.last_offset + 1
                yield batch, data, batch.position
            position += whole

    def _checked(self, name: str, position: int, data: bytes, end: int) -> Iterator[Batch]:
        """The batches in data[:end], which stands at `position` of a file."""
        try:
            for batch in walk(_Buffered(data), 0, end, chunk=len(data)):
                if not crc_ok(data, batch.position, batch.size):
                    raise _damaged("the CRC does not match", name, position, batch)
                yield batch
        except CorruptLog as error:
            if error.file:
                raise
            raise CorruptLog(str(error), file=name, position=position) from error

    def _with_index_sizes(self) -> Iterator[SegmentFacts]:
        sizes = {entry.name: entry.size for entry in self._place.disk.entries(self._place.folder)}
        for facts in self._job.segments:
            yield replace(
                facts,
                index_size=sizes.get(segment_file(facts.base_offset, INDEX), 0),
                time_index_size=sizes.get(segment_file(facts.base_offset, TIME_INDEX), 0),
            )


class _Writer:
    """Collects kept batches and appends them to a segment in large pieces.

    Attributes:
        aborted: transactions whose entries belong into the segment's transaction index.
    """

    __slots__ = ("_batches", "_data", "_io_bytes", "_segment", "_throttle", "aborted")

    def __init__(self, segment: Segment, io_bytes: int, throttle: Throttle) -> None:
        self._segment = segment
        self._io_bytes = io_bytes
        self._throttle = throttle
        self._batches: list[Batch] = []
        self._data = bytearray()
        self.aborted: list[AbortedTxn] = []

    def add(self, source: Batch, kept: Filtered) -> None:
        """Append what is kept of `source`."""
        self._batches.append(source._replace(size=len(kept.content), max_timestamp=kept.max_timestamp))
        self._data += kept.content
        if kept.aborted is not None:
            self.aborted.append(kept.aborted)
        if len(self._data) >= self._io_bytes:
            self._flush()

    def _flush(self) -> None:
        self._segment.append_many(self._data, self._batches)
        self._throttle(len(self._data))
        self._batches.clear()
        self._data.clear()
        if self._segment.size - self._segment.synced_size >= SYNC_BYTES:
            self._segment.sync(finished=False)

    def finish(self) -> None:
        """No more batches follow."""
        if self._data:
            self._flush()
        self._segment.finish()


class _Buffered:
    """A `batches.Reader` of bytes in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self, size: int, position: int) -> bytes:
        return (
            self._data
            if position == 0 and size >= len(self._data)
            else self._data[position : position + size]
        )


def _damaged(what: str, name: str, position: int, batch: Batch) -> CorruptLog:
    return CorruptLog(what, file=name, position=position + batch.position, offset=batch.base_offset)


def _whole_batches_end(data: bytes) -> int:
    """Where the last whole batch in `data` ends, going by the length fields."""
    position = 0
    while position + HEADER_SIZE <= len(data):
        size = LENGTH_OVERHEAD + int.from_bytes(data[position + 8 : position + 12], "big")
        if position + size > len(data):
            break
        position += size
    return position
