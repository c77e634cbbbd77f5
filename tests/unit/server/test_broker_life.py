"""The broker's session, driven: registers, says that it lives, leaves, and finds every new controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from moldau_broker.base.broker_config import SessionSettings, build_group
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.broker_session import BrokerState
from moldau_broker.metadata.image import Endpoint, MetadataImage
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.server.broker_life import LEADERLESS_MS_MAX, BrokerLife, registration_request
from moldau_broker.server.controller_channel import ControllerChannel
from moldau_broker.testing.controller import ManualClock
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from moldau_broker.wire.messages.broker_registration import (
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
)
from moldau_broker.wire.schema import Struct

EPOCH = 7


class FakeChannel:
    """Takes requests; the test answers them."""

    def __init__(self) -> None:
        self.is_led = True
        self.leads = False
        self.asked: list[tuple[Struct, Callable[[Any], None]]] = []

    def ask_soon(
        self, key: ApiKey, request: Struct, on_answer: Callable[[Any], None], *, session: bool = False
    ) -> None:
        assert session, "heartbeats have a connection of their own"
        assert (key is ApiKey.BROKER_REGISTRATION) == isinstance(request, BrokerRegistrationRequest)
        self.asked.append((request, on_answer))


class Bench:
    """A broker's life with a controller that is the test."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.channel = FakeChannel()
        self.publisher = MetadataPublisher("cluster")
        self.publish(0)
        self.life = BrokerLife(
            registration_request(
                node_id=1,
                cluster_id="cluster",
                incarnation_id=b"i" * 16,
                endpoints={"CLIENT": Endpoint("here", 9092)},
                directory_id=b"d" * 16,
                rack="r",
                previous_epoch=3,
            ),
            build_group(SessionSettings, {}),
            cast("ControllerChannel", self.channel),
            self.publisher,
            self.clock,
            Random(1),
        )

    def publish(self, offset: int) -> None:
        self.publisher.publish(MetadataImage("cluster", offset))

    def answer(self, response: Struct | None) -> Struct:
        """Answer the only request that waits; gives the request."""
        ((request, on_answer),) = self.channel.asked
        self.channel.asked.clear()
        on_answer(response)
        return request

    def become_active(self) -> None:
        self.life.start()
        self.answer(BrokerRegistrationResponse(broker_epoch=EPOCH))
        self.answer(BrokerHeartbeatResponse(is_caught_up=False, is_fenced=True))
        self.publish(EPOCH)
        self.answer(BrokerHeartbeatResponse(is_caught_up=True, is_fenced=False))


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_life_registers_catches_up_and_is_let_in(bench: Bench) -> None:
    """Registration with all that the broker is; a heartbeat as soon as its registration is published here."""
    life = bench.life
    assert life.impediment == "not registered with the controller"
    life.start()
    registration = bench.answer(BrokerRegistrationResponse(broker_epoch=EPOCH))
    assert isinstance(registration, BrokerRegistrationRequest)
    assert (registration.broker_id, registration.rack, registration.previous_broker_epoch) == (1, "r", 3)
    assert [(one.name, one.host, one.port) for one in registration.listeners] == [("CLIENT", "here", 9092)]
    assert life.epoch == EPOCH
    first = bench.answer(BrokerHeartbeatResponse(is_fenced=True))
    assert isinstance(first, BrokerHeartbeatRequest)
    assert first.current_metadata_offset == 0
    assert "fenced" in (life.impediment or "")
    assert not bench.channel.asked
    bench.publish(EPOCH)
    second = bench.answer(BrokerHeartbeatResponse(is_caught_up=True, is_fenced=False))
    assert isinstance(second, BrokerHeartbeatRequest)
    assert second.current_metadata_offset == EPOCH
    assert life.session.state is BrokerState.ACTIVE
    assert life.impediment is None


async def test_life_says_why_it_is_refused_and_tries_again(bench: Bench) -> None:
    """The reason stands on /readyz until a registration succeeds."""
    bench.life.start()
    bench.answer(BrokerRegistrationResponse(error_code=ErrorCode.DUPLICATE_BROKER_REGISTRATION))
    assert bench.life.impediment == "not registered with the controller: DUPLICATE_BROKER_REGISTRATION"
    bench.clock.advance(1_000)
    async with asyncio.timeout(30):
        while not bench.channel.asked:  # noqa: ASYNC110 - the timer's doing
            await asyncio.sleep(0.005)
    bench.answer(BrokerRegistrationResponse(broker_epoch=EPOCH))
    assert bench.life.epoch == EPOCH


