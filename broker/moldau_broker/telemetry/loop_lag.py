"""How late the event loop runs: a timer that notes its own delay."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition


INTERVAL_SECONDS: Final = 0.25
"""Four looks a second find every stall a client could notice, and cost microseconds."""

BOUNDS_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Measures while started; `worst_seconds` is the largest delay since it was last emitted."""

    __slots__ = ("_counts", "_expected", "_loop", "_timer", "_total", "worst_seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self._total = 0.0
        self._expected = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.worst_seconds = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._expected = self._loop.time() + INTERVAL_SECONDS
        self._timer = self._loop.call_at(self._expected, self._tick)

    def stop(self) -> None:
        """End; may be called when it never began."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.observe(max(0.0, self._loop.time() - self._expected))
        self.start()

    def observe(self, seconds: float) -> None:
        """Count one delay."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self._total += seconds
        self.worst_seconds = max(self.worst_seconds, seconds)

    def emit(self, exposition: Exposition) -> None:
        """Show the delays so far."""
        exposition.add_histogram("moldau_event_loop_lag_seconds", BOUNDS_SECONDS, self._counts, self._total)
        self.worst_seconds = 0.0
