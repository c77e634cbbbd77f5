"""Who has numbers to show, and the page made of them, at most once a second.

Components keep plain counters; an emitter reads them when somebody scrapes. Nothing here runs otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition

Emitter: TypeAlias = "Callable[[Exposition], None]"

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of the page: Prometheus' text format."""

RENDER_INTERVAL_MS_MIN: Final = 1000
"""A page is at most this old, and never made more often: at 1,000 partitions it takes some milliseconds of the
event loop, and anybody who reaches the port may ask."""


class Telemetry:
    """The emitters of a process."""

    __slots__ = ("_emitters", "_now_ms", "_page", "_rendered_at_ms", "renderings")

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """`now_ms` is the monotonic clock."""
        self._now_ms = now_ms
        self._emitters: list[Emitter] = []
        self._page = b""
        self._rendered_at_ms: int | None = None
        self.renderings = 0

    def add(self, emitter: Emitter) -> None:
        """Let `emitter` take part in every scrape."""
        self._emitters.append(emitter)

    def page(self) -> bytes:
        """The metrics in Prometheus' text format; the last page again if that is younger than a second."""
        now = self._now_ms()
        if self._rendered_at_ms is None or now - self._rendered_at_ms >= RENDER_INTERVAL_MS_MIN:
            from moldau_broker.telemetry.exposition import Exposition  # the table is not needed before

            exposition = Exposition()
            for emitter in self._emitters:
                emitter(exposition)
            self._page = exposition.text()
            self._rendered_at_ms = now
            self.renderings += 1
        return self._page
