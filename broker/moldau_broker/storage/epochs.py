"""Which leader epoch began at which offset, and the answers drawn from it. Pure.

Source: KIP-101, KIP-279; `LeaderEpochFileCache` of Kafka 4.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

UNDEFINED_EPOCH: Final = -1
UNDEFINED_OFFSET: Final = -1


class LeaderEpochs:
    """Epochs and their start offsets, both strictly ascending.

    Attributes:
        version: grows with every change; whoever persists the entries compares it.
    """

    __slots__ = ("_epochs", "_starts", "version")

    def __init__(self, entries: Iterable[tuple[int, int]] = ()) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        self.version = 0
        for epoch, start in entries:
            self.assign(epoch, start)

    @property
    def latest(self) -> int:
        """The newest epoch; -1 when there is none."""
        return self._epochs[-1] if self._epochs else UNDEFINED_EPOCH

    @property
    def earliest(self) -> tuple[int, int] | None:
        """(epoch, start offset) of the oldest entry."""
        return (self._epochs[0], self._starts[0]) if self._epochs else None

    def entries(self) -> list[tuple[int, int]]:
        """(epoch, start offset), oldest first."""
        return list(zip(self._epochs, self._starts, strict=True))

    def assign(self, epoch: int, start: int) -> bool:
        """Epoch `epoch` begins or goes on at offset `start`; entries it contradicts go. Whether anything changed.

        An epoch in which nothing was written, noted by a leader that was replaced at once, goes without a trace: the
        one before it still began where it did. (Kafka's cache forgets that as well; its followers do not get there,
        as they name the newest epoch they know, not that of their last record.)
        """
        assert epoch >= 0, "a leader epoch is not negative"
        assert start >= 0, "an offset is not negative"
        epochs, starts = self._epochs, self._starts
        if epochs and epoch == epochs[-1] and start >= starts[-1]:
            return False
        while epochs and (epochs[-1] > epoch or starts[-1] >= start):
            epochs.pop()
            starts.pop()
        if not epochs or epochs[-1] < epoch:
            epochs.append(epoch)
            starts.append(start)
        self.version += 1
        return True

    def end_offset_for(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """(epoch, end offset) for OffsetForLeaderEpoch: the largest known epoch <= `epoch` and where it ended.

        The latest epoch ends at the log's end; an epoch newer than all is undefined (-1, -1); one older than
        all ends where the first known epoch begins, so that a follower truncates to the log's start.
        """
        epochs, starts = self._epochs, self._starts
        if epoch == UNDEFINED_EPOCH or not epochs or epoch > epochs[-1]:
            return UNDEFINED_EPOCH, UNDEFINED_OFFSET
        if epoch == epochs[-1]:
            return epoch, log_end_offset
        higher = bisect_right(epochs, epoch)
        if higher == 0:
            return epoch, starts[0]
        return epochs[higher - 1], starts[higher]

    def epoch_for(self, offset: int) -> int:
        """The epoch in which `offset` was (or would be) written; -1 when unknown."""
        at = bisect_right(self._starts, offset)
        return self._epochs[at - 1] if at else UNDEFINED_EPOCH

    def previous(self, epoch: int) -> int:
        """The newest epoch before `epoch`; -1 when there is none."""
        at = bisect_left(self._epochs, epoch)
        return self._epochs[at - 1] if at else UNDEFINED_EPOCH

    def truncate_from_end(self, end_offset: int) -> None:
        """Forget epochs that begin at or after `end_offset`."""
        keep = bisect_left(self._starts, end_offset)
        if keep < len(self._starts):
            del self._epochs[keep:], self._starts[keep:]
            self.version += 1

    def truncate_from_start(self, start_offset: int) -> None:
        """Forget epochs that ended before `start_offset`; the one in force there begins at it now."""
        before = bisect_right(self._starts, start_offset) - 1
        if before >= 0 and (before > 0 or self._starts[0] < start_offset):
            del self._epochs[:before], self._starts[:before]
            self._starts[0] = start_offset
            self.version += 1

    def clear(self) -> None:
        """Forget everything."""
        self._epochs.clear()
        self._starts.clear()
        self.version += 1
