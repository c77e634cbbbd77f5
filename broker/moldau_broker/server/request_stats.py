"""Counters of requests by API: plain integers here, turned into metrics when somebody scrapes."""

from __future__ import annotations

from typing import Final

from moldau_broker.wire.apis import ApiKey

_BUCKETS: Final = 24  # powers of two of a microsecond: 1 us ... 8 s


class ApiStats:
    """Requests of one API: how many, how long (a histogram by powers of two of a microsecond)."""

    __slots__ = ("buckets", "count", "total_ns")

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.buckets = [0] * _BUCKETS


class RequestStats:
    """All APIs' counters, and the reasons connections were closed for.

    Attributes:
        with_trailing_bytes: requests that went on behind their body; the rest was ignored, as Kafka does.
    """

    __slots__ = ("apis", "close_reasons", "with_trailing_bytes")

    def __init__(self) -> None:
        self.apis: dict[int, ApiStats] = {int(key): ApiStats() for key in ApiKey}
        self.close_reasons: dict[str, int] = {}
        self.with_trailing_bytes = 0

    def record(self, api: int, elapsed_ns: int) -> None:
        """One request has been answered `elapsed_ns` after its frame was whole."""
        stats = self.apis[api]
        stats.count += 1
        stats.total_ns += elapsed_ns
        stats.buckets[min((elapsed_ns // 1000).bit_length(), _BUCKETS - 1)] += 1

    def closed(self, reason: str) -> None:
        """A connection was closed by us for `reason`."""
        self.close_reasons[reason] = self.close_reasons.get(reason, 0) + 1
