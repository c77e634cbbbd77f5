"""The process' own numbers, from /proc. Where there is no /proc, only what `resource` knows."""

from __future__ import annotations

import gc
import os
import resource
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition


_PROC: Final = Path("/proc/self")
_IMPORTED: Final = time.time()
_VIRTUAL, _RESIDENT = 0, 1  # columns of statm
_THREADS, _START_TICKS = 17, 19  # columns of stat after the command's closing bracket


def emit_process(exposition: Exposition) -> None:
    """CPU, memory, files and threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    exposition.add("process_cpu_seconds_total", usage.ru_utime + usage.ru_stime)
    exposition.add("process_start_time_seconds", _started())
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    exposition.add("process_max_fds", files_max)
    for generation, stats in enumerate(gc.get_stats()):
        exposition.add("python_gc_collections_total", stats["collections"], str(generation))
    try:
        pages = (_PROC / "statm").read_text().split()
        open_files = _open_files()
        threads = int(_stat()[_THREADS])
    except (OSError, ValueError, IndexError):
        return
    page_bytes = resource.getpagesize()
    exposition.add("process_virtual_memory_bytes", int(pages[_VIRTUAL]) * page_bytes)
    exposition.add("process_resident_memory_bytes", int(pages[_RESIDENT]) * page_bytes)
    exposition.add("process_open_fds", open_files)
    exposition.add("process_threads", threads)


def _open_files() -> int:
    """Linux 6.2 and later say it in a word; to list thousands of files takes milliseconds."""
    folder = _PROC / "fd"
    return folder.stat().st_size or sum(1 for _ in folder.iterdir()) - 1  # the listing itself is one of them


def _stat() -> list[str]:
    return (_PROC / "stat").read_text().rpartition(")")[2].split()


@cache
def _started() -> float:
    """When the process began, in seconds since 1970; when this module was loaded, where /proc cannot say."""
    try:
        ticks = int(_stat()[_START_TICKS])
        booted = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration, ValueError, IndexError):
        return _IMPORTED
    return booted + ticks / os.sysconf("SC_CLK_TCK")
