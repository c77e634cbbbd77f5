"""The process' own numbers, from /proc. Where there is no /proc, only what `resource` knows."""

from __future__ import annotations

import gc
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Exposition


_PROC: Final = Path("/proc/self")
_IMPORTED: Final = time.time()
_VIRTUAL, _RESIDENT = 0, 1  # columns of statm
_START_TICKS: Final = 19  # column of stat after the command's closing bracket


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
        open_files = _entries(_PROC / "fd")
        threads = _entries(_PROC / "task")
    except OSError:
        return
    page_bytes = resource.getpagesize()
    exposition.add("process_virtual_memory_bytes", int(pages[_VIRTUAL]) * page_bytes)
    exposition.add("process_resident_memory_bytes", int(pages[_RESIDENT]) * page_bytes)
    exposition.add("process_open_fds", open_files)
    exposition.add("process_threads", threads)


def _entries(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _started() -> float:
    """When the process began, in seconds since 1970; when this module was loaded, where /proc cannot say."""
    try:
        ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[_START_TICKS])
        booted = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration, ValueError, IndexError):
        return _IMPORTED
    return booted + ticks / os.sysconf("SC_CLK_TCK")
