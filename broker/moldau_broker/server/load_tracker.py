"""Moving averages of what partitions carry, from plain counters that are looked at every few seconds. Pure.

An average over a minute forgets exponentially: what happened a minute ago weighs 1/e of what happens now. It begins
with the first rate that is seen, not with zero, so that a broker that has just started does not look idle.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K")

SAMPLE_INTERVAL_MS: Final = 5_000
"""How often to look: a twelfth of the shortest average; 4,000 partitions cost some milliseconds each time."""

_MINUTE_MS: Final = 60_000
_FIVE_MINUTES_MS: Final = 300_000


class Counters(NamedTuple):
    """What a partition has carried since this replica was opened here; they only grow, or begin anew at zero."""

    bytes_in: int
    bytes_out: int
    requests: int


class Rates(NamedTuple):
    """The same per second."""

    bytes_in: float
    bytes_out: float
    requests: float


class Load(NamedTuple):
    """Moving averages of one partition."""

    one_minute: Rates
    five_minutes: Rates


class _Track:
    __slots__ = ("at_ms", "counters", "load")

    def __init__(self, at_ms: int, counters: Counters) -> None:
        self.at_ms = at_ms
        self.counters = counters
        self.load: Load | None = None


class LoadTracker(Generic[K]):
    """See the module. `K` names a partition."""

    __slots__ = ("_tracks",)

    def __init__(self) -> None:
        self._tracks: dict[K, _Track] = {}

    def sample(self, now_ms: int, counters: Iterable[tuple[K, Counters]]) -> None:
        """Look at every partition led here at `now_ms` (monotonic); whoever is missing is forgotten."""
        known, self._tracks = self._tracks, {}
        for key, seen in counters:
            track = known.get(key)
            if track is None or any(now < then for now, then in zip(seen, track.counters, strict=True)):
                track = _Track(now_ms, seen)
            elif now_ms > track.at_ms:
                _advance(track, now_ms, seen)
            self._tracks[key] = track

    def load(self, key: K) -> Load | None:
        """The averages of a partition; None until it has been looked at twice."""
        track = self._tracks.get(key)
        return None if track is None else track.load


def _advance(track: _Track, now_ms: int, seen: Counters) -> None:
    elapsed = now_ms - track.at_ms
    rates = Rates(*((now - then) * 1000 / elapsed for now, then in zip(seen, track.counters, strict=True)))
    before = track.load
    if before is None:
        track.load = Load(rates, rates)
    else:
        track.load = Load(
            _decayed(before.one_minute, rates, elapsed / _MINUTE_MS),
            _decayed(before.five_minutes, rates, elapsed / _FIVE_MINUTES_MS),
        )
    track.at_ms, track.counters = now_ms, seen


def _decayed(before: Rates, now: Rates, elapsed: float) -> Rates:
    keep = exp(-elapsed)
    return Rates(*(old * keep + new * (1 - keep) for old, new in zip(before, now, strict=True)))
