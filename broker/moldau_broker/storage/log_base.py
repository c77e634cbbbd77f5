"""What a log is made of, and the part of it every other part needs: its state, rolling, and durability."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, Protocol

from moldau_broker.storage.chain import SegmentChain
from moldau_broker.storage.checkpoints import encode_epochs, encode_partition_metadata
from moldau_broker.storage.errors import (
    DiskFull,
    FileMissing,
    StorageError,
)
from moldau_broker.storage.names import LEADER_EPOCHS, PARTITION_METADATA
from moldau_broker.storage.segment import Segment
from moldau_broker.storage.segment_base import NEVER

if TYPE_CHECKING:
    from moldau_broker.base.ids import Uuid
    from moldau_broker.base.topic_config import TopicConfig
    from moldau_broker.storage.epochs import LeaderEpochs
    from moldau_broker.storage.place import OpenFiles, Place
    from moldau_broker.storage.producer_log import ProducerLog
    from moldau_broker.storage.producers import ProducerState
    from moldau_broker.storage.recovery import RecoveryReport

SNAPSHOT_EVERY_BYTES: Final = 16 * 1024 * 1024
"""How much of the active segment a restart may have to walk for producer state: 10 ms of ordinary batches, 0.2 s
of the smallest. Writing a snapshot takes 50 us."""

FLUSH_EVERY_BYTES: Final = 64 * 1024 * 1024
"""How much of the active segment may wait to be made durable before a flush is asked for: what a restart checks."""

_WINDOW_MESSAGES: Final = 5  # largest batches a restart looks back over for retries


class LogObserver(Protocol):
    """Who is told what happens to a log."""

    def failed(self, log: LogBase, error: StorageError) -> None:
        """It has gone out of service for good. On the thread that met it."""

    def flush_due(self, log: LogBase) -> None:
        """It should be flushed although nobody waits for it. Loop thread."""

    def truncating(self, log: LogBase, offset: int) -> None:
        """Durable data from `offset` on is about to be cut. Loop thread."""


class LogBase:
    """State of a partition's log. Use `Log`.

    Attributes:
        topic_id: None for a folder without partition.metadata.
        config: the topic's settings; change them with `update_config`.
        active: the segment that is appended to.
        log_start_offset: first offset that may be read.
        log_end_offset: offset of the next record.
        durable_offset: all below it is on disk for good.
        high_watermark: set by replication; retention deletes nothing above it, and it is checkpointed.
        epochs: which leader epoch began where; change it through the log.
        generation: changes whenever offsets are taken back (truncation); odd while that is under way.
        failure: why the log is out of service for good; None while it serves.
        observer: told of failure, truncation and due flushes; the log directory.
        unsynced_since_ms: time of the first append that no flush has covered, -1 without; as `append` was told.
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
        "config",
        "durable_offset",
        "epochs",
        "failure",
        "generation",
        "high_watermark",
        "log_end_offset",
        "log_start_offset",
        "observer",
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
        self.observer: LogObserver | None = None
        self.recovery = recovery
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

    def _forget_epochs_from(self, offset: int) -> None:
        """Take back epochs that begin at `offset` or above it."""
        before = self.epochs.version
        self.epochs.truncate_from_end(offset)
        if self.epochs.version != before:
            self._epochs_changed()
        self._leader_epoch = self.epochs.latest

    def _epochs_changed(self) -> None:
        self._epochs_image = (self.epochs.version, encode_epochs(self.epochs.entries()))

    def fail(self, error: StorageError) -> None:
        """Take the log out of service for the life of this process: what the disk holds is unknown."""
        if self.failure is None:
            self.failure = error
            if self.observer is not None:
                self.observer.failed(self, error)

    # --- rolling -------------------------------------------------------------------------------------

    def _want_flush(self) -> None:
        """Much has gathered that is not durable: have it flushed though nobody waits."""
        self._flush_at = NEVER  # asked for once; `mark_durable` sets it anew
        if self.observer is not None:
            self.observer.flush_due(self)

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
        self._want_flush()
        self.active = self._chain.roll(base, self.config, now_ms)
        self._plan()
        return self.active

    # --- durability ----------------------------------------------------------------------------------

    def flush(self) -> int:
        """Make everything appended so far durable; returns the end offset that is. Blocks; any thread.

        Nothing changes for others until `mark_durable` is called with the result.

        Raises:
            StorageError: the log has failed; fsync is never retried.
        """
        with self._io_lock:
            if self.failure is not None:
                raise self.failure
            since, self.unsynced_since_ms = self.unsynced_since_ms, -1  # appends from here on set it anew
            end = self.log_end_offset  # before anything else: what is appended meanwhile does not count
            version, image = self._epochs_image
            try:
                if version != self._epochs_saved:
                    with contextlib.suppress(DiskFull):  # tried again; opening notices if it never worked
                        self.place.disk.replace(self.place.path(LEADER_EPOCHS), image)
                        self._epochs_saved = version
                self._chain.sync(names_too=self._producers.snapshots.sync())
                if self._is_new:
                    self.place.disk.datasync(self.place.path(PARTITION_METADATA))
                    self.place.disk.sync_folder()
                    self._is_new = False
            except StorageError as error:
                self.unsynced_since_ms = since
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

    def sync(self) -> int:
        """`flush` and `mark_durable` in one, for the thread that owns the log."""
        end = self.flush()
        self.mark_durable(end)
        return end

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
                self.active.finish()
                self._producers.snapshots.take(self.log_end_offset, self._producers.state)
                self.sync()
        finally:
            self._chain.let_go()
