"""Moving averages of what partitions carry, from plain counters that are looked at every few seconds. Pure.

An average over a minute forgets exponentially: what happened a minute ago weighs 1/e of what happens now. It begins
with the first rate that is seen, not with zero, so that a broker that has just started does not look idle.

Most partitions are idle most of the time, so a look costs them a comparison; what silence does to their averages is
worked out when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

K = TypeVar("K")

SAMPLE_INTERVAL_MS: Final = 5_000
"""How often to look: a twelfth of the shortest average."""

_MINUTE_MS: Final = 60_000
_FIVE_MINUTES_MS: Final = 300_000

Counters: TypeAlias = tuple[int, int, int]
"""Bytes in, bytes out and requests since a replica was opened; they only grow, or begin anew at zero."""


class Rates(NamedTuple):
    """The same per second."""

    bytes_in: float
    bytes_out: float
    requests: float


class Load(NamedTuple):
    """Moving averages of one partition."""

    one_minute: Rates
    five_minutes: Rates


_Averages: TypeAlias = tuple[float, float, float, float, float, float]
"""The three rates of one minute, then those of five."""


class _Track:
    """A partition: averages as of `at_ms`; since then, up to the last look, nothing was carried."""

    __slots__ = ("at_ms", "averages", "counters")

    def __init__(self, at_ms: int, counters: Counters) -> None:
        self.at_ms = at_ms
        self.counters = counters
        self.averages: _Averages | None = None


class LoadTracker(Generic[K]):
    """See the module. `K` names a partition."""

    __slots__ = ("_looked_ms", "_tracks")

    def __init__(self) -> None:
        self._tracks: dict[K, _Track] = {}
        self._looked_ms = -1

    def sample(self, now_ms: int, counters: Iterable[tuple[K, Counters]]) -> None:
        """Look at every partition led here at `now_ms` (monotonic); whoever is missing is forgotten."""
        looked_ms = self._looked_ms
        if now_ms <= looked_ms:
            return
        elapsed_ms = now_ms - looked_ms
        keep = exp(-elapsed_ms / _MINUTE_MS), exp(-elapsed_ms / _FIVE_MINUTES_MS)
        known, self._tracks = self._tracks, {}
        for key, seen in counters:
            track = known.get(key)
            if track is None:
                track = _Track(now_ms, seen)
            elif track.averages is None or seen != track.counters:
                track = _advanced(track, looked_ms, now_ms, seen, keep)
            self._tracks[key] = track
        self._looked_ms = now_ms

    def load(self, key: K) -> Load | None:
        """The averages of a partition as of the last look; None until it has been looked at twice."""
        track = self._tracks.get(key)
        if track is None or track.averages is None:
            return None
        averages = _idle(track.averages, self._looked_ms - track.at_ms)
        return Load(Rates(*averages[:3]), Rates(*averages[3:]))


def _advanced(
    track: _Track, looked_ms: int, now_ms: int, seen: Counters, keep: tuple[float, float]
) -> _Track:
    """Everything that is new was carried since the last look; counters that fell belong to another replica."""
    before = track.counters
    if seen[0] < before[0] or seen[1] < before[1] or seen[2] < before[2]:
        return _Track(now_ms, seen)
    per_second = 1000 / (now_ms - looked_ms)
    bytes_in = (seen[0] - before[0]) * per_second
    bytes_out = (seen[1] - before[1]) * per_second
    requests = (seen[2] - before[2]) * per_second
    if track.averages is None:
        track.averages = bytes_in, bytes_out, requests, bytes_in, bytes_out, requests
    else:
        one, five = keep
        old = _idle(track.averages, looked_ms - track.at_ms)
        track.averages = (
            old[0] * one + bytes_in * (1 - one),
            old[1] * one + bytes_out * (1 - one),
            old[2] * one + requests * (1 - one),
            old[3] * five + bytes_in * (1 - five),
            old[4] * five + bytes_out * (1 - five),
            old[5] * five + requests * (1 - five),
        )
    track.at_ms, track.counters = now_ms, seen
    return track


def _idle(averages: _Averages, elapsed_ms: int) -> _Averages:
    """What is left after nothing was carried for so long."""
    if elapsed_ms <= 0:
        return averages
    one, five = exp(-elapsed_ms / _MINUTE_MS), exp(-elapsed_ms / _FIVE_MINUTES_MS)
    a, b, c, d, e, f = averages
    return a * one, b * one, c * one, d * five, e * five, f * five
