"""Quantiles of the last minutes out of histograms that count since the start. Pure.

Kafka's request metrics forget after some five minutes; a quantile since the start would never recover from a bad hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from moldau_broker.base.timings import BUCKETS, Timings

WINDOW_MS: Final = 300_000
_STEP_MS: Final = 30_000


class RecentTimings:
    """Remembers what a histogram had counted, twice a minute, for five minutes."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[int, tuple[int, ...]]] = deque()

    def buckets(self, now_ms: int, timings: Timings) -> list[int]:
        """What was counted in the last five minutes, or since this was first asked if that is less long ago."""
        seen = self._seen
        base = seen[0][1] if seen else (0,) * BUCKETS
        recent = [count - before for count, before in zip(timings.buckets, base, strict=True)]
        if not seen or now_ms - seen[-1][0] >= _STEP_MS:
            seen.append((now_ms, tuple(timings.buckets) if seen else base))
        while len(seen) > 1 and now_ms - seen[1][0] >= WINDOW_MS:
            seen.popleft()
        return recent


def quantile_ms(buckets: Sequence[int], share: float) -> float | None:
    """The duration that this share of them does not exceed, evened out within its bucket; None of none."""
    total = sum(buckets)
    if not total:
        return None
    rank = share * total
    below = 0
    for index, count in enumerate(buckets):
        if count and below + count >= rank:
            low = 0 if index == 0 else 1 << (index - 1)
            high = low if index == BUCKETS - 1 else 1 << index
            return (low + (high - low) * (rank - below) / count) / 1000
        below += count
    raise AssertionError("the ranks end with the last bucket")
