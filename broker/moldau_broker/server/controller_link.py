"""One connection to whoever is the active controller, opened when there is something to send. Belongs to the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import BrokerUnreachable
from moldau_broker.raft.messages import Leader
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.schema import Struct


class ControllerLink:
    """Requests to the leader of the quorum, in order, over one connection."""

    def __init__(self, leader: Callable[[], Leader | None], config: ClientConfig) -> None:
        self._leader = leader
        self._config = config
        self._connection: Connection | None = None
        self._address: tuple[str, int] | None = None
        self._opening: asyncio.Task[Connection] | None = None

    async def request(self, key: ApiKey, request: Struct, version: int | None, timeout_ms: int) -> Any:
        """The leader's answer.

        Raises:
            BrokerUnreachable: there is no leader, or it cannot be reached; nothing was sent.
            ClientError: the connection ended, or no answer came in time; the outcome is unknown.
        """
        connection = await self._connected()
        return await connection.request(
            request, API_SCHEMAS[key].response, timeout_ms=timeout_ms, version=version
        )

    def leader_changed(self) -> None:
        """Give up what was asked of a leader that another one has replaced: it may be hung, and never answer."""
        address = self._leader_address()
        if address is not None and self._address not in (None, address):
            self.close()

    def _leader_address(self) -> tuple[str, int] | None:
        leader = self._leader()
        if leader is None or not leader.endpoints:
            return None
        return leader.endpoints[0].host, leader.endpoints[0].port

    async def _connected(self) -> Connection:
        address = self._leader_address()
        if address is None:
            raise BrokerUnreachable("the controller", "no leader of the quorum is known")
        if self._connection is not None and self._address == address and not self._connection.closed:
            return self._connection
        if self._address != address:
            self.close()
            self._address = address
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(Connection.open(*address, self._config))
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        if task is not self._opening:  # for an address that is not the leader's any more
            if not task.cancelled() and task.exception() is None:
                task.result().close()
            return
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    def close(self) -> None:
        """End the connection; the next request opens another."""
        self._opening = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
