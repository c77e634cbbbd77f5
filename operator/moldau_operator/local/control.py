"""How other processes reach an instance: a unix socket in its folder, one JSON request, JSON lines back.

Requests: `{"do": "look"}`, `{"do": "apply", "text": ..., "source": ..., "first_port": ...}`, `{"do": "stop"}`.
Answers: any number of `{"event": ..., "warning": ...}`, then one line with `"done"`. The folder is readable by
its owner alone, and so is the socket; nothing else protects it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from moldau_broker.base.clock import SystemClock
from moldau_operator.errors import InstanceError, InstanceSilent
from moldau_operator.local.instance import Applied, LocalInstance
from moldau_operator.local.snapshot import EventLine, Snapshot
from moldau_operator.local.source import read_local
from moldau_operator.local.state import SOCKET_FILE, Instance
from moldau_operator.resources.located import ResourcesInvalid

LINE_BYTES_MAX: Final = 32 * 1024 * 1024
"""A request carries a YAML text of up to 4 MiB, which JSON may write as six bytes a character."""

_PATH_BYTES_MAX: Final = 100
"""`sun_path` holds 108 bytes (unix(7)); a longer folder is reached through /proc/self/fd."""

_LISTEN_MS: Final = 2_000
"""From holding the instance to listening are milliseconds; more on a machine that is busy."""

_POLL_S: Final = 0.02

_ANSWER_S: Final = 10.0
"""For a first answer: the keeper's loop is never busy for long, so a longer silence means that it hangs."""


@contextmanager
def socket_path(folder: Path) -> Iterator[str]:
    """A path by which the folder's socket can be bound or reached, however long the folder's own path is."""
    path = folder / SOCKET_FILE
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise InstanceError(f"the path {folder} is too long for a socket; choose a shorter --data-dir")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_FILE}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Answers requests about one instance until closed."""

    def __init__(self, instance: LocalInstance) -> None:
        self._instance = instance
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. Whoever calls holds the instance, so a socket that is there is a dead one's."""
        folder = self._instance.instance.folder
        (folder / SOCKET_FILE).unlink(missing_ok=True)
        with socket_path(folder) as path:
            self._server = await asyncio.start_unix_server(self._connected, path, limit=LINE_BYTES_MAX)
        (folder / SOCKET_FILE).chmod(0o600)

    async def close(self) -> None:
        """Stop listening, and let answers under way end."""
        if self._server is not None:
            self._server.close()
            (self._instance.instance.folder / SOCKET_FILE).unlink(missing_ok=True)
        if self._busy:
            await asyncio.wait(self._busy, timeout=1)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            request = json.loads(await reader.readline())
            await self._answer(request, writer)
        except (OSError, ValueError, KeyError, TypeError, asyncio.IncompleteReadError):
            pass  # a caller that went away, or speaks something else: nobody is left to tell
        finally:
            self._busy.discard(task)
            writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        def send(data: dict[str, Any]) -> None:
            writer.write(json.dumps(data).encode() + b"\n")

        match request["do"]:
            case "look":
                send({"done": (await self._instance.look()).dump()})
            case "apply":
                await self._apply(request, send)
            case "stop":
                self._instance.request_stop()
                send({"done": True})
        await writer.drain()

    async def _apply(self, request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        here = self._instance.instance
        try:
            cluster, bundle = read_local(str(request["text"]), str(request["source"]))
        except ResourcesInvalid as error:
            send({"done": {"failed": str(error)}})
            return
        if cluster.metadata.name != here.cluster:
            send(
                {
                    "done": {
                        "failed": f"{here.folder} holds cluster {here.cluster}, not {cluster.metadata.name}"
                    }
                }
            )
            return
        if request.get("first_port") not in {None, here.first_port}:
            words = f"it runs on ports from {here.first_port}; run `moldau down` first to change --port"
            send({"done": {"failed": words}})
            return

        def tell(event: EventLine) -> None:
            send({"event": event.text, "warning": event.warning})

        forget = self._instance.listen(tell)
        try:
            applied = await self._instance.apply(bundle)
        finally:
            forget()
        done = {"actions": applied.actions, "stalled": applied.stalled, "failed": applied.failed}
        send({"done": done})


async def look(instance: Instance) -> Snapshot:
    """What `LocalInstance.look` gives, asked from another process.

    Raises:
        InstanceSilent: nothing answers.
    """
    return Snapshot.load(await _call(instance, {"do": "look"}))


async def apply(
    instance: Instance,
    text: str,
    source: str,
    first_port: int | None,
    tell: Callable[[EventLine], None],
) -> Applied:
    """What `LocalInstance.apply` gives, asked from another process; events go to `tell` meanwhile.

    Raises:
        InstanceSilent: nothing answers, or it went away.
    """
    request = {"do": "apply", "text": text, "source": source, "first_port": first_port}
    data = await _call(instance, request, tell, None)
    return Applied(
        actions=tuple(data.get("actions", ())), stalled=tuple(data.get("stalled", ())), failed=data["failed"]
    )


async def stop(instance: Instance) -> None:
    """Ask the instance to stop; returns before it has.

    Raises:
        InstanceSilent: nothing answers.
    """
    await _call(instance, {"do": "stop"})


async def is_listening(instance: Instance) -> bool:
    """Whether somebody takes requests; a socket left behind by a killed process is not somebody."""
    try:
        (await _connect(instance)).close()
    except OSError:
        return False
    return True


async def _call(
    instance: Instance,
    request: dict[str, Any],
    tell: Callable[[EventLine], None] = lambda _event: None,
    timeout_s: float | None = _ANSWER_S,
) -> Any:
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(instance, request, tell)
    except (OSError, TimeoutError, ValueError) as error:
        why = f"does not answer ({type(error).__name__}); try again, or end it with `moldau down`"
        raise InstanceSilent(f"the process that runs {instance.cluster} {why}") from error


async def _connect_patiently(instance: Instance) -> socket.socket:
    """A connection, also to a keeper that holds the instance but does not listen yet."""
    deadline = SystemClock().monotonic_ms() + _LISTEN_MS
    while True:
        try:
            return await _connect(instance)
        except OSError:
            if not instance.is_running() or SystemClock().monotonic_ms() > deadline:
                raise
        await asyncio.sleep(_POLL_S)


async def _connect(instance: Instance) -> socket.socket:
    with socket_path(instance.folder) as path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


async def _exchange(instance: Instance, request: dict[str, Any], tell: Callable[[EventLine], None]) -> Any:
    connection = await _connect_patiently(instance)
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LINE_BYTES_MAX)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            data = json.loads(line)
            if "done" in data:
                return data["done"]
            tell(EventLine(at_ms=0, text=str(data["event"]), warning=bool(data["warning"])))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    raise ConnectionResetError("the answer broke off")
