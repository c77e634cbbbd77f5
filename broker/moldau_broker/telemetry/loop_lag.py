"""How late the event loop runs, and how idle its thread is: a timer that notes its own delay and the CPU used."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from math import exp
from time import monotonic_ns, thread_time_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition


INTERVAL_SECONDS: Final = 0.25
"""Four looks a second find every stall a client could notice, and cost microseconds."""

_MINUTE_NS: Final = 60_000_000_000

BOUNDS_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Measures while started.

    Attributes:
        worst_seconds: the largest delay since it was last emitted.
        idle_ratio: share of the last minute in which the thread used no CPU, 0 to 1; begins with 1.
    """

    __slots__ = (
        "_counts",
        "_cpu_ns",
        "_expected",
        "_looked_ns",
        "_loop",
        "_timer",
        "_total",
        "idle_ratio",
        "worst_seconds",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self._total = 0.0
        self._expected = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.worst_seconds = 0.0
        self.idle_ratio = 1.0
        self._cpu_ns = self._looked_ns = 0

    def start(self) -> None:
        """Begin to measure, on the thread that is to be measured."""
        self._expected = self._loop.time() + INTERVAL_SECONDS
        self._timer = self._loop.call_at(self._expected, self._tick)

    def stop(self) -> None:
        """End; may be called when it never began."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.observe(max(0.0, self._loop.time() - self._expected))
        now_ns, cpu_ns = monotonic_ns(), thread_time_ns()
        if self._looked_ns:
            self.observe_cpu(now_ns - self._looked_ns, cpu_ns - self._cpu_ns)
        self._looked_ns, self._cpu_ns = now_ns, cpu_ns
        self.start()

    def observe(self, seconds: float) -> None:
        """Count one delay."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self._total += seconds
        self.worst_seconds = max(self.worst_seconds, seconds)

    def observe_cpu(self, elapsed_ns: int, cpu_ns: int) -> None:
        """The thread used so much CPU in that time; what was a minute ago weighs 1/e."""
        keep = exp(-elapsed_ns / _MINUTE_NS)
        idle = min(max(1 - cpu_ns / elapsed_ns, 0.0), 1.0)
        self.idle_ratio = self.idle_ratio * keep + idle * (1 - keep)

    def emit(self, exposition: Exposition) -> None:
        """Show the delays so far."""
        exposition.add_histogram("moldau_event_loop_lag_seconds", BOUNDS_SECONDS, self._counts, self._total)
        exposition.add("moldau_event_loop_idle_ratio", round(self.idle_ratio, 4))
        self.worst_seconds = 0.0
