"""One partition's log: append, read, roll, truncate, flush.

The loop thread owns it. Other threads may call `read` (cold data), `flush` (group commit), `purge`, and the
look-ups by time; nothing else. `generation` changes whenever offsets are taken back, which is how a reader or
a flush that was under way learns that its result is void.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final

from moldau_broker.storage.batches import HEADER_SIZE, INT32_MAX, Batch, Reader, Scan
from moldau_broker.storage.disk import Buffer
from moldau_broker.storage.errors import (
    CorruptLog,
    DiskFull,
    FileMissing,
    InvalidBatches,
    OffsetOutOfRange,
    StorageError,
)
from moldau_broker.storage.index import Cold
from moldau_broker.storage.log_base import FLUSH_EVERY_BYTES, SNAPSHOT_EVERY_BYTES
from moldau_broker.storage.log_trim import LogTrim
from moldau_broker.storage.reading import TimestampedOffset, aborted_in, find_by_time, find_newest, read_from
from moldau_broker.storage.segment import Segment

if TYPE_CHECKING:
    from moldau_broker.storage.txn_index import AbortedTxn
    from moldau_broker.wire.records import BatchHeader

_PATCH_OFFSET: Final = Struct(">q").pack_into
_PATCH_EPOCH: Final = Struct(">i").pack_into
_EPOCH_AT: Final = 12
_MISSES_MAX: Final = 3  # a file may be renamed just while it is opened; not again and again


class Log(LogTrim):
    """A partition's log. Its attributes are documented at `LogBase`."""

    __slots__ = ()

    # --- append --------------------------------------------------------------------------------------

    def append(
        self, batch: bytearray | memoryview, header: BatchHeader, leader_epoch: int, now_ms: int
    ) -> int:
        """Append one validated batch as the leader of `leader_epoch`; returns its base offset.

        Base offset and epoch are patched into `batch` in place, but not into `header`. Producer state takes
        the batch as it is: ask `producers.check` first. Written, not durable.

        Raises:
            DiskFull: nothing was appended; works again when there is space.
            StorageError: the log has failed.
        """
        if self.failure is not None:
            raise self.failure
        base = self.log_end_offset
        last = base + header.last_offset_delta
        size = len(batch)
        active = self.active
        timestamp = header.max_timestamp
        if (
            size > self._size_limit - active.size
            or timestamp > self._roll_at_timestamp
            or now_ms > self._roll_at_clock
            or last - active.base_offset > INT32_MAX
            or active.index_full
        ):
            active = self._make_room(size, base, last, timestamp, now_ms)
        _PATCH_OFFSET(batch, 0, base)
        _PATCH_EPOCH(batch, _EPOCH_AT, leader_epoch)
        begins = leader_epoch != self._leader_epoch
        if begins:
            self.assign_epoch(leader_epoch, base)
        try:
            active.append(batch, size, last, timestamp)
        except DiskFull:
            if begins:  # of another leader an older epoch's record may come to stand here
                self._forget_epochs_from(base)
            raise
        except StorageError as error:
            self.fail(error)
            raise
        if header.producer_id >= 0:
            self._producers.note(batch, header, base, active)
        self.log_end_offset = last + 1
        if self.unsynced_since_ms < 0:
            self.unsynced_since_ms = now_ms
        if last >= self._flush_at:
            self._want_flush()
        return base

    def append_replica(self, data: Buffer, now_ms: int) -> None:
        """Append batches verbatim, as a follower or when restoring: offsets and epochs are the leader's.

        Raises:
            InvalidBatches: not whole valid batches, or not above the log's end; nothing was appended.
            DiskFull, StorageError: as `append`; whole batches before the failure may have been appended.
        """
        if self.failure is not None:
            raise self.failure
        view = memoryview(data)

        def read(size: int, position: int) -> memoryview:
            return view[position : position + size]

        end = self._replica_start(view)
        scan = Scan(read, 0, len(view), base_offset=end, next_offset=end)
        batches = list(scan)
        if scan.fault is not None:
            raise InvalidBatches(
                f"{self.place.folder}: {scan.fault} at byte {scan.position} of the fetched data"
            )
        first = 0
        if batches and batches[0].base_offset < self.active.base_offset:
            self.active = self._chain.roll(batches[0].base_offset, self.config, now_ms)
            self._plan()
        while first < len(batches):
            batch = batches[first]
            active = self.active
            if not self._fits(active, batch):
                active = self._make_room(
                    batch.size, batch.base_offset, batch.last_offset, batch.max_timestamp, now_ms
                )
            room = self._size_limit - active.size - batch.size
            end = first + 1
            while end < len(batches) and batches[end].size <= room and self._fits(active, batches[end]):
                room -= batches[end].size
                end += 1
            self._append_run(active, read, batches[first:end], now_ms)
            first = end

    def _replica_start(self, view: memoryview) -> int:
        """The offset at which fetched batches may begin: the log's end, except in an empty log.

        There the first batch may begin below, if the leader's log start offset lies inside it.
        """
        end = self.log_end_offset
        if self.active.size or len(self.segments) > 1 or len(view) < HEADER_SIZE:
            return end
        base, last_delta = int.from_bytes(view[:8], "big"), int.from_bytes(view[23:27], "big")
        return base if base < end <= base + last_delta else end

    def _fits(self, active: Segment, batch: Batch) -> bool:
        return (
            batch.size <= self._size_limit - active.size
            and batch.max_timestamp <= self._roll_at_timestamp
            and batch.last_offset - active.base_offset <= INT32_MAX
            and not active.index_full
        )

    def _append_run(self, active: Segment, read: Reader, run: list[Batch], now_ms: int) -> None:
        """Write consecutive batches in one go."""
        try:
            start, end = run[0].position, run[-1].position + run[-1].size
            active.append_many(read(end - start, start), run)
        except DiskFull:
            raise
        except StorageError as error:
            self.fail(error)
            raise
        for batch in run:
            if batch.leader_epoch != self._leader_epoch and batch.leader_epoch >= 0:
                self.assign_epoch(batch.leader_epoch, batch.base_offset)
            if batch.producer_id >= 0:
                self._producers.replay(batch, read, active)
        self.log_end_offset = run[-1].last_offset + 1
        if self.unsynced_since_ms < 0:
            self.unsynced_since_ms = now_ms
        if run[-1].last_offset >= self._flush_at:
            self._want_flush()

    def _make_room(self, size: int, base: int, last: int, timestamp: int, now_ms: int) -> Segment:
        """The segment to append a batch to: rolls if it must, writes producer state if that is due."""
        active = self.active
        overflows = last - active.base_offset > INT32_MAX
        if overflows or (
            active.size
            and (
                size > self.config.segment_bytes - active.size
                or timestamp > self._roll_at_timestamp
                or now_ms > self._roll_at_clock
                or active.index_full
            )
        ):
            active = self.roll(base, now_ms=now_ms)
        elif active.size >= self._snapshot_at - size:
            snapshots = self._producers.snapshots
            snapshots.take(self.log_end_offset, self._producers.state)
            snapshots.thin(active.base_offset, self.durable_offset)
            active.write_indexes()  # so that a restart finds an entry just below the snapshot
            if active.size - active.synced_size >= FLUSH_EVERY_BYTES:
                self._want_flush()
            self._plan()
        if active.size == 0:
            active.first_timestamp = timestamp
            active.created_ms = now_ms
            self._plan()
            self._size_limit = max(size, min(self.config.segment_bytes, SNAPSHOT_EVERY_BYTES))
        return active

    # --- read ----------------------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, *, up_to: int | None = None, min_one: bool = True) -> Buffer:
        """Whole batches from the one that contains `offset` on: one segment's worth at most.

        At most `max_bytes`, except that `min_one` gives the first batch even if it is larger; nothing that
        reaches offset `up_to` (the log's end by default). Empty at the end. Any thread; may wait for the disk.

        Raises:
            OffsetOutOfRange: `offset` is below the log start or above the log end.
            StorageError: the log has failed, or could not be read.
        """
        return self._read(offset, max_bytes, up_to, min_one=min_one, nowait=False)

    def read_nowait(
        self, offset: int, max_bytes: int, *, up_to: int | None = None, min_one: bool = True
    ) -> Buffer | None:
        """As `read`, but None if that would wait for the disk: call `read` on a thread then."""
        try:
            return self._read(offset, max_bytes, up_to, min_one=min_one, nowait=True)
        except Cold:
            return None

    def _read(self, offset: int, max_bytes: int, up_to: int | None, *, min_one: bool, nowait: bool) -> Buffer:
        active = self.active
        tail = active.tail
        if tail is not None and offset - active.base_offset >= tail.floor and self.failure is None:
            generation, end = self.generation, self.log_end_offset
            if self.log_start_offset <= offset <= end and not generation & 1:
                limit = end if up_to is None or up_to > end else up_to
                if offset >= limit:
                    return b""
                try:
                    data = active.read_tail(tail, offset, max_bytes, limit, min_one=min_one, nowait=nowait)
                except (FileMissing, CorruptLog):
                    pass  # it has been rolled and deleted, or cut, since it was the active one: looked at anew below
                else:
                    if generation == self.generation:
                        return data
        return self._read_slowly(offset, max_bytes, up_to, min_one=min_one, nowait=nowait)

    def _read_slowly(
        self, offset: int, max_bytes: int, up_to: int | None, *, min_one: bool, nowait: bool
    ) -> Buffer:
        """Anything but the newest batches."""
        misses = 0
        while True:
            if self.failure is not None:
                raise self.failure
            generation = self.generation
            if generation & 1:
                with self._io_lock:  # a truncation on the log's thread is under way
                    continue
            segments = self.segments
            start, end = max(self.log_start_offset, segments[0].base_offset), self.log_end_offset
            if not start <= offset <= end:
                raise OffsetOutOfRange(offset, start, end)
            limit = end if up_to is None or up_to > end else up_to
            if offset >= limit:
                return b""
            try:
                data = read_from(segments, offset, max_bytes, limit, min_one=min_one, nowait=nowait)
            except (FileMissing, CorruptLog) as error:
                # Retention, truncation or a compaction's renames may have come between.
                misses += isinstance(error, FileMissing)
                unchanged = segments is self.segments and generation == self.generation
                if unchanged and not 0 < misses <= _MISSES_MAX:
                    raise
                continue
            if generation == self.generation:
                return data

    def is_recent(self, offset: int) -> bool:
        """Whether a read from `offset` gives the newest batches only, appended by this process or just recovered."""
        tail = self.active.tail
        return tail is not None and offset - self.active.base_offset >= tail.floor

    def segment_for(self, offset: int) -> Segment:
        """The segment that holds `offset`, or would."""
        return self.segments[self._chain.at(offset)]

    def offset_for_timestamp(self, timestamp: int, up_to: int | None = None) -> TimestampedOffset | None:
        """The first record with a timestamp (ms) of `timestamp` or later, below offset `up_to`.

        Opens batches and may wait for the disk: for a thread, if anything else matters.

        Raises:
            StorageError: the log has failed, or could not be read.
        """
        found = self._steadily(lambda segments, start: find_by_time(segments, timestamp, start))
        return found if found is None or up_to is None or found.offset < up_to else None

    def max_timestamp_offset(self, up_to: int | None = None) -> TimestampedOffset | None:
        """The first record with the largest timestamp of all, if it is below offset `up_to`; as above."""
        found = self._steadily(find_newest)
        return found if found is None or up_to is None or found.offset < up_to else None

    def _steadily(
        self, look: Callable[[tuple[Segment, ...], int], TimestampedOffset | None]
    ) -> TimestampedOffset | None:
        """What `look` finds in the segments from the log start on, while nothing takes data away."""
        while True:
            if self.failure is not None:
                raise self.failure
            generation = self.generation
            if generation & 1:
                with self._io_lock:
                    continue
            segments = self.segments
            try:
                found = look(segments, max(self.log_start_offset, segments[0].base_offset))
            except (FileMissing, CorruptLog):
                if segments is self.segments and generation == self.generation:
                    raise
                continue
            if generation == self.generation:
                return found

    def aborted_transactions(self, start: int, end: int) -> list[AbortedTxn]:
        """Aborted transactions that touch offsets `start` to `end`, sorted by first offset."""
        return aborted_in(self.segments, self.place, start, end)
