"""What takes data out of a log: truncation, retention, the log start offset, compaction's swap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from moldau_broker.storage.errors import (
    DiskFull,
    OffsetOutOfRange,
    StorageError,
)
from moldau_broker.storage.log_base import LogBase
from moldau_broker.storage.retention import Reason, SegmentFacts, expired
from moldau_broker.storage.segment import Segment

if TYPE_CHECKING:
    pass


class Deletion(NamedTuple):
    """A segment that retention took out of the log."""

    base_offset: int
    size: int
    reason: Reason


class LogTrim(LogBase):
    """The part of a log that takes data away. Use `Log`."""

    __slots__ = ()

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
        if self.observer is not None and end < self.durable_offset:
            self.observer.truncating(self, end)
        with self._io_lock:
            self.generation += 1
            try:
                self.log_end_offset = self._chain.cut(end)
            except StorageError as error:
                self.fail(error)
                raise
            self.generation += 1
        self._settle_end()

    def _batch_start(self, offset: int) -> int:
        """The base offset of the batch that holds `offset` or follows it; the log's end if there is none."""
        for segment in self.segments[self._chain.at(offset) :]:
            position = segment.locate(offset)
            if position < segment.size:
                return int.from_bytes(segment.handle().pread(8, position), "big")
        return self.log_end_offset

    def truncate_fully(self, offset: int) -> None:
        """Drop all data and start again, empty, at `offset`.

        Raises:
            DiskFull: all is as before; works again when there is space.
            StorageError: the log has failed.
        """
        if self.observer is not None:
            self.observer.truncating(self, offset)
        with self._io_lock:
            self.generation += 1
            try:
                self._chain.restart(offset, self.config, 0)
            except DiskFull:
                self.generation += 1
                raise
            except StorageError as error:
                self.fail(error)
                raise
            self.log_start_offset = self.log_end_offset = offset
            self.generation += 1
        self.epochs.clear()
        self._epochs_changed()
        self._producers.snapshots.drop_above(-1)
        self._settle_end()

    def _settle_end(self) -> None:
        """Bring everything that follows from the log's end in line with it."""
        end = self.log_end_offset
        self.active = self._chain.active
        self.durable_offset = min(self.durable_offset, end)
        self.high_watermark = min(self.high_watermark, end)
        self._forget_epochs_from(end)
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
