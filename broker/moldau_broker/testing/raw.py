"""A Kafka client that does what it is told, byte for byte: for tests of what no honest client sends."""

from __future__ import annotations

import contextlib
import select
import socket
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.codec import decode
from moldau_broker.wire.framing import decode_response_header, encode_request
from moldau_broker.wire.schema import Struct

TIMEOUT_S: Final = 10.0


class ConnectionClosed(Exception):
    """The broker has ended the connection."""


class RawClient:
    """One blocking connection.

    Attributes:
        socket: the socket itself, for whatever this class cannot do.
        client_id: sent with every request.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str | None = "raw",
        timeout: float = TIMEOUT_S,
        source_host: str = "",
    ) -> None:
        self.socket = socket.create_connection(
            (host, port), timeout, (source_host, 0) if source_host else None
        )
        self.client_id = client_id
        self._correlation_ids = count(1)

    @classmethod
    def to(cls, bootstrap: str, **options: Any) -> RawClient:
        """Connect to `host:port`."""
        host, _, port = bootstrap.rpartition(":")
        return cls(host, int(port), **options)

    # --- bytes ----------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            ConnectionClosed: there is nobody to take them.
        """
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectionClosed(str(error)) from error

    def send_frame(self, payload: bytes) -> None:
        """Send `payload` with its size in front."""
        self.send(len(payload).to_bytes(4, "big") + payload)

    def receive_frame(self) -> bytes:
        """The next frame, without its size.

        Raises:
            ConnectionClosed: the connection ended before the frame did.
            TimeoutError: nothing came.
        """
        return self._receive_exactly(int.from_bytes(self._receive_exactly(4), "big"))

    def _receive_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError as error:
                raise ConnectionClosed(str(error)) from error
            if not piece:
                raise ConnectionClosed(f"{len(data)} of {size} bytes came before the end")
            data += piece
        return bytes(data)

    def readable(self) -> bool:
        """Whether something has come, be it the end."""
        return self._readable(0)

    def _readable(self, within: float) -> bool:
        """By poll: select knows no descriptor above 1,023, and a test process may hold more."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def closed_by_peer(self, within: float = TIMEOUT_S) -> bool:
        """Whether the broker ends the connection, without another byte, in that many seconds."""
        if not self._readable(within):
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    # --- requests -------------------------------------------------------------------------------------

    def frame(self, api: ApiKey, version: int, body: Struct, correlation_id: int = 0) -> bytes:
        """The bytes of a request, size first."""
        return encode_request(api, version, correlation_id, self.client_id, body)

    def post(self, api: ApiKey, version: int, body: Struct) -> int:
        """Send a request; gives its correlation id."""
        correlation_id = next(self._correlation_ids)
        self.send(self.frame(api, version, body, correlation_id))
        return correlation_id

    def receive(self, api: ApiKey, version: int) -> tuple[int, Any]:
        """The next response, which must be of that API and version: its correlation id and body.

        Raises:
            ConnectionClosed, TimeoutError: as `receive_frame`.
        """
        data = self.receive_frame()
        correlation_id, at = decode_response_header(api, version, data)
        body, end = decode(API_SCHEMAS[api].response, version, data, at)
        assert end == len(data), f"{len(data) - end} bytes behind a {api.name} response"
        return correlation_id, body

    def call(self, api: ApiKey, version: int, body: Struct) -> Any:
        """Send a request and wait for its response.

        Raises:
            ConnectionClosed, TimeoutError: as `receive_frame`.
        """
        sent = self.post(api, version, body)
        correlation_id, response = self.receive(api, version)
        assert correlation_id == sent, f"the answer is to request {correlation_id}, not {sent}"
        return response

    # --- end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up; harmless when repeated."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
