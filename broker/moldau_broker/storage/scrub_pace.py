"""In which order logs are scrubbed, and how long to rest between two stretches. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

Key: TypeAlias = tuple[str, int]
"""Topic and partition."""

STRETCH_BYTES: Final = 256 * 1024
"""Checked in one go: 0.1 ms of large batches, some 3 ms of the smallest, for which the event loop's thread may wait."""

BUSY_SHARE: Final = 0.6
"""From this share of a core on, the event loop's thread is busy: what clients wait for comes first."""

BUSY_RESTS: Final = 10
"""A busy broker's rests are this many times as long. It never stops altogether: some are busy for months."""

DISK_RESTS: Final = 4
"""A rest lasts at least this many times what the stretch took: a slow disk is one that others are waiting for."""


def rest_ms(size: int, took_ms: float, busy_share: float, bytes_per_second: int) -> float:
    """How long to rest after a stretch.

    Args:
        size: bytes that it read.
        took_ms: how long that took.
        busy_share: CPU time of the event loop's thread by elapsed time since the stretch before, 0 to 1.
        bytes_per_second: the rate not to exceed, above 0.
    """
    fair = size * 1000 / bytes_per_second - took_ms
    rest = max(fair, took_ms * DISK_RESTS)
    return rest * BUSY_RESTS if busy_share >= BUSY_SHARE else rest


class Round:
    """One walk over all logs.

    Attributes:
        began_ms: monotonic time of its beginning.
        key: the log whose turn it is; None when all have had theirs.
        after: base offset of the last of its segments that was checked, -1 before the first.
        up_to: where it ended when its turn began, None until whoever walks has looked.
    """

    def __init__(self, keys: Iterable[Key], began_ms: int, begin_at: float = 0.0) -> None:
        """`begin_at`, 0 to below 1, is where in the order of all logs to begin.

        Drawn at random for the first walk of a process: one that is restarted every day would otherwise only ever
        see the first logs.
        """
        order = sorted(keys)
        self._left = deque(order)
        self._left.rotate(-int(len(order) * begin_at))
        self.began_ms = began_ms
        self.key: Key | None = None
        self.after = -1
        self.up_to: int | None = None
        self.next_log()

    def next_log(self) -> None:
        """The present one is through."""
        self.key = self._left.popleft() if self._left else None
        self.after = -1
        self.up_to = None

    def next_round_ms(self, interval_ms: int) -> int:
        """When the next walk may begin, monotonic: `interval_ms` after the beginning of this one."""
        return self.began_ms + interval_ms
