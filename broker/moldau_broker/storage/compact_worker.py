"""The cleaning process: reads a job on standard input, rewrites segments, says so on standard output.

Cleaning costs a microsecond or two of Python for every record, which on the broker's own interpreter would be
taken from its clients. So it runs here, at low priority, for one round, and its memory goes with it. It never
touches a live file: see `compact_rewrite`. Started by `compact_cleaner`, never by hand.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Final

from moldau_broker.base.memory import peak_memory_kib
from moldau_broker.storage.compact_job import CleanJob, Failed, Message, decode, encode
from moldau_broker.storage.compact_rewrite import Round
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.errors import StorageError

NICENESS: Final = 19
"""Below everything that serves clients; a saturated machine still gives it one to two per cent of a core, which
cleans a gigabyte in a quarter of an hour (docs/adr/0004-compaction.md)."""

_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9


class Orphaned(Exception):
    """The broker is gone, or has closed the pipe to stop us."""


class Throttle:
    """Keeps reading and writing below a rate, and notices when the owner is gone."""

    def __init__(self, bytes_per_second: float) -> None:
        """`bytes_per_second` 0 or infinite: no bound."""
        self._rate = bytes_per_second
        self._due = time.monotonic()
        self._poll = select.poll()
        self._poll.register(sys.stdin.fileno(), 0)  # hang-ups and errors are reported unasked

    def __call__(self, count: int) -> None:
        """Account for `count` bytes; waits while they come too fast.

        Raises:
            Orphaned: the other end of standard input was closed.
        """
        wait = 0.0
        if 0 < self._rate < float("inf"):
            now = time.monotonic()
            self._due = max(self._due, now) + count / self._rate
            wait = self._due - now
        if self._poll.poll(wait * 1_000):  # hang-up is all it listens for
            raise Orphaned


def run(disk: OsDisk, job: CleanJob) -> None:
    """One round, group by group as the owner allows."""
    began = time.monotonic()
    cleaning = Round(disk, job, Throttle(job.io_bytes_per_second))
    cleaning.index()
    for ready in cleaning.groups():
        _say(ready)
        if not sys.stdin.buffer.readline():
            raise Orphaned
    cleaning.done.seconds = time.monotonic() - began
    cleaning.done.memory_kib = peak_memory_kib()
    _say(cleaning.done)


def main() -> int:
    """Entry point; the argument is the data directory."""
    _die_with_parent()
    os.nice(NICENESS)
    job = decode(sys.stdin.buffer.readline())
    assert isinstance(job, CleanJob)
    try:
        run(OsDisk(sys.argv[1], create=False), job)
    except (Orphaned, BrokenPipeError):
        return 1
    except StorageError as error:
        _say(Failed(type(error).__name__, str(error)))
    return 0


def _say(message: Message) -> None:
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()


def _die_with_parent() -> None:
    """Ask the kernel to kill us when the broker is killed: no half-dead cleaner writes beside a new broker."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    except (ImportError, OSError, AttributeError):
        return  # `Throttle` notices too, one read later