async def test_life_tells_a_new_controller_at_once(bench: Bench) -> None:
    """What the old one was asked is forgotten; its late answer changes nothing."""
    bench.become_active()
    bench.clock.advance(500)
    bench.life.controller_changed()
    ((_, stale),) = bench.channel.asked
    bench.channel.asked.clear()
    bench.life.controller_changed()
    assert len(bench.channel.asked) == 1
    stale(BrokerHeartbeatResponse(error_code=ErrorCode.STALE_BROKER_EPOCH))
    assert bench.life.session.state is BrokerState.ACTIVE


async def test_life_registers_again_when_its_epoch_is_gone(bench: Bench) -> None:
    """A process that was paused for long finds its registration replaced or unknown; it has lost nothing meanwhile."""
    bench.become_active()
    bench.clock.advance(500)
    bench.life.controller_changed()
    bench.answer(BrokerHeartbeatResponse(error_code=ErrorCode.STALE_BROKER_EPOCH))
    registration = bench.answer(BrokerRegistrationResponse(broker_epoch=EPOCH + 20))
    assert isinstance(registration, BrokerRegistrationRequest)
    assert registration.previous_broker_epoch == EPOCH
    assert bench.life.epoch == EPOCH + 20


async def test_life_leaves_when_the_controller_lets_it_go(bench: Bench) -> None:
    """The wish is told at once, and the answer awaited."""
    bench.become_active()
    leaving = asyncio.ensure_future(bench.life.leave(10_000))
    await asyncio.sleep(0)
    wish = bench.answer(BrokerHeartbeatResponse(is_caught_up=True, should_shut_down=True))
    assert isinstance(wish, BrokerHeartbeatRequest)
    assert wish.want_shut_down
    assert await asyncio.wait_for(leaving, 30)
    assert bench.life.session.next_deadline_ms is None


async def test_life_leaves_without_a_controller_after_a_while(bench: Bench) -> None:
    """Where the whole cluster stops there is nobody to let it go."""
    bench.become_active()
    bench.channel.is_led = False
    leaving = asyncio.ensure_future(bench.life.leave(60_000))
    await asyncio.sleep(0)
    assert not leaving.done()
    bench.clock.advance(LEADERLESS_MS_MAX)
    assert not await asyncio.wait_for(leaving, 30)


async def test_life_leaves_when_it_leads_a_quorum_without_a_majority(bench: Bench) -> None:
    """The last node of a cluster that stops is its own controller, and waits for its own answer."""
    bench.become_active()
    bench.channel.leads = True
    leaving = asyncio.ensure_future(bench.life.leave(60_000))
    await asyncio.sleep(0)
    bench.answer(BrokerHeartbeatResponse(is_caught_up=True))
    bench.clock.advance(LEADERLESS_MS_MAX - 100)
    async with asyncio.timeout(5):
        while not bench.channel.asked:  # noqa: ASYNC110 - the timer's doing
            await asyncio.sleep(0.005)
    bench.answer(BrokerHeartbeatResponse(is_caught_up=True))
    bench.clock.advance(200)
    await asyncio.sleep(0.15)
    assert not leaving.done(), "it has answered a moment ago: other brokers are being told who leads now"
    bench.clock.advance(LEADERLESS_MS_MAX)
    assert not await asyncio.wait_for(leaving, 5)


async def test_life_leave_is_bounded(bench: Bench) -> None:
    """A controller that never answers holds nobody up for longer than asked."""
    bench.become_active()
    leaving = asyncio.ensure_future(bench.life.leave(5_000))
    await asyncio.sleep(0)
    bench.clock.advance(5_000)
    assert not await asyncio.wait_for(leaving, 30)


async def test_life_that_never_began_leaves_at_once(bench: Bench) -> None:
    """A broker that failed to open its logs has nothing to hand over."""
    assert await bench.life.leave(5_000)
    assert not bench.channel.asked


async def test_life_closed_says_nothing_more(bench: Bench) -> None:
    """Neither an answer nor a new image makes it speak."""
    bench.life.start()
    ((_, answered),) = bench.channel.asked
    bench.channel.asked.clear()
    bench.life.close()
    answered(BrokerRegistrationResponse(broker_epoch=EPOCH))
    bench.publish(EPOCH)
    bench.life.controller_changed()
    assert not bench.channel.asked
    assert bench.life.epoch == -1
