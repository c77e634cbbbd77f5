"""Records a second of the metadata log, over half a minute, as Kafka tells them. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

SAMPLE_MS: Final = 5_000
_WINDOW_MS: Final = 30_000


class _Sample(NamedTuple):
    at_ms: int
    appended: int
    fetched: int


class LogRates:
    """Looks at a log's end every few seconds; what was added is its leader's or its follower's doing."""

    __slots__ = ("_end", "_samples")

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._end: int | None = None

    def sample(self, now_ms: int, log_end: int, *, leads: bool) -> None:
        """The log ends at `log_end` now."""
        last = self._samples[-1] if self._samples else _Sample(now_ms, 0, 0)
        added = max(log_end - self._end, 0) if self._end is not None else 0
        self._end = log_end
        if leads:
            self._samples.append(_Sample(now_ms, last.appended + added, last.fetched))
        else:
            self._samples.append(_Sample(now_ms, last.appended, last.fetched + added))
        while now_ms - self._samples[0].at_ms > _WINDOW_MS:
            self._samples.popleft()

    def per_second(self) -> tuple[float, float]:
        """Appended and fetched; zero until it was looked at twice."""
        if len(self._samples) < 2:
            return 0.0, 0.0
        first, last = self._samples[0], self._samples[-1]
        seconds = max(last.at_ms - first.at_ms, 1) / 1000
        return (last.appended - first.appended) / seconds, (last.fetched - first.fetched) / seconds
