"""Asking the active controller, wherever it is: here, elsewhere, nowhere, or somewhere else in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import pytest_asyncio

from moldau_broker.base.broker_config import GroupSettings
from moldau_broker.base.clock import SystemClock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.runtime import ControllerRuntime
from moldau_broker.raft.messages import Leader
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.server.controller_channel import ControllerChannel, PartitionChanges, Patience
from moldau_broker.testing.scripted import Close, ScriptedBroker
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from moldau_broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from moldau_broker.wire.messages.describe_quorum import DescribeQuorumRequest
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from moldau_broker.wire.schema import Struct

ME = 1
PATIENCE_S = 120
"""A busy machine may hold a test up for seconds; who waits for somebody who answers waits as long as it takes."""
PATIENCE = Patience(connect=PATIENCE_S * 500, session=PATIENCE_S * 500, request=PATIENCE_S * 500)
"""Nothing is given up before the test is."""
MADE = CreateTopicsResponse(topics=[CreatableTopicResult(name="t")])
ELSEWHERE = CreateTopicsResponse(topics=[CreatableTopicResult(name="t", error_code=ErrorCode.NOT_CONTROLLER)])


def create(timeout_ms: int = PATIENCE_S * 500) -> CreateTopicsRequest:
    return CreateTopicsRequest(topics=[CreatableTopic(name="t")], timeout_ms=timeout_ms)


class FakeRuntime:
    """What the channel looks at, set by hand."""

    def __init__(self) -> None:
        self.is_active = False
        self.leader: Leader | None = None
        self.asked: list[tuple[ApiKey, int | None]] = []
        self.answer: Struct = MADE

    async def ask(self, key: ApiKey, _request: Struct, version: int | None) -> Struct:
        self.asked.append((key, version))
        return self.answer


class Bench:
    """A channel, and scripted controllers it may find."""

    def __init__(self) -> None:
        self.runtime = FakeRuntime()
        self.channel = ControllerChannel(
            cast("ControllerRuntime", self.runtime), ME, SystemClock(), GroupSettings, lambda: -1, PATIENCE
        )
        self.brokers: list[ScriptedBroker] = []

    async def controller(
        self, node_id: int, *answers: Any, key: ApiKey = ApiKey.CREATE_TOPICS
    ) -> ScriptedBroker:
        broker = ScriptedBroker(node_id)
        broker.script(key, *answers)
        await broker.start()
        self.brokers.append(broker)
        return broker

    def lead(self, broker: ScriptedBroker, epoch: int = 1) -> None:
        at = VoterEndpoint("CONTROLLER", "127.0.0.1", broker.port)
        self.runtime.leader = Leader(broker.node_id, epoch, (at,))
        self.channel.leader_changed()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.channel.close()
    for broker in made.brokers:
        await broker.stop()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - another party's doing
            await asyncio.sleep(0.001)


async def within(seconds: float, answer: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await answer


async def test_channel_takes_the_short_cut_where_this_node_is_the_controller(bench: Bench) -> None:
    """Nothing is sent; the request's version is passed on."""
    bench.runtime.is_active = True
    assert await bench.channel.ask(ApiKey.CREATE_TOPICS, create(), 5) is MADE
    assert bench.runtime.asked == [(ApiKey.CREATE_TOPICS, 5)]


async def test_channel_asks_another_node_over_one_connection(bench: Bench) -> None:
    """Requests share a connection and keep their version; those of the session have one of their own."""
    broker = await bench.controller(2, MADE)
    broker.script(ApiKey.BROKER_HEARTBEAT, BrokerHeartbeatResponse())
    bench.lead(broker)
    answers = await asyncio.gather(*(bench.channel.ask(ApiKey.CREATE_TOPICS, create(), 5) for _ in range(3)))
    assert answers == [MADE] * 3
    assert [version for key, version, _ in broker.requests if key is ApiKey.CREATE_TOPICS] == [5, 5, 5]
    assert broker.connections == 1
    heard: list[Any] = []
    request = BrokerHeartbeatRequest(broker_id=ME)
    bench.channel.ask_soon(ApiKey.BROKER_HEARTBEAT, request, heard.append, session=True)
    await eventually(lambda: bool(heard))
    assert heard == [BrokerHeartbeatResponse()]
    assert broker.connections == 2


async def test_channel_repeats_while_the_controller_is_elsewhere(bench: Bench) -> None:
    """NOT_CONTROLLER, in an item or for the whole, is not the client's business while there is time."""
    broker = await bench.controller(2, ELSEWHERE, ELSEWHERE, MADE)
    broker.script(
        ApiKey.UNREGISTER_BROKER,
        UnregisterBrokerResponse(error_code=ErrorCode.NOT_CONTROLLER),
        UnregisterBrokerResponse(),
    )
    bench.lead(broker)
    assert await within(PATIENCE_S, bench.channel.ask(ApiKey.CREATE_TOPICS, create())) == MADE
    assert len(broker.seen(ApiKey.CREATE_TOPICS)) == 3
    answer = await within(
        PATIENCE_S, bench.channel.ask(ApiKey.UNREGISTER_BROKER, UnregisterBrokerRequest(broker_id=3))
    )
    assert answer.error_code == ErrorCode.NONE


