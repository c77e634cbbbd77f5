"""The producer snapshot files of a partition: when to write one, which to keep.

One stands at the base offset of every segment but the first, one at the end after a clean shutdown, and in a
large active segment one every 16 MiB, so that a restart replays little. They are protected by a CRC and can be
rebuilt, so losing one costs time only.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable

from moldau_broker.storage.errors import CorruptLog, FileMissing, StorageError
from moldau_broker.storage.names import SNAPSHOT, segment_file
from moldau_broker.storage.place import Place
from moldau_broker.storage.producers import ProducerState


class Snapshots:
    """Known snapshot files by the offset after the last batch each covers, ascending."""

    __slots__ = ("_place", "_unsynced", "offsets")

    def __init__(self, place: Place, offsets: Iterable[int] = ()) -> None:
        self._place = place
        self.offsets = sorted(offsets)
        self._unsynced: deque[int] = deque()

    def _path(self, offset: int) -> str:
        return self._place.path(segment_file(offset, SNAPSHOT))

    def take(self, offset: int, state: ProducerState) -> None:
        """Write the state as of `offset`, unless that is there already. A full disk is no error."""
        if self.offsets and self.offsets[-1] == offset:
            return
        with contextlib.suppress(StorageError):
            self._place.disk.write(self._path(offset), state.encode())
            self._unsynced.append(offset)
            if offset not in self.offsets:
                insort(self.offsets, offset)

    def load(self, up_to: int) -> tuple[int, ProducerState] | None:
        """(offset, state) of the newest readable snapshot at or below `up_to`; damaged ones are removed."""
        while at := bisect_right(self.offsets, up_to):
            offset = self.offsets[at - 1]
            try:
                return offset, ProducerState.decode(self._place.disk.read(self._path(offset)))
            except (CorruptLog, FileMissing):
                self._drop(offset)
        return None

    def sync(self) -> bool:
        """Make new ones durable, but for their names; whether there were any. Blocks; any thread.

        Raises:
            StorageError: the disk refuses.
        """
        found = False
        while self._unsynced:
            self._place.disk.datasync(self._path(self._unsynced.popleft()))
            found = True
        return found

    def drop_above(self, offset: int) -> None:
        """Remove the snapshots taken after `offset`."""
        for later in self.offsets[bisect_right(self.offsets, offset) :]:
            self._drop(later)

    def drop_below(self, offset: int) -> None:
        """Remove the snapshots taken before `offset`: their segments are gone."""
        for earlier in [known for known in self.offsets if known < offset]:
            self._drop(earlier)

    def thin(self, base_offset: int, durable_offset: int) -> None:
        """Of those inside the active segment keep the newest that is surely usable, and any newer one."""
        inside = [offset for offset in self.offsets if base_offset < offset <= durable_offset]
        for offset in inside[:-1]:
            self._drop(offset)

    def drop_strays(self, bases: Iterable[int]) -> None:
        """Keep those at a segment's base, and the newest of all."""
        keep = {*bases, *self.offsets[-1:]}
        for offset in [known for known in self.offsets if known not in keep]:
            self._drop(offset)

    def _drop(self, offset: int) -> None:
        self.offsets.remove(offset)
        self._place.disk.unlink(self._path(offset))
