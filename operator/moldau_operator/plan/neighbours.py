"""Where to look first in a sorted list for what comes nearest to a wish. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence


def outwards(held: Sequence[tuple[float, int]], ideal: float, most: int) -> Iterator[int]:
    """Positions in a list sorted by its first values, nearest to the ideal one first; at most so many."""
    high = bisect_left(held, (ideal,))
    low = high - 1
    for _ in range(most):
        if high < len(held) and (low < 0 or held[high][0] - ideal <= ideal - held[low][0]):
            yield high
            high += 1
        elif low >= 0:
            yield low
            low -= 1
        else:
            return
