"""What the client's tests share: scripted brokers that stop with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

import pytest
import pytest_asyncio

from moldau_broker.client.cluster import Cluster
from moldau_broker.client.config import ClientConfig
from moldau_broker.testing.scripted import Close, ScriptedBroker, topic_id


@pytest.fixture(name="topic_id")
def topic_id_fixture() -> Callable[[str], bytes]:
    return topic_id


async def eventually(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until `condition()` holds, at most so long."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what it waits for is another party's doing
            await asyncio.sleep(0.001)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[None]]:
    return eventually


@pytest.fixture
def close() -> Close:
    """Scripted in place of an answer: close the connection."""
    return Close()


@pytest_asyncio.fixture
async def new_broker() -> AsyncIterator[Callable[..., Awaitable[ScriptedBroker]]]:
    """Makes scripted brokers, which stop with the test."""
    brokers: list[ScriptedBroker] = []

    async def make(node_id: int = 1) -> ScriptedBroker:
        broker = ScriptedBroker(node_id)
        await broker.start()
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        await broker.stop()


@pytest_asyncio.fixture
async def scripted(new_broker: Callable[..., Awaitable[ScriptedBroker]]) -> ScriptedBroker:
    """One scripted broker with the topic t of two partitions."""
    broker = await new_broker()
    broker.topics["t"] = [1, 1]
    return broker


@pytest.fixture
def config() -> ClientConfig:
    """Short back-off, so that retries cost nothing; the patience is far above what a busy machine takes away."""
    return ClientConfig(
        connect_timeout_ms=30_000,
        request_timeout_ms=30_000,
        deadline_ms=30_000,
        backoff_ms_min=1,
        backoff_ms_max=5,
    )


@pytest_asyncio.fixture
async def cluster(scripted: ScriptedBroker, config: ClientConfig) -> AsyncIterator[Cluster]:
    """A client connected to the scripted broker."""
    async with Cluster(scripted.bootstrap, config, rng=Random(1)) as client:
        await client.connect()
        yield client
