"""Cold reads off the event loop: helper threads bring byte ranges into the page cache.

A warmed range is read once more on the loop's thread, where its answer is made: copying twice is the price of
keeping all decisions on one thread, and only readers far behind the tail pay it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from moldau_broker.storage.errors import OffsetOutOfRange, StorageError

if TYPE_CHECKING:
    from moldau_broker.storage.log import Log


class Readers:
    """The helper threads and their queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: int) -> None:
        self._loop = loop
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.cold_reads = 0

    def warm(self, read: Callable[[], object], done: Callable[[], None]) -> None:
        """Run a (blocking) read, which must not raise, on a helper thread, then call `done` on the loop's."""
        self.cold_reads += 1
        self.run(read, done)

    def run(self, work: Callable[[], object], done: Callable[[], None]) -> None:
        """Run `work`, which must not raise, on a helper thread, then call `done` on the loop's."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="cold-read")
        self._loop.run_in_executor(self._pool, work).add_done_callback(lambda _: done())

    def close(self) -> None:
        """End the threads; reads under way finish."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


class ReadAhead(NamedTuple):
    """Part of what an answer may hold: up to `bytes_max` of a log from `offset`, below offset `end`."""

    log: Log
    offset: int
    bytes_max: int
    end: int


def read_ahead(reads: Iterable[ReadAhead], bytes_max: int) -> None:
    """Bring as much of them, in order, into the page cache as one answer of `bytes_max` can hold. Blocks.

    What stands in the way is left for the read that follows to meet.
    """
    left = bytes_max
    for one in reads:
        with suppress(StorageError, OffsetOutOfRange):
            left -= len(one.log.read(one.offset, min(left, one.bytes_max), up_to=one.end))
        if left <= 0:
            return
