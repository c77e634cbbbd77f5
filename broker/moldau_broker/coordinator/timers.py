"""Deadlines by key, for cores that are told the time. Pure.

A member's heartbeat moves its deadline every few seconds; the heap must not grow with that. So a later deadline
only changes the table, and the heap entry, once it surfaces, is put back where it now belongs: one entry a key.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from typing import Any


class Timers:
    """What is to happen when. All times are monotonic milliseconds."""

    __slots__ = ("_armed", "_heap", "_queued", "_sequence")

    def __init__(self) -> None:
        self._armed: dict[Hashable, tuple[int, Callable[..., None], tuple[Any, ...]]] = {}
        self._queued: dict[Hashable, int] = {}
        self._heap: list[tuple[int, int, Hashable]] = []
        self._sequence = 0

    def set(self, key: Hashable, deadline_ms: int, action: Callable[..., None], *args: Any) -> None:
        """At `deadline_ms` call `action(*args)`; replaces what `key` stood for before."""
        self._armed[key] = (deadline_ms, action, args)
        queued = self._queued.get(key)
        if queued is None or deadline_ms < queued:
            self._push(key, deadline_ms)

    def cancel(self, key: Hashable) -> None:
        """Forget `key`; nothing happens if it is not set."""
        self._armed.pop(key, None)

    def deadline_of(self, key: Hashable) -> int | None:
        """When `key` is due, or None."""
        armed = self._armed.get(key)
        return None if armed is None else armed[0]

    def next_deadline(self) -> int | None:
        """The earliest deadline, or None when nothing is set."""
        while self._heap:
            deadline, _, key = self._heap[0]
            armed = self._surfaced(deadline, key)
            if armed is not None:
                return deadline
        return None

    def due(self, now_ms: int) -> Iterator[Callable[[], None]]:
        """Take out what is due, earliest first; actions may set and cancel timers while this runs."""
        while (deadline := self.next_deadline()) is not None and deadline <= now_ms:
            _, _, key = heapq.heappop(self._heap)
            del self._queued[key]
            _, action, args = self._armed.pop(key)
            yield lambda action=action, args=args: action(*args)  # type: ignore[misc]  # mypy sees no default args

    def __len__(self) -> int:
        return len(self._armed)

    def _push(self, key: Hashable, deadline_ms: int) -> None:
        self._sequence += 1
        self._queued[key] = deadline_ms
        heapq.heappush(self._heap, (deadline_ms, self._sequence, key))

    def _surfaced(
        self, deadline: int, key: Hashable
    ) -> tuple[int, Callable[..., None], tuple[Any, ...]] | None:
        """The timer whose heap entry is on top, or None after that entry was dropped or put back later."""
        if self._queued.get(key) != deadline:  # an earlier entry of the same key has replaced this one
            heapq.heappop(self._heap)
            return None
        armed = self._armed.get(key)
        if armed is not None and armed[0] == deadline:
            return armed
        heapq.heappop(self._heap)
        del self._queued[key]
        if armed is not None:
            self._push(key, armed[0])
        return None
