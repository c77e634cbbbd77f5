"""Metadata, every version. Held against what an Apache Kafka 4.3.1 broker answered to the same requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.just_fenced import STILL_NAMED_MS
from moldau_broker.server.handlers import create_topics, delete_topics, metadata
from moldau_broker.testing.handlers import NodeBench, call, versions
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

NO_OPERATIONS = -(2**31)


@pytest.fixture
async def node() -> AsyncIterator[NodeBench]:
    """A broker with topics b (2 partitions), a and c."""
    async with NodeBench().running() as node:
        topics = [
            CreatableTopic(name=name, num_partitions=count, replication_factor=1)
            for name, count in (("b", 2), ("a", 1), ("c", 1))
        ]
        await call(create_topics.HANDLER, node.broker, CreateTopicsRequest(topics=topics))
        yield node


async def ask(
    node: NodeBench,
    *topics: str | tuple[str | None, bytes],
    version: int = 13,
    auto: bool = False,
    **fields: bool,
) -> MetadataResponse:
    wanted = [
        MetadataRequestTopic(name=topic)
        if isinstance(topic, str)
        else MetadataRequestTopic(name=topic[0], topic_id=topic[1])
        for topic in topics
    ]
    request = MetadataRequest(topics=wanted, allow_auto_topic_creation=auto, **fields)
    return await call(metadata.HANDLER, node.broker, request, version)


def answers(response: MetadataResponse) -> list[tuple[int, str | None]]:
    return [(topic.error_code, topic.name) for topic in response.topics]


@pytest.mark.parametrize("version", versions(metadata.HANDLER))
async def test_metadata_describes_cluster_and_topic(node: NodeBench, version: int) -> None:
    """Broker, controller, cluster id, and a topic's partitions, as far as the version can say it."""
    response = await ask(node, "b", version=version)
    (broker,) = response.brokers
    assert (broker.node_id, broker.host, broker.port) == (1, "127.0.0.1", 9092)
    assert response.controller_id == (1 if version >= 1 else -1)
    assert response.cluster_id == (node.bench.cluster_id if version >= 2 else None)
    (topic,) = response.topics
    assert (topic.error_code, topic.name, topic.is_internal) == (0, "b", False)
    image = node.bench.publisher.image.topics["b"]
    assert topic.topic_id == (image.topic_id if version >= 10 else NULL_UUID)
    assert topic.topic_authorized_operations == NO_OPERATIONS
    assert [(p.partition_index, p.error_code, p.leader_id) for p in topic.partitions] == [
        (0, 0, 1),
        (1, 0, 1),
    ]
    for partition in topic.partitions:
        assert list(partition.replica_nodes) == list(partition.isr_nodes) == [1]
        assert list(partition.offline_replicas) == []
        assert partition.leader_epoch == (0 if version >= 7 else -1)
    assert response.error_code == 0
    assert response.cluster_authorized_operations == NO_OPERATIONS


@pytest.mark.parametrize("version", versions(metadata.HANDLER))
async def test_metadata_empty_list_is_all_topics_in_version_0_only(node: NodeBench, version: int) -> None:
    """From v1 on null is all and empty is none."""
    assert len((await ask(node, version=version)).topics) == (3 if version == 0 else 0)
    if version >= 1:
        everything = await call(metadata.HANDLER, node.broker, MetadataRequest(topics=None), version)
        assert {topic.name for topic in everything.topics} == {"a", "b", "c"}


async def test_metadata_answers_each_topic_once_in_the_order_asked(node: NodeBench) -> None:
    """Repeated names do not repeat answers."""
    assert answers(await ask(node, "c", "a", "c")) == [(0, "c"), (0, "a")]


@pytest.mark.parametrize("version", versions(metadata.HANDLER))
async def test_metadata_unknown_and_illegal_names(node: NodeBench, version: int) -> None:
    """UNKNOWN_TOPIC_OR_PARTITION and INVALID_TOPIC_EXCEPTION; neither hides the good ones."""
    response = await ask(node, "nope", "x/y", "", "..", "a" * 250, "a", version=version)
    assert [error for error, _ in answers(response)] == [3, 17, 17, 17, 17, 0]


@pytest.mark.parametrize("version", [12, 13])
async def test_metadata_by_id(node: NodeBench, version: int) -> None:
    """An id finds its topic, wins over a name, or is UNKNOWN_TOPIC_ID; null without an id is refused."""
    a, b = (node.bench.publisher.image.topics[name].topic_id for name in "ab")
    response = await ask(node, (None, a), ("a", b), (None, b"q" * 16), (None, NULL_UUID), version=version)
    assert answers(response) == [(0, "a"), (0, "b"), (100, None), (42, "")]
    assert response.topics[2].topic_id == b"q" * 16


@pytest.mark.parametrize("version", [10, 11])
async def test_metadata_ids_are_refused_where_they_cannot_be_looked_up(node: NodeBench, version: int) -> None:
    """v10 and v11 carry ids and nullable names, and answer INVALID_REQUEST to both, with nothing else in the answer."""
    topic_id = node.bench.publisher.image.topics["a"].topic_id
    for wanted in ((None, topic_id), ("a", topic_id), (None, NULL_UUID)):
        response = await ask(node, wanted, version=version)
        assert [(topic.error_code, topic.name or "") for topic in response.topics] == [(42, wanted[0] or "")]
        assert (list(response.brokers), response.controller_id, response.cluster_id) == ([], -1, None)


