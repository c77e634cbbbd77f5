"""The clock as an argument. Pure cores take `now_ms`; only the outermost shell owns a `SystemClock`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for record timestamps and retention, monotonic time for every timeout."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds of the monotonic clock."""
        return time.monotonic_ns() // 1_000_000
