"""The process that looks after an instance: holds its folder, answers its socket, stops on a signal.

The same code in the foreground (`moldau up`) and in the background (`moldau up --detach`, as
`python -m moldau_operator.local FOLDER`).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from moldau_broker.base.clock import Clock, SystemClock
from moldau_operator.adapters.lifecycle import Patience
from moldau_operator.adapters.processes import BROKER_COMMAND, ProcessPlatform
from moldau_operator.local.control import ControlServer
from moldau_operator.local.instance import RESYNC_S, LocalInstance
from moldau_operator.local.memory import Memory
from moldau_operator.local.state import MEMORY_FILE, Instance, hold

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@asynccontextmanager
async def keep(
    instance: Instance,
    *,
    command: Sequence[str] = BROKER_COMMAND,
    patience: Patience | None = None,
    resync_s: float = RESYNC_S,
    clock: Clock | None = None,
) -> AsyncIterator[LocalInstance]:
    """Look after an instance inside this block; when the block ends, everything is stopped.

    The first stop signal stops in good order, a second one at once; `moldau down` stops too. Wait for the
    instance's `ended` inside.

    Raises:
        InstanceError: another process holds the instance, or its memory is damaged.
    """
    clock = clock or SystemClock()
    with hold(instance):

        def make_platform(on_change: Callable[[], None], on_notice: Callable[[str], None]) -> ProcessPlatform:
            return ProcessPlatform(
                instance.folder,
                instance.first_port,
                clock,
                on_change=on_change,
                on_notice=on_notice,
                command=command,
                patience=patience,
            )

        local = LocalInstance(
            instance, Memory(instance.folder / MEMORY_FILE, clock), clock, make_platform, resync_s=resync_s
        )
        control = ControlServer(local)
        await control.open()
        running = asyncio.create_task(local.run())
        try:
            with _stopped_by_signals(local):
                try:
                    yield local
                finally:
                    local.request_stop()
                    await running
        finally:
            await control.close()


@contextmanager
def _stopped_by_signals(instance: LocalInstance) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def signalled() -> None:
        if instance.is_stopping:
            instance.request_kill()
        else:
            instance.request_stop()

    with suppress(ValueError, RuntimeError):  # only the main thread may have signal handlers
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, signalled)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
