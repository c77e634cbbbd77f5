"""Virtual time: one heap of things to do, ordered by (milliseconds, order of asking), and named chance."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

_MASK: Final = (1 << 61) - 1


class InvariantViolated(AssertionError):
    """The cluster did what it must never do, or did not do in time what it must."""


class Kernel:
    """The clock and what will happen.

    Attributes:
        now: virtual milliseconds since the run began.
        events: how many things have happened.
        trace: takes one line per noteworthy thing; None (the usual) costs nothing.
    """

    __slots__ = ("_digest", "_heap", "_order", "_seed", "events", "now", "trace")

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self._seed = seed
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._digest = seed
        self.now = 0
        self.events = 0
        self.trace = trace

    def stream(self, name: str) -> Random:
        """A source of chance of its own: drawing more from one never moves another."""
        return Random(f"{self._seed}/{name}")  # noqa: S311 - simulation, not secrets

    def at(self, when_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Call at that time; things of one millisecond happen in the order of asking."""
        self._order += 1
        heappush(self._heap, (max(self.now, when_ms), self._order, call, args))

    def after(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Call `delay_ms` from now."""
        self._order += 1
        heappush(self._heap, (self.now + delay_ms, self._order, call, args))

    def run(self, until_ms: int) -> None:
        """Let everything happen that is due by then."""
        heap = self._heap
        digest = self._digest
        events = self.events
        while heap and heap[0][0] <= until_ms:
            when, order, call, args = heappop(heap)
            self.now = when
            self.events = events = events + 1
            digest = (digest * 1_000_003 ^ (when << 20) ^ order) & _MASK
            call(*args)
        self._digest = digest
        self.now = until_ms

    def mix(self, *facts: int) -> None:
        """Let facts count in the history's digest (between runs of `run`)."""
        for fact in facts:
            self._digest = (self._digest * 1_000_003 ^ fact) & _MASK

    @property
    def digest(self) -> str:
        """What happened so far, in 16 digits: the same seed gives the same."""
        return f"{self._digest:016x}"

    def note(self, text: str) -> None:
        """A line of the trace. Guard calls that format text with `if kernel.trace`."""
        if self.trace is not None:
            self.trace(f"{self.now:>7} {text}")


class NodeClock:
    """A node's own monotonic clock: it began at an odd moment and runs a little fast or slow.

    A `base.clock.Clock`.

    Attributes:
        wall_error_ms: how far its wall clock is off; may jump, while monotonic time may not.
    """

    __slots__ = ("_kernel", "_offset", "_permille", "wall_error_ms")

    def __init__(self, kernel: Kernel, offset_ms: int, drift_permille: int) -> None:
        self._kernel = kernel
        self._offset = offset_ms
        self._permille = 1000 + drift_permille
        self.wall_error_ms = 0

    def monotonic_ms(self) -> int:
        """Local monotonic milliseconds."""
        return self._offset + self._kernel.now * self._permille // 1000

    def wall_ms(self) -> int:
        """Local wall time in milliseconds."""
        return 1_700_000_000_000 + self._kernel.now + self.wall_error_ms

    def to_virtual(self, local_ms: int) -> int:
        """The first virtual millisecond at which `monotonic_ms()` is at least `local_ms`."""
        return -((self._offset - local_ms) * 1000 // self._permille)
