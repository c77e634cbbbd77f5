"""One partition's log: append, read, roll, truncate, flush.

The loop thread owns it. Other threads may call `read` (cold data), `flush` (group commit), `purge`, and the
look-ups by time; nothing else. `generation` changes whenever offsets are taken back, which is how a reader or
a flush that was under way learns that its result is void.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from moldau_broker.storage.batches import HEADER_SIZE, INT32_MAX, Batch, Reader, Scan
from moldau_broker.storage.chain import SegmentChain
from moldau_broker.storage.checkpoints import encode_epochs, encode_partition_metadata
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
from moldau_broker.storage.names import LEADER_EPOCHS, PARTITION_METADATA
from moldau_broker.storage.reading import TimestampedOffset, aborted_in, find_by_time, find_newest, read_from
from moldau_broker.storage.retention import Reason, SegmentFacts, expired
from moldau_broker.storage.segment import NEVER, Segment

if TYPE_CHECKING:
    from moldau_broker.base.ids import Uuid
    from moldau_broker.base.topic_config import TopicConfig
    from moldau_broker.storage.epochs import LeaderEpochs
    from moldau_broker.storage.place import OpenFiles, Place
    from moldau_broker.storage.producer_log import ProducerLog
    from moldau_broker.storage.producers import ProducerState
    from moldau_broker.storage.recovery import RecoveryReport
    from moldau_broker.storage.txn_index import AbortedTxn
    from moldau_broker.wire.records import BatchHeader

SNAPSHOT_EVERY_BYTES: Final = 64 * 1024 * 1024
"""How much of the active segment a restart may have to walk for producer state: 0.1 s of headers."""

_PATCH_OFFSET: Final = Struct(">q").pack_into
_PATCH_EPOCH: Final = Struct(">i").pack_into
_EPOCH_AT: Final = 12
_WINDOW_MESSAGES: Final = 5  # largest batches a restart looks back over for retries


class Deletion(NamedTuple):
    """A segment that retention took out of the log."""

    base_offset: int
    size: int
    reason: Reason


class Log:
    """A partition's log.

    Attributes:
        topic_id: None for a folder without partition.metadata.
        config: the topic's settings; change them with `update_config`.
        active: the segment that is appended to.
        log_start_offset: first offset that may be read.
        log_end_offset: offset of the next record.
        durable_offset: all below it is on disk for good.
        high_watermark: set by replication; retention deletes nothing above it, and it is checkpointed.
        epochs: which leader epoch began where; change it through the log.
        generation: counts the times offsets were taken back (truncation).
        failure: why the log is out of service for good; None while it serves.
        on_failure: called once when that happens, on the thread that met it.
        before_truncation: called with (log, new end) before durable data is cut, so that no checkpoint still
            promises it.
        on_flush_due: called when flush.messages records wait to be made durable.
        unsynced_since_ms: housekeeping's note of when it first saw something not durable, -1 without.
        recovery: what opening it found and did.
    """

    __slots__ = (
        "_chain",
        "_epochs_image",
        "_epochs_saved",
        "_flush_at",
        "_io_lock",
        "_is_new",
        "_leader_epoch",
        "_producers",
        "_roll_at_clock",
        "_roll_at_timestamp",
        "_size_limit",
        "_snapshot_at",
        "active",
        "before_truncation",
        "config",
        "durable_offset",
        "epochs",
        "failure",
        "generation",
        "high_watermark",
        "log_end_offset",
        "log_start_offset",
        "on_failure",
        "on_flush_due",
        "partition",
        "place",
        "recovery",
        "topic",
        "topic_id",
        "unsynced_since_ms",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        topic_id: Uuid | None,
        config: TopicConfig,
        *,
        place: Place,
        files: OpenFiles,
        segments: tuple[Segment, ...],
        log_start_offset: int,
        log_end_offset: int,
        durable_offset: int,
        epochs: LeaderEpochs,
        producers: ProducerLog,
        recovery: RecoveryReport | None = None,
        is_new: bool = False,
        epochs_are_saved: bool = True,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.topic_id = topic_id
        self.config = config
        self.place = place
        self.active = segments[-1]
        self.log_start_offset = log_start_offset
        self.log_end_offset = log_end_offset
        self.durable_offset = durable_offset
        self.high_watermark = log_start_offset
        self.epochs = epochs
        self.generation = 0
        self.failure: StorageError | None = None
        self.on_failure: Callable[[Log, StorageError], None] | None = None
        self.before_truncation: Callable[[Log, int], None] | None = None
        self.recovery = recovery
        self.on_flush_due: Callable[[Log], None] | None = None
        self.unsynced_since_ms = -1
        self._flush_at = durable_offset + config.flush_messages
        self._chain = SegmentChain(place, files, segments, is_new=is_new)
        self._producers = producers
        self._io_lock = threading.Lock()
        self._leader_epoch = epochs.latest
        self._epochs_image = (epochs.version, encode_epochs(epochs.entries()))
        self._epochs_saved = epochs.version if epochs_are_saved else -1
        self._is_new = is_new
        self._plan()

    def __repr__(self) -> str:
        return f"Log({self.topic}-{self.partition} {self.log_start_offset}..{self.log_end_offset})"

    # --- facts ---------------------------------------------------------------------------------------

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Its segments, oldest first; the last one is active."""
        return self._chain.segments

    @property
    def producers(self) -> ProducerState:
        """What the log remembers of idempotent and transactional producers, as of its end."""
        if self._producers.window_is_short:
            self._producers.restore_window(self.segments, _WINDOW_MESSAGES * self.config.max_message_bytes)
        return self._producers.state

    @property
    def recovery_point(self) -> int:
        """The offset a restart may trust; what the recovery-point checkpoint gets."""
        return self.durable_offset

    @property
    def size_bytes(self) -> int:
        """Bytes of all its log files."""
        return sum(segment.size for segment in self.segments)

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that are not known to be durable."""
        return sum(segment.size - segment.synced_size for segment in self._chain.unsynced)

    @property
    def flushed_bytes(self) -> int:
        """Bytes made durable since it was opened."""
        return self._chain.flushed_bytes

    def update_config(self, config: TopicConfig) -> None:
        """Take changed topic settings; they bind from the next append or retention round on."""
        self.config = config
        self._flush_at = self.durable_offset + config.flush_messages
        self._chain.configure(config)
        self._plan()

    def end_offset_for(self, epoch: int) -> tuple[int, int]:
        """(epoch, end offset) as OffsetForLeaderEpoch answers it; (-1, -1) when unknown."""
        return self.epochs.end_offset_for(epoch, self.log_end_offset)

    def last_stable_offset(self, high_watermark: int) -> int:
        """The offset below which no transaction is open, at most `high_watermark`."""
        state = self._producers.state
        if state.has_transactions:
            state.replicated(high_watermark)
            unstable = state.first_unstable_offset()
            if unstable is not None and unstable < high_watermark:
                return unstable
        return high_watermark

    def assign_topic_id(self, topic_id: Uuid) -> None:
        """Write down whose log this is, durably: for a folder that came without partition.metadata.

        Raises:
            StorageError: the disk refuses.
        """
        self.place.disk.replace(self.place.path(PARTITION_METADATA), encode_partition_metadata(topic_id))
        self.topic_id = topic_id

    def assign_epoch(self, epoch: int, start_offset: int) -> None:
        """Leader epoch `epoch` begins at `start_offset`. Durable with the next flush."""
        if self.epochs.assign(epoch, start_offset):
            self._epochs_changed()
        self._leader_epoch = self.epochs.latest

    def _epochs_changed(self) -> None:
        self._epochs_image = (self.epochs.version, encode_epochs(self.epochs.entries()))

    def fail(self, error: StorageError) -> None:
        """Take the log out of service for the life of this process: what the disk holds is unknown."""
        if self.failure is None:
            self.failure = error
            if self.on_failure is not None:
                self.on_failure(self, error)

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
        if leader_epoch != self._leader_epoch:
            self.assign_epoch(leader_epoch, base)
        try:
            active.append(batch, size, last, timestamp)
        except DiskFull:
            raise
        except StorageError as error:
            self.fail(error)
            raise
        if header.producer_id >= 0:
            self._producers.note(batch, header, base, active)
        self.log_end_offset = last + 1
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
        if run[-1].last_offset >= self._flush_at:
            self._want_flush()

    def _want_flush(self) -> None:
        """flush.messages have gathered."""
        self._flush_at = NEVER  # asked for once; `mark_durable` sets it anew
        if self.on_flush_due is not None:
            self.on_flush_due(self)

    def _plan(self) -> None:
        """Work out when the active segment is to be rolled, or its producers' state written."""
        active, config = self.active, self.config
        self._snapshot_at = active.size + SNAPSHOT_EVERY_BYTES
        self._size_limit = min(config.segment_bytes, self._snapshot_at) if active.size else 0
        patience = config.segment_ms
        if config.segment_jitter_ms:
            patience -= (active.base_offset * 7919 + self.partition * 104_729) % config.segment_jitter_ms
        first = active.first_timestamp
        if first is not None and first >= 0:
            self._roll_at_timestamp, self._roll_at_clock = first + patience, NEVER
        else:
            self._roll_at_timestamp, self._roll_at_clock = NEVER, active.created_ms + patience

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
            self._producers.snapshots.take(self.log_end_offset, self._producers.state)
            self._plan()
        if active.size == 0:
            active.first_timestamp = timestamp
            active.created_ms = now_ms
            self._plan()
            self._size_limit = max(size, min(self.config.segment_bytes, SNAPSHOT_EVERY_BYTES))
        return active

    def roll(self, base_offset: int | None = None, *, now_ms: int = 0) -> Segment:
        """Begin a new active segment at `base_offset` (the log's end); an empty active one is replaced.

        Raises:
            DiskFull: the old segment stays active.
        """
        base = self.log_end_offset if base_offset is None else max(base_offset, self.log_end_offset)
        old = self.active
        if old.size == 0 and old.base_offset == base:
            return old
        self._producers.snapshots.take(base, self._producers.state)
        self.active = self._chain.roll(base, self.config, now_ms)
        self._plan()
        return self.active

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
        while True:
            if self.failure is not None:
                raise self.failure
            generation, segments = self.generation, self.segments
            start, end = self.log_start_offset, self.log_end_offset
            if not start <= offset <= end:
                raise OffsetOutOfRange(offset, start, end)
            limit = end if up_to is None or up_to > end else up_to
            if offset >= limit:
                return b""
            try:
                data = read_from(segments, offset, max_bytes, limit, min_one=min_one, nowait=nowait)
            except (FileMissing, CorruptLog):
                if segments is self.segments and generation == self.generation:
                    raise
                continue  # retention or truncation came between
            if generation == self.generation:
                return data

    def segment_for(self, offset: int) -> Segment:
        """The segment that holds `offset`, or would."""
        return self.segments[self._chain.at(offset)]

    def offset_for_timestamp(self, timestamp: int, up_to: int | None = None) -> TimestampedOffset | None:
        """The first record with a timestamp (ms) of `timestamp` or later, below offset `up_to`.

        Opens batches and may wait for the disk: for a thread, if anything else matters.

        Raises:
            StorageError: the log has failed, or could not be read.
        """
        if self.failure is not None:
            raise self.failure
        found = find_by_time(self.segments, timestamp, self.log_start_offset)
        return found if found is None or up_to is None or found.offset < up_to else None

    def max_timestamp_offset(self, up_to: int | None = None) -> TimestampedOffset | None:
        """The first record with the largest timestamp of all, if it is below offset `up_to`; as above."""
        if self.failure is not None:
            raise self.failure
        found = find_newest(self.segments, self.log_start_offset)
        return found if found is None or up_to is None or found.offset < up_to else None

    def aborted_transactions(self, start: int, end: int) -> list[AbortedTxn]:
        """Aborted transactions that touch offsets `start` to `end`, sorted by first offset."""
        return aborted_in(self.segments, self.place, start, end)

    # --- durability ----------------------------------------------------------------------------------

    def flush(self) -> int:
        """Make everything appended so far durable; returns the end offset that is. Blocks; any thread.

        Nothing changes for others until `mark_durable` is called with the result.

        Raises:
            DiskFull: a checkpoint found no space; the log still serves.
            StorageError: the log has failed; fsync is never retried.
        """
        with self._io_lock:
            if self.failure is not None:
                raise self.failure
            end = self.log_end_offset  # before anything else: what is appended meanwhile does not count
            version, image = self._epochs_image
            try:
                if version != self._epochs_saved:
                    self.place.disk.replace(self.place.path(LEADER_EPOCHS), image)
                    self._epochs_saved = version
            except DiskFull:
                raise
            except StorageError as error:
                self.fail(error)
                raise
            try:
                self._chain.sync()
                if self._is_new:
                    self.place.disk.datasync(self.place.path(PARTITION_METADATA))
                    self.place.disk.sync_folder()
                    self._is_new = False
            except StorageError as error:
                self.fail(error)
                raise
            return end

    def mark_durable(self, offset: int, generation: int | None = None) -> None:
        """All below `offset` is durable, by a flush begun in `generation` (the present one by default)."""
        if generation is not None and generation != self.generation:
            return
        if offset > self.durable_offset:
            self.durable_offset = offset
        self._chain.settle()
        self._flush_at = self.durable_offset + self.config.flush_messages
        if self.durable_offset >= self.log_end_offset:
            self.unsynced_since_ms = -1

    def sync(self) -> int:
        """`flush` and `mark_durable` in one, for the thread that owns the log."""
        end = self.flush()
        self.mark_durable(end)
        return end

    # --- taking away ---------------------------------------------------------------------------------

    def truncate_to(self, offset: int) -> None:
        """Take back every batch that reaches `offset` or lies above it, durably. Blocks for an fsync or two.

        If that takes the batch which the log start offset lies in, the log is empty at the log start offset.

        Raises:
            StorageError: the log has failed.
        """
        if offset >= self.log_end_offset:
            return
        start = self.log_start_offset
        end = self._batch_start(offset) if offset >= start else offset
        if end < start:
            self.truncate_fully(min(offset, start))
            return
        if self.before_truncation is not None and end < self.durable_offset:
            self.before_truncation(self, end)
        with self._io_lock:
            self.generation += 1
            try:
                self.log_end_offset = self._chain.cut(end)
            except StorageError as error:
                self.fail(error)
                raise
        self._settle_end()

    def _batch_start(self, offset: int) -> int:
        """The base offset of the batch that holds `offset` or follows it; the log's end if there is none."""
        for segment in self.segments[self._chain.at(offset) :]:
            position = segment.locate(offset)
            if position < segment.size:
                return int.from_bytes(segment.handle().pread(8, position), "big")
        return self.log_end_offset

    def truncate_fully(self, offset: int) -> None:
        """Drop all data and start again, empty, at `offset`."""
        if self.before_truncation is not None:
            self.before_truncation(self, offset)
        with self._io_lock:
            self.generation += 1
            try:
                self._chain.restart(offset, self.config, 0)
            except StorageError as error:
                self.fail(error)
                raise
            self.log_start_offset = self.log_end_offset = offset
        self.epochs.clear()
        self._epochs_changed()
        self._settle_end()

    def _settle_end(self) -> None:
        """Bring everything that follows from the log's end in line with it."""
        end = self.log_end_offset
        self.active = self._chain.active
        self.durable_offset = min(self.durable_offset, end)
        self.high_watermark = min(self.high_watermark, end)
        before = self.epochs.version
        self.epochs.truncate_from_end(end)
        if self.epochs.version != before:
            self._epochs_changed()
        self._leader_epoch = self.epochs.latest
        self._producers.snapshots.drop_above(end)
        self._producers.rebuild(self.segments, end)
        self._plan()

    def advance_log_start(self, offset: int) -> None:
        """Nothing below `offset` is to be read any more; retention frees the space.

        Raises:
            OffsetOutOfRange: above the log's end.
        """
        if offset > self.log_end_offset:
            raise OffsetOutOfRange(offset, self.log_start_offset, self.log_end_offset)
        if offset > self.log_start_offset:
            self.log_start_offset = offset
            before = self.epochs.version
            self.epochs.truncate_from_start(offset)
            if self.epochs.version != before:
                self._epochs_changed()

    def enforce_retention(self, now_ms: int) -> list[Deletion]:
        """Take segments out that retention or the log start offset no longer keep; `purge` frees the space.

        Raises:
            StorageError: a file could not be renamed.
        """
        facts = [
            SegmentFacts(
                segment.base_offset,
                following.base_offset if following is not None else self.log_end_offset,
                segment.size,
                segment.max_timestamp if segment.max_timestamp >= 0 else segment.created_ms,
            )
            for segment, following in zip(self.segments, (*self.segments[1:], None), strict=True)
        ]
        reasons = expired(
            facts,
            self.config,
            now_ms=now_ms,
            log_start_offset=self.log_start_offset,
            high_watermark=self.high_watermark,
        )
        if not reasons:
            return []
        if len(reasons) == len(self.segments):
            self.roll(now_ms=now_ms)
        gone = self._chain.retire_oldest(len(reasons), now_ms + self.config.file_delete_delay_ms)
        self.advance_log_start(self.segments[0].base_offset)
        self._producers.snapshots.drop_below(self.segments[0].base_offset)
        return [Deletion(s.base_offset, s.size, why) for s, why in zip(gone, reasons, strict=True)]

    def cleaned_segment(self, base_offset: int, size: int, created_ms: int) -> Segment:
        """What compaction has left in `.cleaned` files, for `replace_segments`."""
        return self._chain.cleaned(base_offset, size, self.config, created_ms)

    def replace_segments(self, old: Sequence[Segment], new: Segment, now_ms: int) -> None:
        """Put `new`, what compaction kept of `old`, in the place of these consecutive closed segments.

        Raises:
            StorageError: a file could not be renamed; the log has failed.
        """
        try:
            self._chain.replace(old, new, now_ms + self.config.file_delete_delay_ms)
            self._producers.snapshots.drop_strays(segment.base_offset for segment in self.segments)
        except StorageError as error:
            self.fail(error)
            raise

    def expire_producers(self, now_ms: int, expiration_ms: int) -> int:
        """Forget producers idle for producer.id.expiration.ms; returns how many."""
        return self._producers.state.expire(now_ms, expiration_ms)

    def has_trash(self, now_ms: int) -> bool:
        """Whether `purge` has anything to do."""
        return self._chain.has_trash(now_ms)

    def purge(self, now_ms: int) -> int:
        """Unlink the files of removed segments that are due; returns the bytes freed. Blocks; any thread."""
        return self._chain.purge(now_ms)

    def move_away(self, folder: str) -> None:
        """Rename the folder and stop serving: the partition is deleted. Waits for a flush under way.

        Raises:
            StorageError: the folder could not be renamed; the log serves on.
        """
        with self._io_lock:
            self.place.disk.rename(self.place.folder, folder)
            self.place.folder = folder
            if self.failure is None:
                self.failure = FileMissing(f"{self.topic}-{self.partition} was deleted")
        self.close(clean=False)

    def close(self, *, clean: bool = True) -> None:
        """Stop using the log; `clean` makes its data durable and leaves a producer snapshot at the end.

        Raises:
            StorageError: with `clean`, if that failed.
        """
        try:
            if clean and self.failure is None:
                # Indexes and the snapshot need not be durable: what a power failure takes is built again.
                self.active.finish()
                self._producers.snapshots.take(self.log_end_offset, self._producers.state)
                self.sync()
        finally:
            self._chain.let_go()
