"""One TCP connection: frames, correlation, the versions agreed on. Knows nothing of clusters or retries.

Requests may be pipelined; answers come in the order of the requests (the protocol guide, "Network").
Whatever breaks that order, a time-out included, ends the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.addresses import addresses
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import (
    BrokerUnreachable,
    ClientError,
    ConnectionLost,
    ProtocolViolation,
    RequestTimedOut,
    raise_for,
)
from moldau_broker.client.frames import FrameAssembler
from moldau_broker.client.versions import choose_version
from moldau_broker.wire import codec, framing
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from moldau_broker.wire.schema import Struct

R = TypeVar("R", bound=Struct)

SOFTWARE_NAME: Final = "moldau"
SOFTWARE_VERSION: Final = "1"


class _Waiter(NamedTuple):
    """A request whose answer is still to come."""

    correlation_id: int
    key: ApiKey
    version: int
    response: type[Struct]
    future: asyncio.Future[Any]


class Connection(asyncio.BufferedProtocol):
    """A connection that has agreed on versions; made by `Connection.open`."""

    def __init__(self, address: str, config: ClientConfig) -> None:
        self.address = address
        self.served: Mapping[int, tuple[int, int]] = {}
        """Api key to (lowest, highest) version, as the broker said."""
        self.bytes_in = self.bytes_out = 0
        """Bytes received and sent."""
        self._config = config
        self._frames = FrameAssembler(config.frame_bytes_max)
        self._waiting: deque[_Waiter] = deque()
        self._transport: asyncio.Transport | None = None
        self._next_correlation_id = 0
        self._writable: asyncio.Future[None] | None = None
        self._lost: ClientError | None = None

    @classmethod
    async def open(cls, host: str, port: int, config: ClientConfig) -> Connection:
        """Connect and agree on versions.

        Raises:
            BrokerUnreachable: no TCP connection, or no Kafka broker behind it, within the connect time-out.
        """
        address = f"{host}:{port}"
        try:
            async with asyncio.timeout(config.connect_timeout_ms / 1000):
                connection = await cls._connect(host, port, config)
                try:
                    await connection._agree_on_versions()
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            raise BrokerUnreachable(address, f"no answer within {config.connect_timeout_ms} ms") from None
        except OSError as error:
            raise BrokerUnreachable(address, _reason(error)) from error
        except (ConnectionLost, ProtocolViolation, RequestTimedOut) as error:
            raise BrokerUnreachable(address, f"it does not answer as a Kafka broker ({error})") from error
        return connection

    @classmethod
    async def _connect(cls, host: str, port: int, config: ClientConfig) -> Connection:
        """To the first of a host's addresses that takes it."""
        loop = asyncio.get_running_loop()
        refusal: OSError | None = None
        for address in await addresses().of(host):
            try:
                _, made = await loop.create_connection(lambda: cls(f"{host}:{port}", config), address, port)
            except OSError as error:
                refusal = refusal or error
            else:
                return made
        raise refusal or OSError(f"{host} has no address")

    @property
    def closed(self) -> bool:
        """Whether no further request can be sent."""
        return self._lost is not None

    def version_of(self, key: ApiKey) -> int:
        """The version requests of this API use here.

        Raises:
            VersionUnsupported: the two sides have none in common.
        """
        return choose_version(key, self.served, self.address)

    async def request(
        self,
        request: Struct,
        response: type[R],
        *,
        timeout_ms: int | None = None,
        version: int | None = None,
    ) -> R:
        """Send a request and wait for its answer.

        Args:
            request: the message.
            response: the class of the answer, which says which API this is.
            timeout_ms: instead of the configuration's request time-out (long polls need more).
            version: instead of the newest that both sides speak; for requests that are passed on.

        Raises:
            ClientError: the connection ended, no answer came in time, or it was not understood.
        """
        key = _key_of(response)
        number = self.version_of(key) if version is None else version
        return await self._exchange(key, number, request, response, timeout_ms)

    def ask(self, request: Struct, response: type[R]) -> asyncio.Future[R]:
        """Send a request now; what comes of it is for the caller to wait for, and how long.

        For who has one request at a time under way: it is sent even where the peer reads slower than we write.

        Raises:
            ClientError: the connection has ended, or the request cannot be sent.
        """
        if self._lost is not None:
            raise self._lost
        key = _key_of(response)
        return self._begin(key, self.version_of(key), request, response)

    async def send(self, request: Struct, response: type[Struct]) -> None:
        """Send a request that has no answer (Produce with acks=0)."""
        key = _key_of(response)
        version = self.version_of(key)
        await self._until_writable()
        self._write(key, version, request)

    def close(self) -> None:
        """End the connection; whoever waits for an answer gets `ConnectionLost`."""
        self._end(ConnectionLost(f"the connection to {self.address} was closed"))

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection stands."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._frames.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Hand every complete answer to whoever waits for it."""
        self.bytes_in += nbytes
        try:
            for frame in self._frames.received(nbytes):
                self._answer(frame)
        except ProtocolViolation as error:
            self._end(error)
        except WireError as error:
            self._end(ProtocolViolation(f"{self.address} sent an answer that cannot be read: {error}"))

    def eof_received(self) -> bool:
        """The peer closed its side: so do we."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone."""
        why = f": {exc}" if exc is not None else ""
        self._end(ConnectionLost(f"{self.address} closed the connection{why}"))

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The peer caught up."""
        self._release_writers()

    # how it works

    async def _agree_on_versions(self) -> None:
        """Ask for the broker's versions, in an older one if it does not know ours (KIP-511)."""
        version = API_SCHEMAS[ApiKey.API_VERSIONS].last_version
        while True:
            answer = await self._exchange(
                ApiKey.API_VERSIONS,
                version,
                ApiVersionsRequest(
                    client_software_name=SOFTWARE_NAME, client_software_version=SOFTWARE_VERSION
                ),
                ApiVersionsResponse,
                self._config.connect_timeout_ms,
            )
            self.served = {api.api_key: (api.min_version, api.max_version) for api in answer.api_keys}
            if answer.error_code != ErrorCode.UNSUPPORTED_VERSION or version == 0:
                break
            version = min(version - 1, self.served.get(ApiKey.API_VERSIONS, (0, 0))[1])
        raise_for(answer.error_code, f"the versions {self.address} serves")

    async def _exchange(
        self, key: ApiKey, version: int, request: Struct, response: type[R], timeout_ms: int | None
    ) -> R:
        limit_ms = self._config.request_timeout_ms if timeout_ms is None else timeout_ms
        try:
            async with asyncio.timeout(limit_ms / 1000):
                await self._until_writable()
                return await self._begin(key, version, request, response)
        except TimeoutError:
            error = RequestTimedOut(f"{self.address} did not answer {key.name} within {limit_ms} ms")
            self._end(error)
            raise error from None

    def _begin(self, key: ApiKey, version: int, request: Struct, response: type[R]) -> asyncio.Future[R]:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        correlation_id = self._write(key, version, request)
        self._waiting.append(_Waiter(correlation_id, key, version, response, future))
        return future

    async def _until_writable(self) -> None:
        while self._writable is not None:
            await asyncio.shield(self._writable)
        if self._lost is not None:
            raise self._lost

    def _write(self, key: ApiKey, version: int, request: Struct) -> int:
        assert self._transport is not None
        correlation_id = self._next_correlation_id
        self._next_correlation_id = (correlation_id + 1) & 0x7FFFFFFF
        try:
            frame = framing.encode_request(key, version, correlation_id, self._config.client_id, request)
        except WireError as error:
            raise ClientError(f"this request cannot be put into Kafka's protocol: {error}") from error
        self._transport.write(frame)
        self.bytes_out += len(frame)
        return correlation_id

    def _answer(self, frame: bytes | bytearray) -> None:
        if not self._waiting:
            raise ProtocolViolation(f"{self.address} sent an answer nobody asked for")
        waiter = self._waiting[0]  # stays there until its answer is understood, so that `_end` can tell it
        correlation_id, offset = framing.decode_response_header(waiter.key, waiter.version, frame)
        if correlation_id != waiter.correlation_id:
            raise ProtocolViolation(
                f"{self.address} answered request {correlation_id} when {waiter.correlation_id} was next"
            )
        version = waiter.version
        if waiter.key is ApiKey.API_VERSIONS and frame[offset : offset + 2] == _UNSUPPORTED_VERSION:
            version = 0  # the refusal of an unknown version comes in the body every client can read
        answer, _ = codec.decode(waiter.response, version, frame, offset)
        self._waiting.popleft()
        if not waiter.future.done():  # its caller may have been cancelled meanwhile
            waiter.future.set_result(answer)

    def _release_writers(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def _end(self, error: ClientError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        if self._transport is not None:
            self._transport.abort()
        self._release_writers()
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.future.done():
                waiter.future.set_exception(error)


def _key_of(response: type[Struct]) -> ApiKey:
    key = response.__schema__.key
    assert key is not None, f"{response.__name__} is no response"
    return ApiKey(key)


_UNSUPPORTED_VERSION: Final = ErrorCode.UNSUPPORTED_VERSION.to_bytes(2, "big")


def _reason(error: OSError) -> str:
    """The system's words without the address they repeat."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    return error.strerror or str(error)
