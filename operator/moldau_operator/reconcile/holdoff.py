"""How long to leave a refused thing alone: doubling waits, forgotten when its resource changes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moldau_operator.resources.meta import Key

FIRST_MS: Final = 1_000
LONGEST_MS: Final = 60_000
"""A broker that refuses a setting is asked again once a minute: its version may have changed."""


@dataclass(slots=True)
class _Hold:
    generation: int
    until_ms: int
    wait_ms: int


class HoldOff:
    """Remembers failures by resource. Time is monotonic milliseconds, given by the caller."""

    def __init__(self) -> None:
        self._holds: dict[Key, _Hold] = {}

    def blocks(self, key: Key, generation: int, now_ms: int) -> bool:
        """Whether the resource should be left alone for now."""
        hold = self._holds.get(key)
        return hold is not None and hold.generation == generation and now_ms < hold.until_ms

    def failed(self, key: Key, generation: int, now_ms: int) -> None:
        """Note a failure; each one in a row doubles the wait."""
        hold = self._holds.get(key)
        wait = (
            FIRST_MS if hold is None or hold.generation != generation else min(hold.wait_ms * 2, LONGEST_MS)
        )
        self._holds[key] = _Hold(generation, now_ms + wait, wait)

    def pause(self, key: Key, generation: int, until_ms: int) -> None:
        """Leave it alone until then, though nothing failed."""
        self._holds[key] = _Hold(generation, until_ms, FIRST_MS // 2)

    def succeeded(self, key: Key) -> None:
        """Forget what went wrong."""
        self._holds.pop(key, None)