async def settle(node: NodeBench, name: str) -> bool:
    """Whether the topic comes to be within a few turns of the loop."""
    for _ in range(50):
        if name in node.bench.publisher.image.topics:
            return True
        await asyncio.sleep(0)
    return False


@pytest.mark.parametrize("version", versions(metadata.HANDLER))
async def test_metadata_creates_unknown_topics_if_asked(node: NodeBench, version: int) -> None:
    """Answered UNKNOWN_TOPIC_OR_PARTITION first, there soon after; before v4 asking is enough."""
    response = await ask(node, "new", version=version, auto=True)
    assert answers(response) == [(3, "new")]
    assert await settle(node, "new")
    assert answers(await ask(node, "new", version=version, auto=True)) == [(0, "new")]


@pytest.mark.parametrize("version", [4, 13])
async def test_metadata_creates_nothing_without_the_flag(node: NodeBench, version: int) -> None:
    """Admin clients look without touching."""
    await ask(node, "new", version=version, auto=False)
    assert not await settle(node, "new")


@pytest.mark.parametrize("name", ["x/y", "__cluster_metadata", "__transaction_state"])
async def test_metadata_never_creates_what_must_not_be(node: NodeBench, name: str) -> None:
    """Illegal names, the metadata log, and the topic of transactions, which are not served yet."""
    await ask(node, name, auto=True)
    assert not await settle(node, name)


async def test_metadata_creates_the_offsets_topic_with_its_own_settings(node: NodeBench) -> None:
    """Internal before and after it exists."""
    (before,) = (await ask(node, "__consumer_offsets", auto=True)).topics
    assert (before.error_code, before.is_internal) == (3, True)
    assert await settle(node, "__consumer_offsets")
    (after,) = (await ask(node, "__consumer_offsets")).topics
    assert (after.error_code, after.is_internal, len(after.partitions)) == (0, True, 50)


async def test_metadata_auto_creation_can_be_turned_off() -> None:
    """auto.create.topics.enable=false, whatever the request says."""
    async with NodeBench("auto.create.topics.enable=false").running() as node:
        assert answers(await ask(node, "new", auto=True)) == [(3, "new")]
        assert not await settle(node, "new")


@pytest.mark.parametrize("version", [8, 9, 10])
async def test_metadata_tells_authorized_operations_when_asked(node: NodeBench, version: int) -> None:
    """All of them, as there is no authorizer, and as in Kafka of topics that do not exist too (KIP-430)."""
    response = await ask(
        node,
        "a",
        "nope",
        version=version,
        include_cluster_authorized_operations=True,
        include_topic_authorized_operations=True,
    )
    assert response.cluster_authorized_operations == 8096
    assert [topic.topic_authorized_operations for topic in response.topics] == [3576, 3576]
    again = await ask(node, "a", version=version)
    assert again.topics[0].topic_authorized_operations == NO_OPERATIONS


async def test_metadata_of_a_listener_names_that_listeners_addresses(node: NodeBench) -> None:
    """A listener no broker advertises has no brokers and no reachable leaders."""
    request = MetadataRequest(topics=[MetadataRequestTopic(name="a")])
    response = await call(metadata.HANDLER, node.broker, request, listener="OTHER")
    assert (list(response.brokers), response.controller_id) == ([], -1)
    assert response.topics[0].partitions[0].error_code == ErrorCode.LISTENER_NOT_FOUND
    assert response.topics[0].partitions[0].leader_id == -1


async def test_metadata_shows_deletions_at_once(node: NodeBench) -> None:
    """A view made before does not linger."""

    await ask(node, "a")
    await call(
        delete_topics.HANDLER,
        node.broker,
        DeleteTopicsRequest(topics=[DeleteTopicState(name="a")], timeout_ms=1),
    )
    assert answers(await ask(node, "a", "b")) == [(3, "a"), (0, "b")]


async def test_metadata_of_a_topic_names_a_broker_that_was_just_fenced(node: NodeBench) -> None:
    """Whoever has to turn to another leader keeps the old one in its list; tools see who is up."""
    image = node.broker.metadata.image
    gone = image.brokers[1]._replace(id=2, fenced=True)
    down = image._replace(offset=image.offset + 1, brokers={**image.brokers, 2: gone})
    up = down._replace(offset=image.offset, brokers={**image.brokers, 2: gone._replace(fenced=False)})
    node.broker.metadata.publish(down)
    node.broker.just_fenced.note(MetadataDelta(up, down), node.bench.clock.monotonic_ms())
    assert [one.node_id for one in (await ask(node, "b")).brokers] == [1, 2]
    assert [one.node_id for one in (await ask(node)).brokers] == [1]
    node.bench.clock.advance(STILL_NAMED_MS)
    assert [one.node_id for one in (await ask(node, "b")).brokers] == [1]
