"""Cold reads off the event loop: helper threads bring byte ranges into the page cache.

A warmed range is read once more on the loop's thread, where its answer is made: copying twice is the price of
keeping all decisions on one thread, and only readers far behind the tail pay it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from moldau_broker.storage.errors import StorageError


class Readers:
    """The helper threads and their queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: int) -> None:
        self._loop = loop
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.cold_reads = 0

    def warm(self, reads: Sequence[Callable[[], object]], done: Callable[[], None]) -> None:
        """Run the (blocking) reads on a helper thread, then call `done` on the loop's.

        Errors are left for the read that follows to meet.
        """
        self.cold_reads += 1
        self.run(partial(_run_all, list(reads)), done)

    def run(self, work: Callable[[], object], done: Callable[[], None]) -> None:
        """Run `work`, which must not raise, on a helper thread, then call `done` on the loop's."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="cold-read")
        self._loop.run_in_executor(self._pool, work).add_done_callback(lambda _: done())

    def close(self) -> None:
        """End the threads; reads under way finish."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def _run_all(reads: Sequence[Callable[[], object]]) -> None:
    for read in reads:
        with suppress(StorageError):
            read()
