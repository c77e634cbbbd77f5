"""Where the newest batches of the active segment lie, in memory: a fetch near the end never scans. Pure."""

from __future__ import annotations

from array import array
from typing import Final

from moldau_broker.storage.batches import Batch

TAIL_BATCHES_MAX: Final = 1024  # 8 KiB when full
_KEPT: Final = 768


class Tail:
    """Last relative offset and position of the newest batches, ascending.

    Offsets are relative to the segment's base. A reader on another thread takes the object once: arrays only
    grow, `position` first; cutting makes a new object.

    Attributes:
        floor: relative offset from which on the tail knows every batch.
        last: last relative offset of each batch.
        position: byte position of each batch.
    """

    __slots__ = ("floor", "last", "position")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self.last = array("I")
        self.position = array("I")

    def add(self, last: int, position: int) -> None:
        """A batch was appended."""
        self.position.append(position)
        self.last.append(last)

    def trimmed(self) -> Tail:
        """A copy with only the newest entries."""
        drop = len(self.last) - _KEPT
        tail = Tail(self.last[drop - 1] + 1)
        tail.last = self.last[drop:]
        tail.position = self.position[drop:]
        return tail

    @classmethod
    def of(cls, batches: list[Batch], base_offset: int, floor: int) -> Tail:
        """The tail of batches that end the segment; `floor` is an absolute offset none before them reaches."""
        tail = cls(floor - base_offset)
        for batch in batches:
            tail.add(batch.last_offset - base_offset, batch.position)
        return tail.trimmed() if len(batches) > TAIL_BATCHES_MAX else tail
