"""At most one connection per address, opened on demand. Knows nothing of what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import BrokerUnreachable

Address = tuple[str, int]

DEFAULT_PORT: Final = 9092


def parse_bootstrap(text: str | Sequence[str]) -> list[Address]:
    """`host:port[,host:port...]` as addresses; the port defaults to 9092, IPv6 hosts stand in brackets.

    Raises:
        ValueError: no address in it, or one that cannot be read.
    """
    parts = text.split(",") if isinstance(text, str) else list(text)
    addresses = [_parse_address(part.strip()) for part in parts if part.strip()]
    if not addresses:
        raise ValueError("no bootstrap server is named; write host:port")
    return addresses


def _parse_address(text: str) -> Address:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        port = port.removeprefix(":")
        legal = bool(bracket)
    else:
        host, _, port = text.partition(":")
        legal = ":" not in port
    if not host or not legal or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port) if port else DEFAULT_PORT


class ConnectionPool:
    """The open connections of one cluster."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._connections: dict[Address, Connection] = {}
        self._opening: dict[Address, asyncio.Lock] = {}

    async def open(self, address: Address) -> Connection:
        """The open connection to `address`, made if there is none; callers at the same time share one.

        Raises:
            BrokerUnreachable: nothing that speaks Kafka answers there.
        """
        async with self._opening.setdefault(address, asyncio.Lock()):
            connection = self._connections.get(address)
            if connection is None or connection.closed:
                connection = await Connection.open(*address, self._config)
                self._connections[address] = connection
            return connection

    async def any_of(self, addresses: Iterable[Address]) -> Connection:
        """Some open connection, else to the first of `addresses` that answers.

        Raises:
            BrokerUnreachable: none of them does.
        """
        for connection in self._connections.values():
            if not connection.closed:
                return connection
        failed: list[BrokerUnreachable] = []
        for address in dict.fromkeys(addresses):
            try:
                return await self.open(address)
            except BrokerUnreachable as error:
                failed.append(error)
        if len(failed) == 1:
            raise failed[0]
        raise BrokerUnreachable(", ".join(error.address for error in failed), failed[-1].reason)

    async def close(self) -> None:
        """Close every connection and give the loop a turn to carry that out."""
        connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.sleep(0)
