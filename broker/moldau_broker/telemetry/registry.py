"""Who has numbers to show, and the page made of them, at most once a second.

Components keep plain counters; an emitter reads them when somebody scrapes. Nothing here runs otherwise. A page is made
in slices on the event loop, between which everything else goes on; whoever asks meanwhile gets the same page. An
emitter with much to show is a generator: it yields where it may be interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.metric import Metric

Emitter: TypeAlias = "Callable[[Exposition], Iterator[None] | None]"

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of the page: Prometheus' text format."""

RENDER_INTERVAL_MS_MIN: Final = 1000
"""From the end of one rendering to the beginning of the next: anybody who reaches the port may ask."""

_WRITER: Final = "moldau_broker.telemetry.exposition"

_SLICE_SECONDS: Final = 0.002
"""Then the event loop has its turn; the last step of a slice may take a millisecond or two longer."""

_SMALL_BYTES: Final = 128 * 1024
"""Compressed at once; more goes to a helper thread, as zlib lets others run meanwhile."""


class RenderedPage:
    """The metrics of one moment, in pieces; compressed once, whoever asks for it."""

    __slots__ = ("_compressing", "pieces")

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self.pieces = pieces
        self._compressing: asyncio.Task[tuple[bytes, ...]] | None = None

    async def gzipped(self) -> tuple[bytes, ...]:
        """The same as gzip."""
        if self._compressing is None:
            self._compressing = asyncio.get_running_loop().create_task(self._compress())
        return await asyncio.shield(self._compressing)

    async def _compress(self) -> tuple[bytes, ...]:
        if sum(map(len, self.pieces)) <= _SMALL_BYTES:
            return _gzip(self.pieces)
        return await asyncio.to_thread(_gzip, self.pieces)


def _gzip(pieces: Iterable[bytes]) -> tuple[bytes, ...]:
    import zlib

    compressor = zlib.compressobj(level=1, wbits=31)
    found = [compressor.compress(piece) for piece in pieces]
    return (*filter(None, found), compressor.flush())


class Telemetry:
    """The emitters of a process.

    Attributes:
        more: gives further emitters; asked once, by the first scrape that finds it set. What it has to import, it
            imports on another thread.
        renderings: pages made so far.
    """

    __slots__ = (
        "_emitters",
        "_metrics",
        "_now_ms",
        "_page",
        "_rendered_at_ms",
        "_rendering",
        "more",
        "renderings",
    )

    def __init__(self, now_ms: Callable[[], int], metrics: Mapping[str, Metric] | None = None) -> None:
        """`now_ms` is the monotonic clock; `metrics` the table of another program than the broker."""
        self._metrics = metrics
        self._now_ms = now_ms
        self.more: Callable[[], Awaitable[Iterable[Emitter]]] | None = None
        self._emitters: list[Emitter] = []
        self._page = RenderedPage(())
        self._rendered_at_ms: int | None = None
        self._rendering: asyncio.Task[RenderedPage] | None = None
        self.renderings = 0

    def add(self, emitter: Emitter) -> None:
        """Let `emitter` take part in every scrape."""
        self._emitters.append(emitter)

    async def page(self) -> RenderedPage:
        """The metrics in Prometheus' text format; the last page again if that is younger than a second."""
        if self._rendering is None:
            now = self._now_ms()
            if self._rendered_at_ms is not None and now - self._rendered_at_ms < RENDER_INTERVAL_MS_MIN:
                return self._page
            self._rendering = asyncio.get_running_loop().create_task(self._render())
        return await asyncio.shield(self._rendering)

    async def _render(self) -> RenderedPage:
        try:
            await asyncio.to_thread(
                import_module, _WRITER
            )  # the table is not needed before; the loop need not wait
            from moldau_broker.telemetry.exposition import Exposition

            if self.more is not None:
                more, self.more = self.more, None
                self._emitters += await more()
            exposition = Exposition() if self._metrics is None else Exposition(self._metrics)
            ends = perf_counter() + _SLICE_SECONDS
            for _ in self._steps(exposition):
                if perf_counter() >= ends:
                    await asyncio.sleep(0)
                    ends = perf_counter() + _SLICE_SECONDS
            pieces = []
            for piece in exposition.pieces():
                pieces.append(piece)
                if perf_counter() >= ends:
                    await asyncio.sleep(0)
                    ends = perf_counter() + _SLICE_SECONDS
            self._page = RenderedPage(tuple(pieces))
            self.renderings += 1
            return self._page
        finally:
            self._rendered_at_ms = self._now_ms()
            self._rendering = None

    def _steps(self, exposition: Exposition) -> Iterator[None]:
        for emitter in self._emitters:
            steps = emitter(exposition)
            if steps is not None:
                yield from steps
            yield
