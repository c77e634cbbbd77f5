"""Starting, reaching and ending the keeper of an instance from another process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from moldau_broker.base.clock import SystemClock
from moldau_operator.adapters.orphans import ProcessNote, end, read_note, write_note
from moldau_operator.adapters.ports import HOST
from moldau_operator.adapters.supervision import last_words
from moldau_operator.errors import InstanceError
from moldau_operator.local import control
from moldau_operator.local.memory import Memory
from moldau_operator.local.overview import remembered
from moldau_operator.local.snapshot import NodeLine, Snapshot
from moldau_operator.local.state import LOG_FILE, MEMORY_FILE, NODES_FOLDER, Instance
from moldau_operator.seams.platform import NodeState

APPEAR_S: Final = 20.0
"""For the keeper to begin: an interpreter and its imports take 0.3 s, much longer on a machine that swaps."""

STOP_S: Final = 45.0
"""For a stop in good order: a node's own deadline is 30 s."""

KILL_S: Final = 5.0
_POLL_S: Final = 0.02
_LOG_BYTES_MAX: Final = 4 * 1024 * 1024


async def start_keeper(instance: Instance) -> None:
    """Start the keeper in the background; returns when it can be asked.

    It inherits nothing: no pipe, no terminal, no folder.

    Raises:
        InstanceError: it ended at once.
    """
    log = instance.folder / LOG_FILE
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES_MAX:
            log.replace(log.with_name(log.name + ".1"))
    with log.open("ab") as output:
        start = output.tell()
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module; returns at once
            [sys.executable, "-P", "-m", "moldau_operator.local", str(instance.folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    deadline = SystemClock().monotonic_ms() + int(APPEAR_S * 1000)
    while not await control.is_listening(instance):
        if process.poll() is not None and not instance.is_running():
            words = last_words(log, start) or f"exit status {process.returncode}"
            raise InstanceError(f"the background process ended: {words}; see {log}")
        if SystemClock().monotonic_ms() > deadline:
            process.kill()
            raise InstanceError(f"the background process did not begin within {APPEAR_S:.0f} s; see {log}")
        await asyncio.sleep(_POLL_S)
    process.returncode = 0  # it is meant to outlive us; without this its finalizer would complain


async def look(instance: Instance) -> Snapshot:
    """The instance as it is, whether it runs or not.

    Raises:
        InstanceSilent: it runs, but does not answer.
    """
    return await control.look(instance) if instance.is_running() else stopped(instance)


def stopped(instance: Instance) -> Snapshot:
    """The instance while nobody looks after it: everything is down, and what is remembered is shown."""
    overview = remembered(Memory(instance.folder / MEMORY_FILE, SystemClock()))
    return Snapshot(
        cluster=instance.cluster,
        state="stopped",
        message="start it with `moldau up -f FILE`",
        folder=str(instance.folder),
        source="",
        started_ms=0,
        bootstrap=instance.bootstrap(),
        nodes=tuple(
            NodeLine(
                id=node_id,
                pid=None,
                kafka=f"{HOST}:{ports.kafka}",
                http=f"{HOST}:{ports.http}",
                state=NodeState.DOWN.value,
            )
            for node_id, ports in instance.nodes().items()
        ),
        topics=overview.topics,
        groups=overview.groups,
    )


async def bring_down(instance: Instance, say: Callable[[str], None]) -> bool:
    """Stop everything of an instance, by force if it must be; gives whether anything ran.

    Args:
        say: told what takes longer than it should.
    """
    ran = instance.is_running()
    keeper = ProcessNote.of(instance.keeper() or 0)
    if ran:
        try:
            await control.stop(instance)
        except InstanceError:
            _signal_keeper(instance, signal.SIGTERM)
        if not await _gone(instance, keeper, STOP_S):
            say(f"it did not stop within {STOP_S:.0f} s; killing it")
            _signal_keeper(instance, signal.SIGKILL)
            await _gone(instance, keeper, KILL_S)
    for path in instance.folder.glob(f"{NODES_FOLDER}/*/process.json"):
        note = read_note(path)
        if note is not None and await end(note, STOP_S):
            ran = True
        write_note(path, None)
    return ran


def _signal_keeper(instance: Instance, number: int) -> None:
    keeper = instance.keeper()
    if keeper is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(keeper, number)


async def _gone(instance: Instance, keeper: ProcessNote | None, patience_s: float) -> bool:
    """Wait until nobody holds the instance and the process that did has ended; gives whether that is so."""
    try:
        async with asyncio.timeout(patience_s):
            while instance.is_running() or (keeper is not None and keeper.is_alive()):  # noqa: ASYNC110 - not a child
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        return False
    return True
