"""A thread that watches the event loop from outside: a loop that is stuck cannot say so itself, nor where.

The loop notes the time whenever a timer of it fires. The thread looks at that note; once it is older than the bound it
logs the loop thread's stack, once for each stall, and how long the stall was when the loop turns again. Where the
thread itself did not run for as long, nobody in the process did: it was paused, starved, or held by one native call
that keeps the interpreter's lock, and the stack would blame whoever happened to run.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from moldau_broker.telemetry.exposition import Exposition

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 0.25
"""Both the loop's note and the thread's look: eight wake-ups a second in all cost some microseconds each."""

STALL_SECONDS: Final = 1.0
"""Clients time out after tens of seconds and sessions after several; a second is long before either, and far above
what a busy loop needs (`moldau_event_loop_lag_seconds` shows that)."""

STACK_FRAMES_MAX: Final = 40


class Watchdog:
    """Watches the loop of the thread that calls `start`.

    Attributes:
        stalls: of the loop, since start.
        pauses: of the whole process, since start.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stall_seconds: float = STALL_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._bound = stall_seconds
        self._now = now
        self._beat = now()
        self._timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0
        self.stalls = self.pauses = 0

    def start(self) -> None:
        """Begin to watch; called on the loop's own thread."""
        self._watched = threading.get_ident()
        self._tick()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; may be called when it never began."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread is not None:
            self._thread.join(timeout=5 * INTERVAL_SECONDS)
            self._thread = None

    def emit(self, exposition: Exposition) -> None:
        """Show how often it had to bark."""
        exposition.add("moldau_event_loop_stalls_total", self.stalls)

    def _tick(self) -> None:
        self._beat = self._now()
        self._timer = self._loop.call_later(INTERVAL_SECONDS, self._tick)

    def _watch(self) -> None:
        stalled_at: float | None = None
        looked = self._now()
        while not self._stop.wait(INTERVAL_SECONDS):
            before, looked = looked, self._now()
            beat = self._beat
            if stalled_at is not None:
                if beat > stalled_at:
                    seconds = round(beat - stalled_at, 3)
                    logger.warning("event_loop.resumed", extra={"stalled_seconds": seconds})
                    stalled_at = None
                continue
            if looked - before > self._bound:
                self.pauses += 1
                logger.warning("process.paused", extra={"paused_seconds": round(looked - before, 3)})
            elif looked - beat > self._bound:
                stalled_at = beat
                self.stalls += 1
                logger.error(
                    "event_loop.stalled",
                    extra={"stalled_seconds": round(looked - beat, 3), "stack": self._stack()},
                )

    def _stack(self) -> list[str]:
        """Where the loop's thread is, innermost last: `file:line function`."""
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return []
        frames = traceback.extract_stack(frame)[-STACK_FRAMES_MAX:]
        return [f"{one.filename}:{one.lineno} {one.name}" for one in frames]
