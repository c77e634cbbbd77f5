"""How long what a leader appends takes to be committed, of late. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_MS: Final = 30_000
"""Kafka averages over thirty seconds."""

_PENDING_MAX: Final = 1_000


class CommitTimes:
    """Remembers the appends under way, and the times of those that were committed in the last half minute."""

    __slots__ = ("_done", "_pending")

    def __init__(self) -> None:
        self._pending: deque[tuple[int, int]] = deque(maxlen=_PENDING_MAX)  # (end offset, when appended)
        self._done: deque[tuple[int, int]] = deque(maxlen=_PENDING_MAX)  # (when committed, how long it took)

    def appended(self, end_offset: int, now_ms: int) -> None:
        """The log ends there now."""
        self._pending.append((end_offset, now_ms))

    def committed(self, high_watermark: int, now_ms: int) -> None:
        """Everything below is committed."""
        while self._pending and self._pending[0][0] <= high_watermark:
            self._done.append((now_ms, now_ms - self._pending.popleft()[1]))

    def forget(self) -> None:
        """This node leads no more."""
        self._pending.clear()

    def average_ms(self, now_ms: int) -> float | None:
        """Of the last half minute, None where nothing was committed in it."""
        while self._done and now_ms - self._done[0][0] > WINDOW_MS:
            self._done.popleft()
        if not self._done:
            return None
        return sum(took for _, took in self._done) / len(self._done)
