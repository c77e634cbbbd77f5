"""The connection to the active controller: one at a time, and never to one that is replaced."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import BrokerUnreachable, ClientError
from moldau_broker.raft.messages import Leader
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.server.controller_link import ControllerLink
from moldau_broker.testing.scripted import Close, ScriptedBroker
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse

OK = BrokerHeartbeatResponse()


class Bench:
    """A link, two controllers, and who of them leads."""

    def __init__(self) -> None:
        self.leader: Leader | None = None
        self.link = self.patient(30_000)
        self.brokers: list[ScriptedBroker] = []

    def patient(self, connect_ms: int) -> ControllerLink:
        config = ClientConfig(connect_timeout_ms=connect_ms, request_timeout_ms=30_000)
        return ControllerLink(lambda: self.leader, config)

    async def broker(self, node_id: int, *answers: Any) -> ScriptedBroker:
        made = ScriptedBroker(node_id)
        made.script(ApiKey.BROKER_HEARTBEAT, *answers)
        await made.start()
        self.brokers.append(made)
        return made

    def lead(self, node_id: int, port: int) -> None:
        self.leader = Leader(node_id, 1, (VoterEndpoint("CONTROLLER", "127.0.0.1", port),))

    async def beat(self) -> Any:
        request = BrokerHeartbeatRequest(broker_id=1)
        return await self.link.request(ApiKey.BROKER_HEARTBEAT, request, None, 30_000)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.link.close()
    for broker in made.brokers:
        await broker.stop()


async def test_link_without_a_leader_reaches_nobody(bench: Bench) -> None:
    """No leader, or one whose address nobody has told yet: nothing was sent, and the error says so."""
    with pytest.raises(BrokerUnreachable, match="no leader of the quorum is known"):
        await bench.beat()
    bench.leader = Leader(2, 1, ())
    with pytest.raises(BrokerUnreachable, match="no leader of the quorum is known"):
        await bench.beat()


async def test_link_opens_one_connection_for_requests_at_once(bench: Bench) -> None:
    """Those that come while it is being opened wait for it."""
    broker = await bench.broker(2, OK)
    bench.lead(2, broker.port)
    assert await asyncio.gather(bench.beat(), bench.beat(), bench.beat()) == [OK] * 3
    assert broker.connections == 1


async def test_link_tries_anew_after_a_refusal(bench: Bench) -> None:
    """A controller that is being started refuses; all who waited for that connection hear it, the next one connects."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        bench.lead(2, closed.getsockname()[1])
        refused = await asyncio.gather(bench.beat(), bench.beat(), return_exceptions=True)
    assert all(isinstance(error, BrokerUnreachable) for error in refused)
    broker = await bench.broker(2, OK)
    bench.lead(2, broker.port)
    assert await bench.beat() == OK


async def test_link_opens_another_connection_after_one_that_broke(bench: Bench) -> None:
    """The request that was under way fails: its outcome is unknown. The next one has a connection of its own."""
    broker = await bench.broker(2, Close(), OK)
    bench.lead(2, broker.port)
    with pytest.raises(ClientError):
        await bench.beat()
    assert await bench.beat() == OK
    assert broker.connections == 2


async def test_link_follows_the_leader(bench: Bench) -> None:
    """The connection to the one before is closed with the first request to the new one."""
    first, second = await bench.broker(2, OK), await bench.broker(3, OK)
    bench.lead(2, first.port)
    await bench.beat()
    bench.lead(3, second.port)
    assert await bench.beat() == OK
    assert (first.connections, second.connections) == (1, 1)
    assert ApiKey.BROKER_HEARTBEAT in [key for key, _, _ in second.requests]


async def test_link_gives_up_a_connection_that_is_being_opened_to_the_old_leader(bench: Bench) -> None:
    """One that does not even take connections any more must not hold up requests to its successor."""
    bench.link = bench.patient(1_000)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        bench.lead(2, silent.getsockname()[1])
        waiting = asyncio.ensure_future(bench.beat())
        await asyncio.sleep(0.01)
        broker = await bench.broker(3, OK)
        bench.lead(3, broker.port)
        bench.link.leader_changed()
        assert await bench.beat() == OK
        with pytest.raises(ClientError):
            await waiting


async def test_link_closed_can_be_used_again(bench: Bench) -> None:
    """Closing ends the connection, not the link."""
    broker = await bench.broker(2, OK)
    bench.lead(2, broker.port)
    await bench.beat()
    bench.link.close()
    assert await bench.beat() == OK
    assert broker.connections == 2
