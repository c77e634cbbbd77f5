"""Twenty thousand partitions are told page by page: the operator's event loop is never held for long."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Self

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.topic_pages import topic_pages
from moldau_broker.client.admin.topics import list_topics
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.metadata import TopicInfo
from moldau_broker.testing.broker import ApiKey, EmbeddedBroker
from moldau_broker.wire.messages.api_versions import ApiVersion, ApiVersionsResponse
from moldau_broker.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)
from moldau_operator.adapters.brokers import KafkaAdmin
from moldau_operator.seams.broker_admin import PartitionView

HOLD_MS_MAX = 50.0


class Teller:
    """Tells of a cluster that is too large to be made in a test: topics and their partitions, in pages."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self.places = [(name, number) for name in sorted(topics) for number in range(topics[name])]
        self.largest = 0

    def __call__(
        self, _context: object, request: DescribeTopicPartitionsRequest
    ) -> DescribeTopicPartitionsResponse:
        first = 0
        if request.cursor is not None:
            first = self.places.index((request.cursor.topic_name, request.cursor.partition_index))
        page = self.places[first : first + request.response_partition_limit]
        self.largest = max(self.largest, len(page))
        by_topic: dict[str, list[int]] = {}
        for name, number in page:
            by_topic.setdefault(name, []).append(number)
        rest = self.places[first + len(page) : first + len(page) + 1]
        return DescribeTopicPartitionsResponse(
            topics=[
                DescribeTopicPartitionsResponseTopic(
                    name=name,
                    topic_id=name.encode().rjust(16, bytes(1)),
                    partitions=[
                        DescribeTopicPartitionsResponsePartition(
                            partition_index=number,
                            leader_id=number % 5 or -1,
                            replica_nodes=[number % 5, (number + 1) % 5, (number + 2) % 5],
                            isr_nodes=[number % 5, (number + 1) % 5],
                        )
                        for number in numbers
                    ],
                )
                for name, numbers in by_topic.items()
            ],
            next_cursor=Cursor(topic_name=rest[0][0], partition_index=rest[0][1]) if rest else None,
        )


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
async def admin(broker: EmbeddedBroker) -> AsyncIterator[KafkaAdmin]:
    admin = KafkaAdmin(lambda: broker.bootstrap)
    await admin.describe_cluster()
    yield admin
    await admin.close()


class Holds:
    """Looks in at every turn of the loop: how much processor time of its thread the longest turn took."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def __aenter__(self) -> Self:
        gc.collect()  # what the tests before have left is not the listing's to be walked
        gc.freeze()
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_ms = max(self.longest_ms, (time.thread_time() - before) * 1_000)


@pytest.mark.parametrize(
    "topics",
    [{"one": 20_000}, {f"t{number:05}": 10 for number in range(2_000)}],
    ids=["one_topic", "many_topics"],
)
async def test_a_large_list_holds_the_loop_for_moments_only(
    broker: EmbeddedBroker, admin: KafkaAdmin, topics: dict[str, int]
) -> None:
    """All partitions arrive, in order and counted right, and no turn of the loop takes fifty milliseconds."""
    teller = Teller(topics)
    with broker.control(ApiKey.DESCRIBE_TOPIC_PARTITIONS, teller) as control:
        async with Holds() as holds:
            found = await admin.list_topics()
        assert control.used >= 20
    assert teller.largest < 20_000
    assert holds.longest_ms < HOLD_MS_MAX
    assert {name: view.partitions for name, view in found.items()} == topics
    first = next(iter(found.values()))
    assert first.placement[7] == PartitionView(2, (2, 3, 4), (2, 3))
    assert sum(view.leaderless for view in found.values()) == 4_000
    assert {view.replicas for view in found.values()} == {3}


async def test_the_watch_sees_what_holds_the_loop() -> None:
    """A turn that works for sixty milliseconds is one: the test above could fail."""

    async def work() -> None:
        end = time.thread_time() + 0.06
        while time.thread_time() < end:
            pass

    async with Holds() as holds:
        await work()
        await asyncio.sleep(0)
    assert holds.longest_ms >= HOLD_MS_MAX


async def test_settings_of_many_topics_hold_it_for_moments_only(
    broker: EmbeddedBroker, admin: KafkaAdmin
) -> None:
    """Three hundred topics are described with their settings, some thirty each."""
    names = [broker.create_topic(f"s{number}") for number in range(300)]
    async with Holds() as holds:
        found = await admin.describe_topics(names)
    assert found.keys() == set(names)
    assert holds.longest_ms < HOLD_MS_MAX


async def test_pages_tell_what_one_answer_tells(broker: EmbeddedBroker, admin: KafkaAdmin) -> None:
    """Of a real broker, whatever the size of a page: the same topics, ids and replicas, each partition once."""
    for number in range(3):
        broker.create_topic(f"p{number}", partitions=1 + number * 2)
    async with Cluster(broker.bootstrap) as cluster:
        whole = {topic.name: topic for topic in await list_topics(cluster)}
        for size in (1, 2, 4, 100):
            found: dict[str, TopicInfo] = {}
            async for page in topic_pages(cluster, partitions=size):
                assert sum(len(topic.partitions) for topic in page) <= size
                for topic in page:
                    before = found[topic.name].partitions if topic.name in found else ()
                    found[topic.name] = replace(topic, partitions=before + topic.partitions)
            assert found == whole
        named = [topic async for page in topic_pages(cluster, ["p1", "nowhere"]) for topic in page]
        assert [(topic.name, topic.error) for topic in named] == [
            ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            ("p1", ErrorCode.NONE),
        ]
        assert [page async for page in topic_pages(cluster, [])] == []
    assert (await admin.list_topics())["p2"].partitions == 5


async def test_a_broker_that_knows_no_pages_is_asked_for_everything_at_once(broker: EmbeddedBroker) -> None:
    """Kafka before 3.8, say, where `moldau balance` is used on it."""
    broker.create_topic("old", partitions=3)

    def without(_context: object, _request: object) -> ApiVersionsResponse:
        return ApiVersionsResponse(
            api_keys=[
                ApiVersion(api_key=int(key), min_version=0, max_version=at)
                for key, at in {
                    ApiKey.API_VERSIONS: 3,
                    ApiKey.METADATA: 12,
                    ApiKey.DESCRIBE_CLUSTER: 0,
                }.items()
            ]
        )

    with broker.control(ApiKey.API_VERSIONS, without):
        admin = KafkaAdmin(lambda: broker.bootstrap)
        found = await admin.list_topics()
        await admin.close()
    assert found["old"].partitions == 3
