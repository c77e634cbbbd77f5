"""The segments of a log as files: making, rolling, cutting, retiring, syncing. Offsets' meaning is the log's.

The loop thread changes the chain by replacing tuples; a flush on another thread works on what it finds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from moldau_broker.storage.errors import DiskFull
from moldau_broker.storage.names import CLEANED
from moldau_broker.storage.segment import Segment

if TYPE_CHECKING:
    from moldau_broker.base.topic_config import TopicConfig
    from moldau_broker.storage.place import OpenFiles, Place

_BASE: Final = attrgetter("base_offset")


class SegmentChain:
    """Segments in order of their base offsets; the last is active.

    Attributes:
        segments: all of them.
        unsynced: those that may hold data that is not durable, oldest first; the active one always.
        flushed_bytes: made durable so far.
    """

    __slots__ = ("_files", "_folder_changed", "_place", "_trash", "flushed_bytes", "segments", "unsynced")

    def __init__(
        self, place: Place, files: OpenFiles, segments: tuple[Segment, ...], *, is_new: bool
    ) -> None:
        self._place = place
        self._files = files
        self.segments = segments
        self.unsynced = (*(segment for segment in segments[:-1] if segment.is_dirty), segments[-1])
        self._folder_changed = is_new
        self.flushed_bytes = 0
        self._trash: deque[tuple[int, Segment]] = deque()

    @property
    def active(self) -> Segment:
        """The segment that is appended to."""
        return self.segments[-1]

    def at(self, offset: int) -> int:
        """Index of the segment that holds `offset`, or would."""
        return max(0, bisect_right(self.segments, offset, key=_BASE) - 1)

    def configure(self, config: TopicConfig) -> None:
        """Take changed settings."""
        for segment in self.segments:
            segment.configure(config.index_interval_bytes, config.segment_index_bytes)

    def _make(self, base: int, config: TopicConfig, now_ms: int) -> Segment:
        fresh = Segment(
            self._place,
            self._files,
            base,
            created_ms=now_ms,
            interval=config.index_interval_bytes,
            index_bytes=config.segment_index_bytes,
        )
        fresh.create()
        self._folder_changed = True
        return fresh

    def roll(self, base: int, config: TopicConfig, now_ms: int) -> Segment:
        """Begin a new active segment at `base`; an empty one is replaced.

        Raises:
            DiskFull: the old one stays active.
        """
        old = self.active
        fresh = self._make(base, config, now_ms)
        if old.size:
            old.finish()
            self.unsynced = (*self.unsynced, fresh)
            self.segments = (*self.segments, fresh)
        else:
            self.unsynced = (*self.unsynced[:-1], fresh)
            self.segments = (*self.segments[:-1], fresh)
            old.remove()
        return fresh

    def cut(self, offset: int) -> int:
        """Take every batch that reaches `offset` or lies above it away, durably; the new end offset."""
        segments = self.segments
        while len(segments) > 1 and segments[-1].base_offset >= offset:
            segments[-1].retire()  # newest first: what a crash leaves is still gapless
            self._trash.append((0, segments[-1]))
            segments = segments[:-1]
        keep, last = segments[:-1], segments[-1].truncated(offset)
        self.segments = (*keep, last)
        self.unsynced = (*(segment for segment in self.unsynced if segment in keep), last)
        self._place.disk.sync_folder(self._place.folder)
        return last.resume()

    def restart(self, offset: int, config: TopicConfig, now_ms: int) -> None:
        """Take everything away and begin again at `offset`, durably.

        Raises:
            DiskFull: there is no room for the new segment's name; the old ones are back in their places.
        """
        for segment in reversed(self.segments):
            segment.retire()
        try:
            fresh = self._make(offset, config, now_ms)
        except DiskFull:
            for segment in self.segments:
                segment.rename("")
            raise
        self._trash.extend((0, segment) for segment in reversed(self.segments))
        self.segments = self.unsynced = (fresh,)
        self._place.disk.sync_folder(self._place.folder)

    def retire_oldest(self, count: int, due_ms: int) -> tuple[Segment, ...]:
        """Take the oldest segments out; `purge` unlinks their files from `due_ms` on."""
        gone = self.segments[:count]
        self.segments = self.segments[count:]
        self.unsynced = tuple(segment for segment in self.unsynced if segment not in gone)
        for segment in gone:
            segment.retire()
            self._trash.append((due_ms, segment))
        self._folder_changed = True
        return gone

    def cleaned(self, base: int, size: int, config: TopicConfig, created_ms: int) -> Segment:
        """What compaction has left in `.cleaned` files: for `replace`, once it has been renamed."""
        return Segment(
            self._place,
            self._files,
            base,
            size=size,
            suffix=CLEANED,
            created_ms=created_ms,
            interval=config.index_interval_bytes,
            index_bytes=config.segment_index_bytes,
        )

    def replace(self, old: Sequence[Segment], new: Segment, due_ms: int) -> None:
        """Put `new` in the place of consecutive closed segments, whose files are retired."""
        at = self.segments.index(old[0])
        assert self.segments[at : at + len(old)] == tuple(old), "the replaced segments are consecutive"
        assert old[-1] is not self.active, "the active segment is not compacted"
        self.segments = (*self.segments[:at], new, *self.segments[at + len(old) :])
        self.unsynced = tuple(segment for segment in self.unsynced if segment not in old)
        self._folder_changed = True
        for segment in old:
            segment.retire()
            self._trash.append((due_ms, segment))

    def sync(self, *, names_too: bool) -> None:
        """Make what the segments hold now durable, and the folder's entries if any are new. Blocks; any thread."""
        for segment in self.unsynced:
            before = segment.synced_size
            if segment is not self.active:
                segment.sync(finished=True)
            elif segment.is_dirty or segment.indexes_written:
                segment.sync(finished=False)
            self.flushed_bytes += segment.synced_size - before
        if self._folder_changed or names_too:
            self._folder_changed = False
            self._place.disk.sync_folder(self._place.folder)

    def settle(self) -> None:
        """Forget segments that are durable for good, and files over the bound. Loop thread."""
        self._files.trim()
        if len(self.unsynced) > 1:
            active = self.active
            self.unsynced = tuple(s for s in self.unsynced if s is active or not s.settled)

    def has_trash(self, now_ms: int) -> bool:
        """Whether `purge` has anything to do."""
        return bool(self._trash) and self._trash[0][0] <= now_ms

    def purge(self, now_ms: int) -> int:
        """Unlink the files that are due; returns the bytes freed. Blocks; any thread."""
        freed = 0
        while self._trash and self._trash[0][0] <= now_ms:
            _, segment = self._trash.popleft()
            freed += segment.size
            segment.remove()
        return freed

    def let_go(self) -> None:
        """Close the files."""
        for segment in self.segments:
            self._files.forget(segment)
