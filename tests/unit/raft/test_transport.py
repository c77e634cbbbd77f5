"""The transport and the ticker on real sockets: three drivers, one of them killed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from random import Random

import pytest

from moldau_broker.base.clock import SystemClock
from moldau_broker.base.ids import format_uuid
from moldau_broker.raft.driver import RaftDriver
from moldau_broker.raft.messages import Failure, Peer
from moldau_broker.raft.opening import found_quorum, open_store
from moldau_broker.raft.protocol import APIS, vote_request
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey
from moldau_broker.raft.state import Role
from moldau_broker.raft.store import StoredSnapshot
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.raft.transport import AsyncTransport, Ticker
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.raft_node import features_of
from moldau_broker.wire import codec, framing
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.api_versions import ApiVersion, ApiVersionsResponse, SupportedFeatureKey
from moldau_broker.wire.messages.vote import VoteRequestPartitionData
from moldau_broker.wire.schema import Struct

HOST = "127.0.0.1"
PATIENCE_S = 30.0
"""A busy machine may hold a test up for seconds."""
TIMING = RaftTiming(fetch_ms=2 * int(PATIENCE_S * 1000))
"""Whatever happens within `PATIENCE_S` happens without any fetch time-out."""


class Turns:
    """Flushes at the loop's next turn."""

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        def flush() -> None:
            log.mark_durable(log.flush())
            callback(None)

        asyncio.get_running_loop().call_soon(flush)