async def test_channel_finds_the_controller_that_comes_later(bench: Bench) -> None:
    """While nobody leads the request waits, and goes on as soon as somebody does."""
    broker = await bench.controller(2, MADE)
    asked = asyncio.ensure_future(bench.channel.ask(ApiKey.CREATE_TOPICS, create()))
    await asyncio.sleep(0.05)
    assert not asked.done()
    bench.lead(broker)
    assert await within(PATIENCE_S, asked) == MADE


async def test_channel_gives_up_a_hung_controller_when_another_leads(bench: Bench) -> None:
    """A controller that is paused never answers: what was asked of it is asked of the one that replaces it."""
    hung = await bench.controller(2, None)
    fresh = await bench.controller(3, MADE)
    bench.lead(hung)
    asked = asyncio.ensure_future(bench.channel.ask(ApiKey.CREATE_TOPICS, create(PATIENCE_S * 500)))
    heard: list[AlterPartitionResponse | None] = []
    hung.script(ApiKey.ALTER_PARTITION, None)
    PartitionChanges(bench.channel).ask_soon(AlterPartitionRequest(broker_id=ME), heard.append)
    await eventually(lambda: len(hung.requests) == 3)  # ApiVersions, and the two
    bench.lead(fresh, 2)
    assert await within(PATIENCE_S, asked) == MADE
    await eventually(lambda: bool(heard))
    assert heard == [None]


async def test_channel_gives_up_a_hung_controller_when_this_node_leads(bench: Bench) -> None:
    """The same, where the one that replaces it is this node."""
    hung = await bench.controller(2, None)
    bench.lead(hung)
    asked = asyncio.ensure_future(bench.channel.ask(ApiKey.CREATE_TOPICS, create(PATIENCE_S * 500)))
    await eventually(lambda: bool(hung.seen(ApiKey.CREATE_TOPICS)))
    bench.runtime.is_active = True
    bench.runtime.leader = Leader(ME, 2, (VoterEndpoint("CONTROLLER", "127.0.0.1", 1),))
    bench.channel.leader_changed()
    assert await within(PATIENCE_S, asked) == MADE


async def test_channel_keeps_its_connection_while_the_leader_is_the_same_or_unknown(bench: Bench) -> None:
    """A new epoch of the same leader, or a moment without one, drops no request that is under way."""
    slow = await bench.controller(2, None)
    bench.lead(slow)
    asked = asyncio.ensure_future(bench.channel.ask(ApiKey.CREATE_TOPICS, create(PATIENCE_S * 500)))
    await eventually(lambda: bool(slow.seen(ApiKey.CREATE_TOPICS)))
    bench.lead(slow, 2)
    bench.runtime.leader = None
    bench.channel.leader_changed()
    await asyncio.sleep(0.05)
    assert not asked.done()
    assert slow.connections == 1
    await bench.channel.close()
    await within(PATIENCE_S, asked)


async def test_channel_says_that_there_is_no_controller_when_the_time_is_over(bench: Bench) -> None:
    """Each item of the answer has the error and a reason in words; the quorum's own APIs theirs."""
    answer = await within(PATIENCE_S, bench.channel.ask(ApiKey.CREATE_TOPICS, create(60)))
    (topic,) = answer.topics
    assert topic.name == "t"
    assert topic.error_code == ErrorCode.NOT_CONTROLLER
    assert "no leader of the quorum is known" in topic.error_message


async def test_channel_repeats_after_a_connection_that_broke(bench: Bench) -> None:
    """A controller that ends the connection is asked again over a new one."""
    broker = await bench.controller(2, Close(), MADE)
    bench.lead(broker)
    assert await within(PATIENCE_S, bench.channel.ask(ApiKey.CREATE_TOPICS, create())) == MADE
    assert broker.connections == 2


async def test_channel_tells_none_at_once_where_one_attempt_fails(bench: Bench) -> None:
    """`ask_soon` leaves the next attempt to who asked."""
    heard: list[Any] = []
    bench.channel.ask_soon(ApiKey.ALTER_PARTITION, AlterPartitionRequest(broker_id=ME), heard.append)
    await eventually(lambda: bool(heard))
    assert heard == [None]


@pytest.mark.parametrize("key", [ApiKey.CREATE_TOPICS, ApiKey.DESCRIBE_QUORUM])
async def test_channel_answers_who_waits_when_it_closes(bench: Bench, key: ApiKey) -> None:
    """Nobody is left without an answer."""
    request = create(PATIENCE_S * 500) if key is ApiKey.CREATE_TOPICS else DescribeQuorumRequest()
    asked = asyncio.ensure_future(bench.channel.ask(key, request))
    await asyncio.sleep(0.03)
    await bench.channel.close()
    answer = await within(PATIENCE_S, asked)
    if key is ApiKey.CREATE_TOPICS:
        assert answer.topics[0].error_code == ErrorCode.NOT_CONTROLLER
    else:
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
