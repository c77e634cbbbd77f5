"""Allocator settings for a process that moves blocks of a megabyte (glibc only; elsewhere nothing happens).

glibc returns such blocks to the kernel at every free, and faulting them in again costs three to four times the
useful work. Keeping up to 32 MiB at the top of the heap and serving blocks below 32 MiB from it ends that; one
arena keeps helper threads from each holding a heap of their own.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 32 * 1024 * 1024


def tune_malloc() -> bool:
    """Raise glibc's thresholds; False where the C library has no `mallopt`."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            and mallopt(_M_ARENA_MAX, 1)
        )
    return False
