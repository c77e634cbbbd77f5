"""Requests to peers over TCP, for the driver: connects when there is something to send, and says at once what fails.

A long poll must not hold up a vote, nor a membership change the fetch that its commit waits for: each peer gets
one connection for data, one for elections and one for changes of the voters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import BrokerUnreachable, ClientError, RequestTimedOut
from moldau_broker.raft.messages import Failure, Peer
from moldau_broker.raft.timing import FETCH_BYTES_MAX, RaftTiming
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

_LANES: Final = {
    ApiKey.FETCH: "data",
    ApiKey.FETCH_SNAPSHOT: "data",
    ApiKey.VOTE: "election",
    ApiKey.BEGIN_QUORUM_EPOCH: "election",
    ApiKey.END_QUORUM_EPOCH: "election",
}
_FRAME_ROOM: Final = 1024 * 1024

_Address = tuple[str, int, str]
"""Host, port, lane."""


class AsyncTransport:
    """The `raft.driver.Transport` of a running node. Belongs to the loop's thread.

    Attributes:
        requests, responses: sent to peers, and received from them, since start.
    """

    def __init__(self, timing: RaftTiming, client_id: str) -> None:
        """`client_id`: named in the peers' logs. The driver's core bounds what is under way to each peer."""
        self._config = ClientConfig(
            client_id=client_id,
            connect_timeout_ms=timing.request_ms,
            request_timeout_ms=timing.request_ms,
            frame_bytes_max=2 * FETCH_BYTES_MAX + _FRAME_ROOM,
        )
        self._connections: dict[_Address, Connection] = {}
        self._connecting: dict[_Address, asyncio.Task[Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._ended = (0, 0)  # bytes in and out of connections that are no more
        self.requests = self.responses = 0

    def traffic(self) -> tuple[int, int]:
        """Bytes received from peers and sent to them since start."""
        received, sent = self._ended
        for connection in self._connections.values():
            received += connection.bytes_in
            sent += connection.bytes_out
        return received, sent

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        """Send soon; `on_answer` runs later, once, with the response or why there is none."""
        if self._closed:
            return
        task = asyncio.get_running_loop().create_task(self._exchange(to, key, request, on_answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all connections; nobody is called any more."""
        self._closed = True
        tasks: list[asyncio.Task[None] | asyncio.Task[Connection]] = [
            *self._tasks,
            *self._connecting.values(),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    async def _exchange(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        answer: Struct | Failure
        try:
            connection = await self._connection((to.host, to.port, _LANES.get(key, "membership")))
            self.requests += 1
            answer = await connection.request(request, API_SCHEMAS[key].response)
            self.responses += 1
        except BrokerUnreachable as error:
            answer = Failure.REFUSED
            logger.debug("raft.peer_unreachable", extra={"peer": to.node_id, "reason": str(error)})
        except RequestTimedOut:
            answer = Failure.TIMED_OUT
        except ClientError as error:
            answer = Failure.LOST
            logger.debug("raft.peer_lost", extra={"peer": to.node_id, "reason": str(error)})
        if not self._closed:
            on_answer(answer)

    async def _connection(self, address: _Address) -> Connection:
        connection = self._connections.get(address)
        if connection is not None and not connection.closed:
            return connection
        task = self._connecting.get(address)
        if task is None:
            host, port, lane = address
            config = replace(self._config, client_id=f"{self._config.client_id}-{lane}")
            task = asyncio.get_running_loop().create_task(Connection.open(host, port, config))
            self._connecting[address] = task
            task.add_done_callback(lambda done: self._connected(address, done))
        return await asyncio.shield(task)

    def _connected(self, address: _Address, task: asyncio.Task[Connection]) -> None:
        self._connecting.pop(address, None)
        if task.cancelled() or task.exception() is not None:
            return
        if self._closed:
            task.result().close()
        else:
            replaced = self._connections.get(address)
            if replaced is not None:
                self._ended = (self._ended[0] + replaced.bytes_in, self._ended[1] + replaced.bytes_out)
            self._connections[address] = task.result()


class Ticker:
    """Calls `tick` in time. Belongs to the loop's thread.

    `tick` may raise; `on_error` is told, and the next attempt comes a little later.
    """

    def __init__(
        self,
        tick: Callable[[], None],
        next_deadline_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._tick = tick
        self._next_deadline_ms = next_deadline_ms
        self._monotonic_ms = monotonic_ms
        self._on_error = on_error
        self._timer: asyncio.TimerHandle | None = None
        self._due_ms = 0
        self._closed = False

    def arm(self) -> None:
        """The deadline may have changed: see to it that `tick` is called then. The driver's `on_progress`."""
        if self._closed:
            return
        due_ms = self._next_deadline_ms()
        if self._timer is not None:
            if due_ms >= self._due_ms:
                return  # it fires early, finds nothing to do and arms itself again
            self._timer.cancel()
        self._due_ms = due_ms
        wait_ms = min(max(due_ms - self._monotonic_ms(), _TICK_MS_MIN), _TICK_MS_MAX)
        self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._fire)

    def close(self) -> None:
        """Tick no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        try:
            self._tick()
        except Exception as error:  # noqa: BLE001 - a timer has no caller; whoever made it decides what this means
            self._on_error(error)
        with contextlib.suppress(RuntimeError):  # the loop is closing
            self.arm()


_TICK_MS_MIN: Final = 1
"""A deadline that has passed is met at the loop's next turns, not within this one."""
_TICK_MS_MAX: Final = 60_000
"""Timers of an event loop are exact for days only; an idle quorum looks around once a minute."""
