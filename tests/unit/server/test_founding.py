"""Who founds a quorum: never two, and nobody beside a quorum that is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.founding import is_founder
from moldau_broker.testing.scripted import Close, ScriptedBroker
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumResponse,
    DescribeQuorumResponsePartitionData,
    DescribeQuorumResponseTopicData,
)

ME = ("127.0.0.1", 1)


def told(leader_id: int, epoch: int) -> DescribeQuorumResponse:
    """What a controller says of the quorum it knows."""
    partition = DescribeQuorumResponsePartitionData(
        partition_index=0, leader_id=leader_id, leader_epoch=epoch
    )
    topic = DescribeQuorumResponseTopicData(topic_name="__cluster_metadata", partitions=[partition])
    return DescribeQuorumResponse(topics=[topic])


NOTHING = told(-1, 0)


class Said:
    """Remembers what is waited for."""

    def __init__(self) -> None:
        self.texts: list[str | None] = []

    def __call__(self, text: str | None) -> None:
        self.texts.append(text)


@pytest_asyncio.fixture
async def peers() -> AsyncIterator[list[ScriptedBroker]]:
    """Two other controllers, started."""
    made = [ScriptedBroker(2), ScriptedBroker(3)]
    for peer in made:
        await peer.start()
        peer.script(ApiKey.DESCRIBE_QUORUM, NOTHING)
    yield made
    for peer in made:
        await peer.stop()


def servers(peers: list[ScriptedBroker]) -> list[tuple[str, int]]:
    return [ME, *(("127.0.0.1", peer.port) for peer in peers)]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another party's doing
            await asyncio.sleep(0.001)


async def test_founder_alone_asks_nobody() -> None:
    """Without a list, or alone on it, there is nobody else to be."""
    said = Said()
    assert await is_founder([], [ME], said)
    assert await is_founder([ME], [ME], said)
    assert said.texts == []


async def test_founder_is_the_first_listed_only(peers: list[ScriptedBroker]) -> None:
    """Everybody else looks for the quorum, and asks nobody about it."""
    addresses = servers(peers)
    assert not await is_founder([*addresses[1:], ME], [ME], Said())
    assert not await is_founder(addresses[1:], [ME], Said())
    assert not peers[0].requests


async def test_founder_founds_when_all_others_know_none(peers: list[ScriptedBroker]) -> None:
    """The ordinary start of a new cluster."""
    assert await is_founder(servers(peers), [ME], Said())
    assert all(peer.seen(ApiKey.DESCRIBE_QUORUM) for peer in peers)


async def test_founder_joins_where_somebody_knows_a_quorum(peers: list[ScriptedBroker]) -> None:
    """One who knows a leader, or only an epoch, is enough: this node has lost its disk."""
    for answer in (told(3, 7), told(-1, 7)):
        peers[1].script(ApiKey.DESCRIBE_QUORUM, answer)
        assert not await is_founder(servers(peers), [ME], Said())


async def test_founder_does_not_wait_for_the_silent_where_somebody_knows(peers: list[ScriptedBroker]) -> None:
    """A quorum that is there is found while one of its nodes is down."""
    addresses = servers(peers)
    await peers[0].stop()
    peers[1].script(ApiKey.DESCRIBE_QUORUM, told(3, 7))
    assert not await is_founder(addresses, [ME], Said())


async def test_founder_waits_for_who_does_not_answer_and_says_so(peers: list[ScriptedBroker]) -> None:
    """Whoever cannot be asked might know a quorum; neither a broken connection nor an error is a no."""
    said = Said()
    addresses = servers(peers)
    await peers[1].stop()
    peers[0].script(
        ApiKey.DESCRIBE_QUORUM,
        Close(),
        DescribeQuorumResponse(error_code=ErrorCode.BROKER_NOT_AVAILABLE),
        NOTHING,
    )
    asked = asyncio.ensure_future(is_founder(addresses, [ME], said))
    first, second = (f"127.0.0.1:{port}" for _, port in addresses[1:])
    await eventually(lambda: bool(said.texts) and first not in str(said.texts[-1]))
    assert len(peers[0].seen(ApiKey.DESCRIBE_QUORUM)) >= 3
    assert len(said.texts) >= 3
    assert not asked.done()
    assert second in str(said.texts[-1])
    await peers[1].start()
    assert await asyncio.wait_for(asked, 30)
    assert said.texts[-1] is None
