"""Cold reads off the event loop: byte ranges are brought into the page cache by a helper thread.

The log itself is only ever read on the loop's thread; the helper touches nothing but file descriptors of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class ColdRange(Protocol):
    """Bytes of a file that may not be in the page cache; owns a descriptor."""

    def warm(self) -> None:
        """Read them (blocking), then close the descriptor."""
        ...


class Readers:
    """The helper threads and their queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: int) -> None:
        self._loop = loop
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.cold_reads = 0

    def warm(self, ranges: Sequence[ColdRange], done: Callable[[], None]) -> None:
        """Warm every range, then call `done` on the loop's thread; errors are left for the real read to meet."""
        self.cold_reads += 1
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="cold-read")
        future = self._loop.run_in_executor(self._pool, _warm_all, list(ranges))
        future.add_done_callback(lambda _: done())

    def close(self) -> None:
        """End the threads; reads under way finish."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def _warm_all(ranges: Sequence[ColdRange]) -> None:
    for cold in ranges:
        cold.warm()
