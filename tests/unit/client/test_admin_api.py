"""The admin API's client against servers that do not do as they should."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin_api import AdminApi, segment
from moldau_broker.client.errors import (
    BrokerUnreachable,
    ClientError,
    ConnectionLost,
    ProtocolViolation,
    RequestFailed,
    RequestTimedOut,
)
from moldau_broker.client.partitions import TopicPartition

Handle = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(handle: Handle, **options: int) -> AsyncIterator[tuple[AdminApi, list[bytes]]]:
    """A server that reads one request a connection and then does what the test says, and a client of it."""
    heard: list[bytes] = []

    serving: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError):  # a client that has given up already
                await answer(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in request.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        request += await reader.readexactly(length)
        heard.append(request)
        await handle(request, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        async with AdminApi(server.sockets[0].getsockname(), **options) as admin:
            yield admin, heard
        await asyncio.gather(*serving)


def _says(status: int, body: bytes) -> Handle:
    async def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
        )
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>", ProtocolViolation),
        (200, b"[]", ProtocolViolation),
        (200, b'{"nodeId": 1}', ProtocolViolation),
        (200, b'{"nodeId": "x", "partitions": []}', ProtocolViolation),
        (200, b'{"nodeId": 1, "partitions": [5]}', ProtocolViolation),
        (500, b"oops", ProtocolViolation),
        (500, b"{}", ProtocolViolation),
        (404, b'{"error": "GROUP_ID_NOT_FOUND", "message": "no"}', RequestFailed),
        (500, b'{"error": "NEVER_HEARD_OF", "message": "?"}', RequestFailed),
        (301, b'{"error": "INVALID_REQUEST", "message": "elsewhere"}', RequestFailed),
    ],
)
async def test_answers_that_are_not_understood_are_errors(
    status: int, body: bytes, error: type[ClientError]
) -> None:
    """Of one hierarchy, whatever comes; redirects are not followed."""
    async with _server(_says(status, body)) as (admin, _):
        with pytest.raises(error):
            await admin.load()


async def test_refusals_carry_the_protocols_error() -> None:
    """By name; a name from the future is an unknown error."""
    async with _server(_says(409, b'{"error": "NON_EMPTY_GROUP", "message": "2 members"}')) as (admin, _):
        with pytest.raises(RequestFailed, match="2 members") as refused:
            await admin.reset_offsets("g", "latest")
    assert refused.value.code is ErrorCode.NON_EMPTY_GROUP
    assert not refused.value.retriable
    async with _server(_says(503, b'{"error": "NEVER_HEARD_OF", "message": "?"}')) as (admin, _):
        with pytest.raises(RequestFailed) as refused:
            await admin.load()
    assert refused.value.code is ErrorCode.UNKNOWN_SERVER_ERROR


async def test_answers_that_do_not_end_are_cut() -> None:
    """More than a client may keep."""

    async def flood(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b" " * 1_000_000)
                await writer.drain()
        except ConnectionError:
            return

    async with _server(flood) as (admin, _):
        with pytest.raises(ProtocolViolation, match="more than"):
            await admin.load()


async def test_silence_ends_with_a_timeout() -> None:
    """And may be asked again."""

    async def sleep(_: bytes, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)

    async with _server(sleep, timeout_ms=50) as (admin, _):
        with pytest.raises(RequestTimedOut) as failed:
            await admin.load()
    assert failed.value.retriable


async def test_connection_that_ends_early_may_be_asked_again() -> None:
    """Whether the request was carried out is not known; a reset's name makes asking again safe."""

    async def hang_up(_: bytes, __: asyncio.StreamWriter) -> None:
        return

    async with _server(hang_up) as (admin, _):
        with pytest.raises(ConnectionLost) as failed:
            await admin.load()
    assert failed.value.retriable


async def test_port_without_a_server_is_unreachable() -> None:
    """By its address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host, port = unused.getsockname()
        async with AdminApi((host, port)) as admin:
            with pytest.raises(BrokerUnreachable, match=str(port)):
                await admin.load()


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a b?c=d#e", "ünïcode", "%41", "{x}"])
async def test_names_travel_whole(name: str) -> None:
    """No name becomes a folder, a query or another name on the way."""
    async with _server(_says(404, b'{"error": "GROUP_ID_NOT_FOUND", "message": ""}')) as (admin, heard):
        with pytest.raises(RequestFailed):
            await admin.group(name)
    (request,) = heard
    assert request.split(b" ")[1] == f"/admin/v1/groups/{segment(name)}".encode()
    assert not set(segment(name)) & set("/.?#{} ")


async def test_resets_are_written_as_the_api_wants_them() -> None:
    """The four ways to say where to."""
    answer = (
        b'{"groupId": "g", "resetId": "", "dryRun": false, "applied": true, '
        b'"membersRemoved": [], "partitions": []}'
    )
    async with _server(_says(200, answer)) as (admin, heard):
        await admin.reset_offsets("g", "earliest", topics=["t"], reset_id="r", force=True)
        await admin.reset_offsets("g", 5, dry_run=True)
        await admin.reset_offsets("g", {TopicPartition("t", 0): 1, TopicPartition("t", 2): 3})
    bodies = [request.partition(b"\r\n\r\n")[2] for request in heard]
    assert bodies == [
        b'{"to":"earliest","force":true,"dryRun":false,"topics":["t"],"resetId":"r"}',
        b'{"to":{"timestampMs":5},"force":false,"dryRun":true}',
        b'{"to":{"offsets":{"t":{"0":1,"2":3}}},"force":false,"dryRun":false}',
    ]
