"""Stops one thread of another process, as a call that hangs would: the rest of the process goes on."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_ALL = 0x40000000  # __WALL: also threads that are no children of ours
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x}, {thread})")


@contextmanager
def stalled(pid: int) -> Iterator[None]:
    """The main thread of `pid`, where the event loop is, stands still meanwhile.

    It is stopped while it waits for events: a thread that holds the interpreter's lock would hold all others too.
    """
    _ptrace(_SEIZE, pid)
    try:
        deadline = time.monotonic() + 30
        while True:
            _ptrace(_INTERRUPT, pid)
            os.waitpid(pid, _ALL)
            number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
            if number in {"232", "281", "441", "22"}:  # epoll_wait, epoll_pwait, epoll_pwait2
                break
            assert time.monotonic() < deadline, "it never waits for events"
            _ptrace(7, pid)  # PTRACE_CONT
            time.sleep(0.003)
        yield
    finally:
        _ptrace(_DETACH, pid)
