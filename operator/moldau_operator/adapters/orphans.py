"""No broker outlives its supervisor unnoticed: a death wish for children, and a search for survivors.

A child asks the kernel (PR_SET_PDEATHSIG) for SIGTERM when the thread that started it ends, so that it stops
in good order even if the supervisor was killed with SIGKILL. Should a child survive that (it was stopped
with SIGSTOP, or hangs), the next supervisor finds it by the note left in its folder and ends it. A note
names the process by pid *and* start time: a pid alone may belong to somebody else by then.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_STARTTIME_FIELD: Final = 22
"""`starttime` in /proc/PID/stat, counted from 1 (proc_pid_stat(5))."""

_POLL_S: Final = 0.05


def death_wish() -> Callable[[], None] | None:
    """What a child runs between fork and exec; None where the kernel has no such thing.

    Everything it needs is looked up here, before the fork.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_for_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return ask_for_signal


@dataclass(frozen=True, slots=True)
class ProcessNote:
    """A running child, named so that it can be recognised later."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessNote | None:
        """The process with this pid, if there is one."""
        started = _start_time(pid)
        return cls(pid, started) if started is not None else None

    def is_alive(self) -> bool:
        """Whether exactly this process still runs."""
        return _start_time(self.pid) == self.started


def write_note(path: Path, note: ProcessNote | None) -> None:
    """Leave a note, or (None) remove it. A full disk costs the note, not the process."""
    with suppress(OSError):
        if note is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps({"pid": note.pid, "started": note.started}), encoding="utf-8")


def read_note(path: Path) -> ProcessNote | None:
    """The note left there, if there is a readable one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return ProcessNote(int(data["pid"]), str(data["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def end(note: ProcessNote, stop_s: float) -> bool:
    """End a process that is not our child: SIGTERM, then SIGKILL after `stop_s`. Gives whether it was alive."""
    if not note.is_alive():
        return False
    _signal(note, signal.SIGTERM)
    _signal(note, signal.SIGCONT)  # one stopped by SIGSTOP would never see the other
    try:
        async with asyncio.timeout(stop_s):
            while note.is_alive():  # noqa: ASYNC110 - not our child, so nothing can be awaited
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        _signal(note, signal.SIGKILL)
        while note.is_alive():  # noqa: ASYNC110 - as above; SIGKILL cannot be refused
            await asyncio.sleep(_POLL_S)
    return True


def _signal(note: ProcessNote, number: int) -> None:
    if note.is_alive():
        try:
            os.kill(note.pid, number)
        except ProcessLookupError:
            return


def _start_time(pid: int) -> str | None:
    """When the process started, in a form that only equals itself; None if there is none (or a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return f"{_boot_id()}:{fields[_STARTTIME_FIELD - 3]}"


def _boot_id() -> str:
    """Which boot of the machine this is: start times count from it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
