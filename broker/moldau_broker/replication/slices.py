"""Many small pieces of work, a little of it in each turn of the event loop. No event loop here."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from moldau_broker.base.clock import Clock

K = TypeVar("K", bound=Hashable)

SLICE_MS: Final = 8
"""How long one turn may be kept busy: requests and heartbeats wait that much longer, which nobody notices."""


class Slices(Generic[K]):
    """What is still to be done, in the order it came; each piece once.

    Attributes:
        turns: how often `run` had to leave something for later, since start.
    """

    def __init__(
        self,
        work: Callable[[K], None],
        clock: Clock,
        later: Callable[[Callable[[], None]], object],
        on_slice: Callable[[], None],
    ) -> None:
        """`work` does one piece; `later` runs something in a later turn; `on_slice` is told after a later slice."""
        self._work = work
        self._clock = clock
        self._later = later
        self._on_slice = on_slice
        self._waiting: dict[K, None] = {}
        self._scheduled = False
        self.turns = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, piece: K) -> None:
        """It is to be done; `run` begins."""
        self._waiting[piece] = None

    def run(self) -> None:
        """Do what fits in a slice, at least one piece, and the rest in later turns."""
        if self._scheduled:
            return
        began_ms = self._clock.monotonic_ms()
        while self._waiting:
            piece = next(iter(self._waiting))
            del self._waiting[piece]
            self._work(piece)
            if self._waiting and self._clock.monotonic_ms() - began_ms >= SLICE_MS:
                self._scheduled = True
                self.turns += 1
                self._later(self._go_on)
                return

    def _go_on(self) -> None:
        self._scheduled = False
        self.run()
        self._on_slice()
