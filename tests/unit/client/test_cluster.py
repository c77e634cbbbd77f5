"""A cluster as one peer: bootstrap, metadata, coordinators and patience."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from moldau_broker.base.clock import SystemClock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import BrokerUnreachable, RequestFailed
from moldau_broker.testing.controller import ManualClock
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from moldau_broker.wire.messages.metadata import MetadataResponse, MetadataResponseTopic


def unanswered(name: str, code: ErrorCode) -> MetadataResponse:
    return MetadataResponse(topics=[MetadataResponseTopic(name=name, error_code=code)])


async def test_cluster_learns_its_brokers(cluster: Cluster, scripted: Any) -> None:
    """First contact asks for brokers, not for topics."""
    assert [node.address for node in cluster.metadata.nodes.values()] == [scripted.bootstrap]
    assert cluster.metadata.cluster_id == "scripted"
    assert scripted.seen(ApiKey.METADATA)[0].topics == []


async def test_cluster_tries_every_bootstrap_server(scripted: Any, config: ClientConfig) -> None:
    """One live server among the ones named is enough."""
    async with Cluster(f"127.0.0.1:1,{scripted.bootstrap}", config) as cluster:
        await cluster.connect()
        assert cluster.metadata.cluster_id == "scripted"


async def test_cluster_connect_fails_at_once_unless_told_to_wait(config: ClientConfig) -> None:
    """A wrong address is not retried; the operator, which waits for a cluster to come, asks for that."""
    async with Cluster("127.0.0.1:1", replace(config, deadline_ms=60_000)) as cluster:
        with pytest.raises(BrokerUnreachable):
            await cluster.connect()


async def test_cluster_connect_waits_for_a_cluster_to_come(new_broker: Any, config: ClientConfig) -> None:
    """With wait_ms the first contact is tried again."""
    late = await new_broker()
    await late.stop()
    starting: list[asyncio.Task[None]] = []

    class Clock(SystemClock):
        looks = 0

        def monotonic_ms(self) -> int:
            self.looks += 1
            if self.looks == 2:  # the second look is the one after the first failure
                starting.append(asyncio.create_task(late.start()))
            return super().monotonic_ms()

    async with Cluster(late.bootstrap, config, clock=Clock()) as cluster:
        await cluster.connect(wait_ms=10_000)
        assert cluster.metadata.cluster_id == "scripted"
    assert len(starting) == 1


async def test_cluster_remembers_topics(cluster: Cluster, scripted: Any) -> None:
    """A topic is asked for once, not on every use."""
    first = await cluster.topic("t")
    assert await cluster.topic("t") is first
    assert [p.leader for p in first.partitions] == [1, 1]
    assert len(scripted.seen(ApiKey.METADATA)) == 2


async def test_cluster_asks_again_for_old_topics(scripted: Any, config: ClientConfig) -> None:
    """Metadata is not relied on for ever."""
    async with Cluster(scripted.bootstrap, replace(config, metadata_age_ms_max=-1)) as cluster:
        await cluster.topic("t")
        scripted.topics["t"] = [1, 1, 1]
        assert len((await cluster.topic("t")).partitions) == 3


async def test_cluster_says_at_once_that_a_topic_is_missing(cluster: Cluster, scripted: Any) -> None:
    """The code is retriable, but only for those who wait for a topic to be made."""
    with pytest.raises(RequestFailed, match="topic gone") as caught:
        await cluster.topic("gone")
    assert caught.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert len(scripted.seen(ApiKey.METADATA)) == 2


async def test_cluster_waits_for_a_topic_it_may_create(cluster: Cluster, scripted: Any) -> None:
    """With auto_create the flag is sent and the topic is waited for."""
    usual = scripted._usual
    answers = [unanswered("new", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)] * 2

    def metadata(request: Any, version: int) -> Any:
        if answers:
            return answers.pop()
        scripted.topics["new"] = [1]
        return usual(request, version)

    scripted.scripts[ApiKey.METADATA] = metadata
    assert (await cluster.topic("new", auto_create=True)).name == "new"
    assert [r.allow_auto_topic_creation for r in scripted.seen(ApiKey.METADATA)] == [False, True, True, True]


async def test_cluster_waits_for_a_leader(cluster: Cluster, scripted: Any) -> None:
    """LEADER_NOT_AVAILABLE passes by itself."""
    usual = scripted._usual
    answers = [unanswered("t", ErrorCode.LEADER_NOT_AVAILABLE)]
    scripted.scripts[ApiKey.METADATA] = lambda request, version: (
        answers.pop() if answers else usual(request, version)
    )
    assert (await cluster.topic("t")).error is ErrorCode.NONE


async def test_cluster_reconnects_after_a_broker_dropped_it(cluster: Cluster, scripted: Any) -> None:
    """A lost connection is made anew for the next attempt."""
    scripted.script(ApiKey.HEARTBEAT, HeartbeatResponse())
    scripted.drop_connections()
    answer = await cluster.ask_patiently(HeartbeatRequest(), HeartbeatResponse)
    assert answer.error_code == 0
    assert scripted.connections == 2


async def test_cluster_gives_up_at_the_deadline(
    scripted: Any, config: ClientConfig, close: Exception
) -> None:
    """The last error is the one reported."""
    clock = ManualClock()

    def hang_up(_request: HeartbeatRequest, _version: int) -> HeartbeatResponse:
        clock.advance(20)
        raise close

    scripted.scripts[ApiKey.HEARTBEAT] = hang_up
    patience = replace(config, deadline_ms=50)
    async with Cluster(scripted.bootstrap, patience, clock=clock, rng=Random(1)) as cluster:
        with pytest.raises(Exception, match="closed the connection"):
            await cluster.ask_patiently(HeartbeatRequest(), HeartbeatResponse)
    assert len(scripted.seen(ApiKey.HEARTBEAT)) == 3


async def test_cluster_asks_a_broker_by_id(cluster: Cluster, scripted: Any, new_broker: Any) -> None:
    """Requests reach the broker they are meant for, found by fresh metadata."""
    other = await new_broker(2)
    scripted.nodes.append(other)
    other.script(ApiKey.HEARTBEAT, HeartbeatResponse(error_code=27))
    answer = await cluster.ask(HeartbeatRequest(), HeartbeatResponse, node=2)
    assert answer.error_code == 27
    with pytest.raises(BrokerUnreachable, match="broker 9: the cluster does not list it"):
        await cluster.ask(HeartbeatRequest(), HeartbeatResponse, node=9)


async def test_cluster_says_which_announced_address_is_wrong(
    cluster: Cluster, scripted: Any, new_broker: Any
) -> None:
    """A broker that cannot be reached where the cluster says is named with that address."""
    other = await new_broker(2)
    await other.stop()
    scripted.nodes.append(other)
    with pytest.raises(BrokerUnreachable, match=f"broker 2 at 127.0.0.1:{other.port}: connection refused"):
        await cluster.ask(HeartbeatRequest(), HeartbeatResponse, node=2)


async def test_cluster_finds_coordinators_together_and_remembers_them(
    cluster: Cluster, scripted: Any
) -> None:
    """One request for all the groups not known yet."""
    assert await cluster.find_coordinators(["a", "b"]) == {"a": 1, "b": 1}
    assert await cluster.find_coordinators(["b", "c"]) == {"b": 1, "c": 1}
    asked = [request.coordinator_keys for request in scripted.seen(ApiKey.FIND_COORDINATOR)]
    assert asked == [["a", "b"], ["c"]]


async def test_cluster_looks_a_coordinator_up_again_after_a_failure(cluster: Cluster, scripted: Any) -> None:
    """NOT_COORDINATOR and its like make the next attempt ask who it is now."""
    scripted.script(
        ApiKey.HEARTBEAT, HeartbeatResponse(error_code=ErrorCode.NOT_COORDINATOR), HeartbeatResponse()
    )

    async def attempt() -> None:
        answer = await cluster.ask_coordinator("g", HeartbeatRequest(), HeartbeatResponse)
        if answer.error_code:
            raise RequestFailed(ErrorCode(answer.error_code), "group g")

    await cluster.retry_coordinator("g", attempt)
    assert len(scripted.seen(ApiKey.FIND_COORDINATOR)) == 2


async def test_cluster_reports_why_there_is_no_coordinator(cluster: Cluster, scripted: Any) -> None:
    """An illegal group name fails for that group, with the broker's words."""
    bad = Coordinator(key="", error_code=ErrorCode.INVALID_GROUP_ID, error_message="empty")
    scripted.script(ApiKey.FIND_COORDINATOR, FindCoordinatorResponse(coordinators=[bad]))
    with pytest.raises(RequestFailed, match="INVALID_GROUP_ID"):
        await cluster.coordinator("")


def test_backoff_grows_to_its_bound_with_jitter() -> None:
    """Waits double, stay below the bound and differ between clients. Reference: KIP-580."""
    config = ClientConfig(backoff_ms_min=100, backoff_ms_max=1_000)
    rng = Random(3)
    waits = [config.backoff_s(attempt, rng) for attempt in range(40)]
    assert 0.08 <= waits[0] <= 0.12
    assert 0.16 <= waits[1] <= 0.24
    assert all(0.8 <= wait <= 1.2 for wait in waits[4:])
    assert len(set(waits[4:])) > 1
