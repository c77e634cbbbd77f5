"""Work for the end of this turn of the event loop, so that what belongs together leaves in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Flushable(Protocol):
    """A connection with answers to send."""

    def flush(self) -> None:
        """Send what is ready."""
        ...


class Turn:
    """Collects callbacks and connections during a turn and runs them once, callbacks first."""

    __slots__ = ("_dirty", "_loop", "_ready", "_scheduled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: list[Callable[[], None]] = []
        self._dirty: dict[Flushable, None] = {}
        self._scheduled = False

    def soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` after the input events of this turn."""
        self._ready.append(callback)
        self._schedule()

    def mark_dirty(self, connection: Flushable) -> None:
        """Flush `connection` after the callbacks of this turn."""
        self._dirty[connection] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        try:
            ready, self._ready = self._ready, []
            for callback in ready:
                callback()
            dirty, self._dirty = self._dirty, {}
            for connection in dirty:
                connection.flush()
        finally:
            self._scheduled = False
            if self._ready or self._dirty:
                self._schedule()


class LoopTimers:
    """Timers in milliseconds on the event loop's monotonic clock."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `callback` in `delay_ms`, unless the handle is cancelled before."""
        return self._loop.call_later(max(0.0, delay_ms) / 1000, callback)
