"""What a connection and its surroundings agree on: answers, ends without an answer, who owns it. No sockets here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from moldau_broker.base.deferred import Deferred

if TYPE_CHECKING:
    from moldau_broker.server.buffers import InFlightBytes, ReceiveBuffers
    from moldau_broker.server.connection import Connection

Chunks = list[bytes | bytearray | memoryview]
Answer = Chunks | Deferred["Chunks | None"] | None
"""Bytes to send now, a promise of them (None in it: close), or nothing to send at all (acks=0)."""


class CloseConnection(Exception):
    """The peer broke the protocol in a way that has no answer; the connection ends, with this reason."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class RequestHandler(Protocol):
    """What a connection hands its frames to."""

    def handle(self, connection: Connection, buffer: bytearray, start: int, end: int) -> Answer:
        """Handle the request in `buffer[start:end]` (after the size field); valid only during the call.

        Raises:
            CloseConnection: the frame has no answer.
        """
        ...


class ConnectionOwner(Protocol):
    """The listener's bookkeeping."""

    frame_bytes_max: int
    buffers: ReceiveBuffers
    in_flight: InFlightBytes
    handler: RequestHandler

    def opened(self, connection: Connection) -> str | None:
        """A peer has connected; the text says why it is turned away, None accepts it."""
        ...

    def closed(self, connection: Connection, reason: str) -> None:
        """The connection is gone."""
        ...

    def closing(self, connection: Connection, reason: str, detail: str) -> None:
        """The broker ends this connection, and why."""
        ...

    def mark_dirty(self, connection: Connection) -> None:
        """Answers were completed outside a read event: call `flush` once in this turn of the loop."""
        ...

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        ...

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> None:
        """Call back in `delay_ms`."""
        ...


def describe_bad_size(size: int, limit: int) -> str:
    """What a frame size above the limit most likely is, in words."""
    head = size.to_bytes(4, "big")
    if head in {b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI"}:
        return "HTTP on a Kafka port"
    if head[0] == 0x16 and head[1] == 0x03:
        return "TLS on a plaintext port"
    if size >= 1 << 31:
        return "a negative frame size"
    return f"a frame of {size} bytes, above the limit of {limit}"