class Node:
    """A driver behind a socket."""

    def __init__(self, node_id: int, bootstrap: int | None) -> None:
        self.node_id = node_id
        self.bootstrap = bootstrap
        self.committed = 0
        self.port = 0
        self.features: Sequence[SupportedFeatureKey] = ()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        clock, rng, timing = SystemClock(), Random(self.node_id), TIMING
        cluster_id = format_uuid(b"c" * 16)
        log_dir = LogDir.open(SimDisk(), cluster_id=cluster_id, node_id=self.node_id, clock=clock, rng=rng)
        me = Voter(
            VoterKey(self.node_id, log_dir.directory_id), (VoterEndpoint("CONTROLLER", HOST, self.port),)
        )
        self.features = features_of(me).supported_features
        if self.bootstrap is None:
            found_quorum(log_dir, me, [], clock.wall_ms())
        self.transport = AsyncTransport(timing, f"raft-{self.node_id}")
        self.driver = RaftDriver(
            me,
            open_store(log_dir),
            Turns(),
            clock,
            self,
            self.transport,
            rng,
            timing,
            cluster_id=cluster_id,
            bootstrap=[(HOST, self.bootstrap or self.port)],
            auto_join=True,
        )
        self.ticker = Ticker(
            self.driver.tick, lambda: self.driver.next_deadline_ms, clock.monotonic_ms, self.failed
        )
        self.driver.on_progress = self.ticker.arm
        self.driver.tick()

    async def kill(self) -> None:
        self.driver.stop()
        self.ticker.close()
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.transport.close()
        await asyncio.sleep(0)

    def failed(self, error: Exception) -> None:
        raise AssertionError from error

    def on_commit(self, high_watermark: int) -> None:
        self.committed = high_watermark

    def on_role(self, role: Role, epoch: int) -> None:
        pass

    def on_leader(self, leader_id: int, epoch: int) -> None:
        pass

    def on_snapshot(self, snapshot: StoredSnapshot) -> None:
        pass

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                self._answer(await reader.readexactly(size), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()

    def _answer(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        header = framing.decode_request_header(frame)
        key = ApiKey(header.api_key)

        def give(response: Struct) -> None:
            writer.write(
                b"".join(framing.encode_response(header.correlation_id, key, header.api_version, response))
            )

        if key is ApiKey.API_VERSIONS:
            served = [
                ApiVersion(
                    api_key=one,
                    min_version=API_SCHEMAS[one].first_version,
                    max_version=API_SCHEMAS[one].last_version,
                )
                for one in sorted({*APIS, key})
            ]
            give(ApiVersionsResponse(api_keys=served, supported_features=self.features))
            return
        request, _ = codec.decode(API_SCHEMAS[key].request, header.api_version, frame, header.end)
        self.driver.handle(key, header.api_version, request).on_complete(give)


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - of several nodes' states, none of which announces itself
            await asyncio.sleep(0.005)


async def test_three_nodes_on_sockets_grow_replicate_and_elect_anew() -> None:
    """One founds, two join by themselves; a killed leader is replaced long before any fetch time-out.

    Reference: KIP-595, KIP-853; fixed decision: failure is noticed fast.
    """
    founder = Node(1, None)
    await founder.start()
    nodes = [founder, Node(2, founder.port), Node(3, founder.port)]
    for node in nodes[1:]:
        await node.start()
    try:
        await until(lambda: all(len(node.driver.node.voters) == 3 for node in nodes))
        founder.driver.propose([b"a"])
        end = founder.driver.node.log_end
        await until(lambda: all(node.committed >= end for node in nodes))
        await until(lambda: founder.driver.node.high_watermark == founder.driver.node.log_end)
        await founder.kill()
        left = nodes[1:]
        await until(lambda: any(node.driver.node.role is Role.LEADER for node in left))
        leader = next(node for node in left if node.driver.node.role is Role.LEADER)
        leader.driver.propose([b"b"])
        end = leader.driver.node.log_end
        await until(lambda: all(node.committed >= end for node in left))
    finally:
        for node in nodes:
            await node.kill()


async def heard(transport: AsyncTransport, port: int, patience_s: float = PATIENCE_S) -> Struct | Failure:
    future: asyncio.Future[Struct | Failure] = asyncio.get_running_loop().create_future()
    request = vote_request(None, 1, VoteRequestPartitionData())
    transport.send(Peer(1, HOST, port), ApiKey.VOTE, request, future.set_result)
    return await asyncio.wait_for(future, patience_s)


async def test_transport_says_at_once_that_nobody_listens() -> None:
    """A refused connection is no time-out."""
    transport = AsyncTransport(RaftTiming(request_ms=2 * int(PATIENCE_S * 1000)), "test")
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        assert await heard(transport, unused.getsockname()[1]) is Failure.REFUSED
    await transport.close()


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_transport_tells_a_lost_connection_from_silence(
    *, hangs_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that hangs up loses the request; one that stays silent lets it time out; both are reported once.

    The time passes when the peer has the request, and only then: to connect may take as long as it takes.
    """
    node, loop, ended = Node(1, None), asyncio.get_running_loop(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            size = int.from_bytes(await reader.readexactly(4), "big")
            frame = await reader.readexactly(size)
            if framing.decode_request_header(frame).api_key == ApiKey.API_VERSIONS:
                node._answer(frame, writer)
        if not hangs_up:
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + 1.5 * PATIENCE_S)
            await reader.read()
        writer.transport.abort()
        ended.set()

    server = await asyncio.start_server(serve, HOST, 0)
    transport = AsyncTransport(RaftTiming(request_ms=int(PATIENCE_S * 1000)), "test")
    expected = Failure.LOST if hangs_up else Failure.TIMED_OUT
    assert await heard(transport, server.sockets[0].getsockname()[1], 4 * PATIENCE_S) is expected
    await transport.close()
    server.close()
    await ended.wait()


async def test_ticker_meets_the_earliest_deadline_and_goes_on_after_an_error() -> None:
    """An earlier deadline replaces a later one; what `tick` raises is told, and the next one comes."""
    clock = SystemClock()
    ticks: list[int] = []
    errors: list[Exception] = []
    deadline = clock.monotonic_ms() + 60_000

    def tick() -> None:
        nonlocal deadline
        ticks.append(clock.monotonic_ms())
        deadline = clock.monotonic_ms() + (10 if len(ticks) < 3 else 60_000)
        if len(ticks) == 1:
            raise StorageError("once")

    ticker = Ticker(tick, lambda: deadline, clock.monotonic_ms, errors.append)
    ticker.arm()
    await asyncio.sleep(0.02)
    assert not ticks
    deadline = clock.monotonic_ms() + 5
    ticker.arm()
    await until(lambda: len(ticks) == 3)
    assert len(errors) == 1
    ticker.close()
    ticker.arm()
    await asyncio.sleep(0.02)
    assert len(ticks) == 3
