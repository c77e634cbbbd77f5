"""Counters of requests by API: plain integers here, turned into metrics when somebody scrapes."""

from __future__ import annotations

from moldau_broker.base.timings import Timings
from moldau_broker.wire.apis import ApiKey


class RequestStats:
    """All APIs' counters, and the reasons connections were closed for.

    Attributes:
        apis: how many requests of each API, and how long they took.
        replica_fetches: the same of fetches by other nodes, which `apis` has too.
        with_trailing_bytes: requests that went on behind their body; the rest was ignored, as Kafka does.
    """

    __slots__ = ("apis", "close_reasons", "replica_fetches", "with_trailing_bytes")

    def __init__(self) -> None:
        self.apis: dict[int, Timings] = {int(key): Timings() for key in ApiKey}
        self.replica_fetches = Timings()
        self.close_reasons: dict[str, int] = {}
        self.with_trailing_bytes = 0

    def record(self, api: int, elapsed_ns: int) -> None:
        """One request has been answered `elapsed_ns` after its frame was whole."""
        self.apis[api].record(elapsed_ns)

    def closed(self, reason: str) -> None:
        """A connection was closed by us for `reason`."""
        self.close_reasons[reason] = self.close_reasons.get(reason, 0) + 1
