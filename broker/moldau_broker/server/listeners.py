"""Sockets: who may connect, and the sweep that ends connections which take too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from moldau_broker.base.clock import Clock
from moldau_broker.base.limits import SWEEP_INTERVAL_MS
from moldau_broker.server.buffers import InFlightBytes, ReceiveBuffers
from moldau_broker.server.connection import Connection
from moldau_broker.server.exchange import RequestHandler
from moldau_broker.server.handlers.spec import ListenerKind
from moldau_broker.server.turn import Turn

logger = logging.getLogger(__name__)

_LOUD_REASONS = frozenset(
    {"frame_size", "bad_request", "handler_error", "short_header", "unsupported_version"}
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Kafka's connection settings: total, per address (with overrides), idle time, creation rate per second."""

    total: int
    per_host: int
    per_host_overrides: dict[str, int]
    idle_ms: int
    creation_rate: int


class Listeners:
    """Every open socket of the process; the `ConnectionOwner` of all connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        turn: Turn,
        limits: ConnectionLimits,
        frame_bytes_max: int,
        in_flight_bytes_max: int,
        backlog: int,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._turn = turn
        self.limits = limits
        self.frame_bytes_max = frame_bytes_max
        self.buffers = ReceiveBuffers()
        self.in_flight = InFlightBytes(in_flight_bytes_max)
        self.handler: RequestHandler
        self.on_closing: Callable[[str], None] = lambda reason: None
        self._backlog = backlog
        self._servers: dict[str, tuple[ListenerKind, asyncio.Server]] = {}
        self._connections: dict[int, Connection] = {}
        self._per_host: dict[str, int] = {}
        self._warned_hosts: set[tuple[str, str]] = set()
        self._next_id = 0
        self._tokens = float(limits.creation_rate)
        self._tokens_at_ms = clock.monotonic_ms()
        self.accepted = self.delayed = 0
        self._ended_traffic: dict[str, tuple[int, int]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    # --- opening and closing --------------------------------------------------------------------------

    async def bind(self, name: str, kind: ListenerKind, host: str, port: int) -> int:
        """Take a listener's address; gives the port (a free one where `port` is 0). `serve` opens it.

        Raises:
            OSError: the address is taken or not ours.
        """

        def connect() -> Connection:
            self._next_id += 1
            return Connection(self, self._next_id, name, kind)

        server = await self._loop.create_server(
            connect, host or None, port, backlog=self._backlog, start_serving=False
        )
        self._servers[name] = (kind, server)
        self._ended_traffic[name] = (0, 0)
        return int(server.sockets[0].getsockname()[1])

    async def serve(self, *kinds: ListenerKind) -> None:
        """Let peers connect to the bound listeners of these kinds; all without any. May be called again."""
        for kind, server in self._servers.values():
            if not kinds or kind in kinds:
                await server.start_serving()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_INTERVAL_MS / 1000, self._sweep)

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections live on."""
        for _, server in self._servers.values():
            server.close()

    def stop_reading(self) -> None:
        """Take no further request from anybody; what was taken is still answered."""
        for connection in self._connections.values():
            connection.stop_reading()

    async def drain(self, timeout_ms: int) -> None:
        """Wait until no connection waits for an answer, at most `timeout_ms`."""
        deadline = self._clock.monotonic_ms() + timeout_ms
        while self._clock.monotonic_ms() < deadline:
            if all(connection.drained() for connection in self._connections.values()):
                return
            await asyncio.sleep(0.01)

    def close_all(self, reason: str) -> None:
        """End every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections.values()):
            connection.close(reason)

    # --- ConnectionOwner ------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> str | None:
        """Count the connection in, or say why it is turned away."""
        host = connection.peer_host
        self._connections[connection.connection_id] = connection
        self._per_host[host] = self._per_host.get(host, 0) + 1
        self.accepted += 1
        if len(self._connections) > self.limits.total:
            return "max_connections"
        if self._per_host[host] > self.limits.per_host_overrides.get(host, self.limits.per_host):
            return "max_connections_per_ip"
        delay_ms = self._creation_delay_ms()
        if delay_ms > 0:
            self.delayed += 1
            connection.mute(delay_ms)
        return None

    def _creation_delay_ms(self) -> float:
        """How long a new connection has to wait for its turn under max.connection.creation.rate."""
        rate = self.limits.creation_rate
        now = self._clock.monotonic_ms()
        self._tokens = min(float(rate), self._tokens + (now - self._tokens_at_ms) * rate / 1000)
        self._tokens_at_ms = now
        self._tokens -= 1
        return 0 if self._tokens >= 0 else -self._tokens * 1000 / rate

    def closing(self, connection: Connection, reason: str, detail: str) -> None:
        """The broker ends a connection: count why, and say it once per peer where it is the peer's fault."""
        self.on_closing(reason)
        where = (connection.peer_host, detail if reason == "frame_size" else reason)
        if reason in _LOUD_REASONS and where not in self._warned_hosts and len(self._warned_hosts) < 1000:
            self._warned_hosts.add(where)
            logger.warning(
                "connection.closed",
                extra={
                    "peer": connection.peer_host,
                    "listener": connection.listener,
                    "reason": reason,
                    "detail": detail,
                },
            )

    def closed(self, connection: Connection, reason: str) -> None:
        """The connection is gone."""
        if self._connections.pop(connection.connection_id, None) is None:
            return
        received, sent = self._ended_traffic.get(connection.listener, (0, 0))
        self._ended_traffic[connection.listener] = (
            received + connection.bytes_in,
            sent + connection.bytes_out,
        )
        left = self._per_host.get(connection.peer_host, 1) - 1
        if left:
            self._per_host[connection.peer_host] = left
        else:
            self._per_host.pop(connection.peer_host, None)

    def mark_dirty(self, connection: Connection) -> None:
        """Flush `connection` at the end of this turn."""
        self._turn.mark_dirty(connection)

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        return self._clock.monotonic_ms()

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> None:
        """A timer for a muted connection."""
        self._loop.call_later(delay_ms / 1000, callback)

    # --- numbers and upkeep ---------------------------------------------------------------------------

    def connections(self) -> list[Connection]:
        """The open connections."""
        return list(self._connections.values())

    def traffic(self) -> dict[str, tuple[int, int]]:
        """Bytes received and sent since start, by listener."""
        sums = dict(self._ended_traffic)
        for connection in self._connections.values():
            received, sent = sums.get(connection.listener, (0, 0))
            sums[connection.listener] = received + connection.bytes_in, sent + connection.bytes_out
        return sums

    def _sweep(self) -> None:
        now = self._clock.monotonic_ms()
        for connection in list(self._connections.values()):
            reason = connection.sweep(now, self.limits.idle_ms)
            if reason is not None:
                connection.close(reason)
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL_MS / 1000, self._sweep)
