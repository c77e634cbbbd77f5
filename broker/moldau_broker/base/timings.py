"""How often, and how long: a histogram by powers of two of a microsecond. Pure; one addition per value."""

from __future__ import annotations

from typing import Final

BUCKETS: Final = 24
"""1 us ... 4 s, and beyond: the last has no bound."""


class Timings:
    """Counts durations.

    Attributes:
        count, total_ns: of all of them.
        buckets: bucket i counts those below 2**i microseconds that bucket i-1 does not.
    """

    __slots__ = ("buckets", "count", "total_ns")

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.buckets = [0] * BUCKETS

    def record(self, elapsed_ns: int) -> None:
        """Count one."""
        self.count += 1
        self.total_ns += elapsed_ns
        self.buckets[min((elapsed_ns // 1000).bit_length(), BUCKETS - 1)] += 1
