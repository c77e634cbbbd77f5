"""A broker that does not lead says who does, and a client that listens asks nobody for metadata (KIP-951)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.elections import elect_leaders
from moldau_broker.client.admin.reassignments import alter_reassignments
from moldau_broker.client.admin.topics import CreatedTopic, NewTopic, create_topics
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer import Consumer
from moldau_broker.client.metadata import Metadata
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.client.producer import Producer
from moldau_broker.testing.cluster import HOST, ProcessCluster
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from moldau_broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(3, node_settings={2: {"broker.rack": "b"}}) as made:
        yield made


class CountingCluster(Cluster):
    """Counts how often it is asked about topics."""

    asked = 0

    async def refresh(self, topics: Iterable[str] | None, *, auto_create: bool = False) -> Metadata:
        names = None if topics is None else list(topics)
        self.asked += names != []
        return await super().refresh(names, auto_create=auto_create)


async def make_topic(cluster: Cluster, name: str, assignment: list[list[int]]) -> bytes:
    new = NewTopic(name=name, assignment=dict(enumerate(assignment)))
    made = (await create_topics(cluster, [new]))[name]
    assert isinstance(made, CreatedTopic), made
    return made.topic_id


def all_know(cluster: ProcessCluster, name: str, leader: int) -> None:
    """Wait until every broker's metadata has that leader: an answer may leave before the last one has heard."""
    request = MetadataRequest(topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=False)

    def agreed() -> bool:
        answers = [node.ask(ApiKey.METADATA, 12, request) for node in cluster.nodes.values()]
        return all([one.leader_id for one in answer.topics[0].partitions] == [leader] for answer in answers)

    cluster.wait(f"every broker knows that {leader} leads {name}", agreed)


@pytest.mark.parametrize("asked", [1, 3])
async def test_every_broker_names_the_leader_and_its_address(cluster: ProcessCluster, asked: int) -> None:
    """One that follows, and one that holds no replica at all."""
    name = f"hinted-{asked}"
    async with Cluster(cluster.bootstrap) as client:
        topic_id = await make_topic(client, name, [[2, 1]])
    all_know(cluster, name, 2)
    at = [(2, HOST, cluster.node(2).port, "b")]
    partition = FetchPartition(partition=0, partition_max_bytes=1 << 20)
    for version in (15, 16, 18):
        request = FetchRequest(topics=[FetchTopic(topic_id=topic_id, partitions=[partition])])
        answer = cluster.node(asked).ask(ApiKey.FETCH, version, request)
        (data,) = answer.responses[0].partitions
        assert data.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        nodes = [(one.node_id, one.host, one.port, one.rack) for one in answer.node_endpoints]
        assert (data.current_leader.leader_id, nodes) == ((2, at) if version >= 16 else (-1, []))
    for version in (9, 10, 13):
        data = PartitionProduceData(index=0, records=memoryview(make_batch((b"v",))))
        topic = TopicProduceData(name=name, topic_id=topic_id, partition_data=[data])
        produce = ProduceRequest(acks=-1, timeout_ms=5_000, topic_data=[topic])
        answer = cluster.node(asked).ask(ApiKey.PRODUCE, version, produce)
        (told,) = answer.responses[0].partition_responses
        assert told.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        nodes = [(one.node_id, one.host, one.port, one.rack) for one in answer.node_endpoints]
        assert (told.current_leader.leader_id, nodes) == ((2, at) if version >= 10 else (-1, []))


async def test_client_follows_a_leader_that_moved_without_asking(cluster: ProcessCluster) -> None:
    """Producer and consumer keep working on what the refusals tell them."""
    moved = TopicPartition("moved", 0)
    async with Cluster(cluster.bootstrap) as admin, CountingCluster(cluster.bootstrap) as client:
        await make_topic(admin, "moved", [[1, 2, 3]])
        consumer = Consumer(client)
        consumer.assign({moved: 0})
        async with Producer(client) as producer:
            await producer.send("moved", value=b"0", partition=0)
            await producer.flush()
            assert client.asked == 1
            for turn, leader in enumerate((2, 3, 1), 1):
                order = [leader, *(node for node in (1, 2, 3) if node != leader)]
                assert await alter_reassignments(admin, {moved: order}) == {moved: None}
                assert await elect_leaders(admin, [moved]) == {moved: True}
                all_know(cluster, "moved", leader)
                await producer.send("moved", value=b"%d" % turn, partition=0)
                await producer.flush()
                known = client.metadata.partition(moved)
                assert known is not None
                assert known.leader == leader
        seen: list[bytes | None] = []
        while len(seen) < 4:
            seen += [record.value for fetched in await consumer.poll(5_000) for record in fetched.records]
        await consumer.close()
        assert seen == [b"0", b"1", b"2", b"3"]
        assert client.asked == 1
