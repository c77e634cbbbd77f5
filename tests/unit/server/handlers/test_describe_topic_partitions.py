"""DescribeTopicPartitions, page by page. Held against what an Apache Kafka 4.3.1 broker answered."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moldau_broker.server.handlers import create_topics, describe_topic_partitions
from moldau_broker.testing.handlers import NodeBench, call
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    TopicRequest,
)

Page = tuple[list[tuple[str | None, int, list[int]]], tuple[str, int] | None]


@pytest.fixture
async def node() -> AsyncIterator[NodeBench]:
    """Topics a, b and c of two partitions each."""
    async with NodeBench().running() as node:
        topics = [CreatableTopic(name=name, num_partitions=2, replication_factor=1) for name in "cab"]
        await call(create_topics.HANDLER, node.broker, CreateTopicsRequest(topics=topics))
        yield node


async def ask(
    node: NodeBench, *names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
) -> DescribeTopicPartitionsResponse:
    request = DescribeTopicPartitionsRequest(
        topics=[TopicRequest(name=name) for name in names],
        response_partition_limit=limit,
        cursor=None if cursor is None else Cursor(topic_name=cursor[0], partition_index=cursor[1]),
    )
    return await call(describe_topic_partitions.HANDLER, node.broker, request)


def page(response: DescribeTopicPartitionsResponse) -> Page:
    after = response.next_cursor
    return (
        [
            (topic.name, topic.error_code, [p.partition_index for p in topic.partitions])
            for topic in response.topics
        ],
        None if after is None else (after.topic_name, after.partition_index),
    )


async def test_describe_topic_partitions_tells_all_of_a_partition(node: NodeBench) -> None:
    """Leader, epoch, replicas, and empty lists where there is no ELR."""
    (topic,) = (await ask(node, "a")).topics
    assert topic.topic_id == node.bench.publisher.image.topics["a"].topic_id
    assert topic.topic_authorized_operations == 3576
    partition = topic.partitions[0]
    assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, 1, 0)
    assert (list(partition.replica_nodes), list(partition.isr_nodes), list(partition.offline_replicas)) == (
        [1],
        [1],
        [],
    )
    assert (partition.eligible_leader_replicas, partition.last_known_elr) == ([], [])


async def test_describe_topic_partitions_sorts_and_dedupes(node: NodeBench) -> None:
    """Named topics come by name, each once, unknown ones with an error."""
    assert page(await ask(node, "c", "a", "zz", "a", "x/y")) == (
        [("a", 0, [0, 1]), ("c", 0, [0, 1]), ("x/y", 17, []), ("zz", 3, [])],
        None,
    )


async def test_describe_topic_partitions_pages_through_everything(node: NodeBench) -> None:
    """Following the cursor meets each partition once, whatever the page size."""
    for limit in range(1, 8):
        seen: list[tuple[str | None, int]] = []
        cursor: tuple[str, int] | None = None
        for _ in range(20):
            described, cursor = page(await ask(node, limit=limit, cursor=cursor))
            seen += [(name, index) for name, _, indices in described for index in indices]
            assert sum(len(indices) for _, _, indices in described) <= limit
            if cursor is None:
                break
        assert seen == [(name, index) for name in "abc" for index in (0, 1)]


@pytest.mark.parametrize("limit", [1, 0, -1])
async def test_describe_topic_partitions_page_holds_at_least_one(node: NodeBench, limit: int) -> None:
    """A limit below one is one."""
    assert page(await ask(node, "a", limit=limit)) == ([("a", 0, [0])], ("a", 1))


async def test_describe_topic_partitions_page_holds_at_most_the_brokers_limit() -> None:
    """max.request.partition.size.limit, whatever the request says."""
    async with NodeBench("max.request.partition.size.limit=3").running() as node:
        topic = CreatableTopic(name="t", num_partitions=9, replication_factor=1)
        await call(create_topics.HANDLER, node.broker, CreateTopicsRequest(topics=[topic]))
        assert page(await ask(node, limit=2000)) == ([("t", 0, [0, 1, 2])], ("t", 3))


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (("a", 1), ([("a", 0, [1]), ("b", 0, [0])], ("b", 1))),
        (("b", 5), ([("b", 0, []), ("c", 0, [0, 1])], None)),
        (("aa", 0), ([("a", 42, []), ("b", 42, []), ("c", 42, [])], None)),
        (("a", -1), ([("a", 42, []), ("b", 42, []), ("c", 42, [])], None)),
    ],
)
async def test_describe_topic_partitions_cursor_among_named_topics(
    node: NodeBench, cursor: tuple[str, int], expected: Page
) -> None:
    """It must name one of them and a partition number; beyond the end there is just nothing."""
    assert page(await ask(node, "c", "b", "a", limit=2, cursor=cursor)) == expected


async def test_describe_topic_partitions_cursor_of_a_deleted_topic(node: NodeBench) -> None:
    """Among all topics the page goes on with the next one, from its first partition."""
    assert page(await ask(node, limit=2, cursor=("aa", 1))) == ([("b", 0, [0, 1])], ("c", 0))


async def test_describe_topic_partitions_full_page_leaves_unknown_topics_for_the_next(
    node: NodeBench,
) -> None:
    """Errors keep their place in the order."""
    first = await ask(node, "a", "nope", limit=2)
    assert page(first) == ([("a", 0, [0, 1])], ("nope", 0))
    assert page(await ask(node, "a", "nope", limit=2, cursor=("nope", 0))) == ([("nope", 3, [])], None)
