"""One connection: version agreement, correlation, time-outs, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.connection import Connection
from moldau_broker.client.errors import (
    BrokerUnreachable,
    ConnectionLost,
    ProtocolViolation,
    RequestFailed,
    RequestTimedOut,
    VersionUnsupported,
)
from moldau_broker.wire import framing
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.api_versions import ApiVersionsResponse
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataResponse


async def test_connection_agrees_on_the_highest_common_version(scripted: Any, config: ClientConfig) -> None:
    """A request goes out in the highest version both sides know."""
    scripted.served[ApiKey.METADATA] = (4, 9)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    await connection.request(MetadataRequest(topics=[]), MetadataResponse)
    connection.close()
    assert [(key, version) for key, version, _ in scripted.requests] == [
        (ApiKey.API_VERSIONS, 4),
        (ApiKey.METADATA, 9),
    ]


@pytest.mark.parametrize("highest", [0, 2, 3])
async def test_connection_steps_down_when_apiversions_is_too_new(
    scripted: Any, config: ClientConfig, highest: int
) -> None:
    """Error 35 in a v0 body names the versions to use instead. Reference: KIP-511."""
    scripted.served[ApiKey.API_VERSIONS] = (0, highest)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    connection.close()
    assert [version for _, version, _ in scripted.requests] == [highest]


async def test_connection_reports_a_refusing_port(config: ClientConfig) -> None:
    """Nobody listening is told as such, with the address."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(BrokerUnreachable, match=f"127.0.0.1:{port}: connection refused"):
        await Connection.open("127.0.0.1", port, config)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\4\0\0\0\0", b""])
async def test_connection_recognises_what_is_not_kafka(config: ClientConfig, answer: bytes) -> None:
    """A peer that answers in another protocol, or hangs up, is not a broker."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(BrokerUnreachable, match="does not answer as a Kafka broker"):
        await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1], config)
    server.close()


async def test_connection_gives_up_on_a_silent_peer(scripted: Any, config: ClientConfig) -> None:
    """No answer to the first request within the connect time-out counts as unreachable."""
    scripted.script(ApiKey.API_VERSIONS, None)
    with pytest.raises(BrokerUnreachable):
        await Connection.open("127.0.0.1", scripted.port, replace(config, connect_timeout_ms=50))


async def test_connection_matches_pipelined_answers(scripted: Any, config: ClientConfig) -> None:
    """Requests sent together each get their own answer."""
    codes = [0, 27, 22]
    scripted.script(ApiKey.HEARTBEAT, *(HeartbeatResponse(error_code=code) for code in codes))
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    answers = await asyncio.gather(
        *(connection.request(HeartbeatRequest(group_id="g"), HeartbeatResponse) for _ in codes)
    )
    connection.close()
    assert [answer.error_code for answer in answers] == codes


async def test_connection_ends_after_a_time_out(scripted: Any, config: ClientConfig) -> None:
    """Answers come in order, so a missing one makes the connection useless."""
    scripted.script(ApiKey.HEARTBEAT, None)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    with pytest.raises(RequestTimedOut):
        await connection.request(HeartbeatRequest(), HeartbeatResponse, timeout_ms=30)
    assert connection.closed
    with pytest.raises(RequestTimedOut):
        await connection.request(HeartbeatRequest(), HeartbeatResponse)


async def test_connection_survives_a_cancelled_request(scripted: Any, config: ClientConfig) -> None:
    """The late answer to a request nobody waits for any more is taken for what it is."""
    gate: list[Any] = []

    def late(request: HeartbeatRequest, _version: int) -> HeartbeatResponse:
        gate.append(request)
        return HeartbeatResponse(error_code=len(gate))

    scripted.scripts[ApiKey.HEARTBEAT] = late
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    first = asyncio.create_task(connection.request(HeartbeatRequest(), HeartbeatResponse))
    await asyncio.sleep(0)
    first.cancel()
    second = await connection.request(HeartbeatRequest(), HeartbeatResponse)
    connection.close()
    assert second.error_code == 2


async def test_connection_tells_everybody_waiting_when_it_is_lost(
    scripted: Any, config: ClientConfig, close: Exception
) -> None:
    """Whoever waits for an answer learns that it will not come."""
    scripted.script(ApiKey.HEARTBEAT, None, close)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    results = await asyncio.gather(
        *(connection.request(HeartbeatRequest(), HeartbeatResponse) for _ in range(2)), return_exceptions=True
    )
    assert [type(result) for result in results] == [ConnectionLost, ConnectionLost]
    assert connection.closed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"".join(framing.encode_response(77, ApiKey.HEARTBEAT, 4, HeartbeatResponse())),
            "request 77",
        ),
        (b"\0\0\0\4" + (1).to_bytes(4, "big"), "cannot be read"),
        ((1 << 30).to_bytes(4, "big"), "bytes"),
    ],
    ids=["wrong correlation id", "cut short", "too large"],
)
async def test_connection_ends_on_a_protocol_violation(
    scripted: Any, config: ClientConfig, answer: bytes, words: str
) -> None:
    """An answer that cannot be right ends the connection with the reason."""
    scripted.script(ApiKey.HEARTBEAT, answer)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    with pytest.raises(ProtocolViolation, match=words):
        await connection.request(HeartbeatRequest(), HeartbeatResponse)
    assert connection.closed


async def test_connection_refuses_an_answer_nobody_asked_for(scripted: Any, config: ClientConfig) -> None:
    """An extra answer ends the connection rather than being taken for the next one's."""
    twice = b"".join(framing.encode_response(1, ApiKey.HEARTBEAT, 4, HeartbeatResponse())) * 2
    scripted.script(ApiKey.HEARTBEAT, twice)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    await connection.request(HeartbeatRequest(), HeartbeatResponse)
    with pytest.raises(ProtocolViolation, match="nobody asked for"):
        await connection.request(HeartbeatRequest(), HeartbeatResponse)


async def test_connection_says_which_versions_do_not_meet(scripted: Any, config: ClientConfig) -> None:
    """An API without a common version fails without being sent."""
    scripted.served[ApiKey.HEARTBEAT] = (90, 99)
    connection = await Connection.open("127.0.0.1", scripted.port, config)
    with pytest.raises(VersionUnsupported, match="serves Heartbeat 90 to 99"):
        await connection.request(HeartbeatRequest(), HeartbeatResponse)
    del scripted.served[ApiKey.HEARTBEAT]
    other = await Connection.open("127.0.0.1", scripted.port, config)
    with pytest.raises(VersionUnsupported, match="does not serve Heartbeat"):
        await other.request(HeartbeatRequest(), HeartbeatResponse)
    connection.close()
    other.close()


async def test_connection_names_an_error_in_the_versions_answer(scripted: Any, config: ClientConfig) -> None:
    """An ApiVersions error other than 35 is not mistaken for an agreement."""
    scripted.script(ApiKey.API_VERSIONS, ApiVersionsResponse(error_code=ErrorCode.ILLEGAL_SASL_STATE))
    with pytest.raises(RequestFailed) as caught:
        await Connection.open("127.0.0.1", scripted.port, config)
    assert caught.value.code is ErrorCode.ILLEGAL_SASL_STATE
