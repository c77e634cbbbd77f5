"""How much memory this process has ever held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory_kib() -> int:
    """The most resident memory of this program, in KiB.

    Linux's VmHWM (proc(5)) begins anew with each program; `ru_maxrss` does not: a child that was started by a
    large process answers with that process' peak (getrusage(2), BUGS). It is used only where there is no /proc.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])
