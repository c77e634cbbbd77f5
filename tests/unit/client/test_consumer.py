"""Reading partitions: positions, ends, and what happens when a broker says no."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer import Consumer, ConsumerConfig, find_offsets
from moldau_broker.client.errors import ProtocolViolation, RequestFailed
from moldau_broker.client.partitions import EARLIEST, LATEST, TopicPartition
from moldau_broker.testing.scripted import ScriptedBroker
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionData,
)
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from moldau_broker.wire.records import Record, build_batch

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Shelf:
    """A scripted broker's partitions: one batch for each list of values, read from any offset."""

    def __init__(self, topic_id: Callable[[str], bytes]) -> None:
        self._topic_id = topic_id
        self.batches: dict[int, list[bytes]] = {0: [], 1: []}
        self.ends = {0: 0, 1: 0}
        self.start = 0
        self.errors: dict[int, list[ErrorCode]] = {}

    def put(self, partition: int, *values: bytes) -> None:
        base = self.ends[partition]
        records = [Record(base + i, 1_000 + base + i, None, value) for i, value in enumerate(values)]
        self.batches[partition].append(bytes(build_batch(records, base_offset=base)))
        self.ends[partition] = base + len(values)

    def fetch(self, request: FetchRequest, version: int) -> FetchResponse:
        topics = []
        for topic in request.topics:
            parts = [self._fetch(p.partition, p.fetch_offset) for p in topic.partitions]
            topics.append(
                FetchableTopicResponse(topic_id=topic.topic_id, topic=topic.topic, partitions=parts)
            )
        return FetchResponse(responses=topics)

    def _fetch(self, partition: int, offset: int) -> PartitionData:
        high = self.ends[partition]
        if self.errors.get(partition):
            return PartitionData(partition_index=partition, error_code=self.errors[partition].pop(0))
        if not self.start <= offset <= high:
            return PartitionData(partition_index=partition, error_code=ErrorCode.OFFSET_OUT_OF_RANGE)
        data = b""
        base = 0
        for batch in self.batches[partition]:
            base = int.from_bytes(batch[:8], "big")
            last = base + int.from_bytes(batch[23:27], "big")
            if last >= offset:
                data += batch
        return PartitionData(partition_index=partition, high_watermark=high, records=memoryview(data))

    def list_offsets(self, request: ListOffsetsRequest, version: int) -> ListOffsetsResponse:
        topics = []
        for topic in request.topics:
            parts = [
                ListOffsetsPartitionResponse(
                    partition_index=p.partition_index, offset=self._find(p.partition_index, p.timestamp)
                )
                for p in topic.partitions
            ]
            topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=parts))
        return ListOffsetsResponse(topics=topics)

    def _find(self, partition: int, timestamp: int) -> int:
        if timestamp == EARLIEST:
            return self.start
        if timestamp == LATEST:
            return self.ends[partition]
        offset = max(timestamp - 1_000, 0)
        return offset if offset < self.ends[partition] else -1


@pytest.fixture
def shelf(scripted: Any, topic_id: Callable[[str], bytes]) -> Shelf:
    made = Shelf(topic_id)
    scripted.scripts[ApiKey.FETCH] = made.fetch
    scripted.scripts[ApiKey.LIST_OFFSETS] = made.list_offsets
    return made


async def read_to_the_end(consumer: Consumer) -> list[tuple[int, int, bytes | None]]:
    """Every record as (partition, offset, value), until all partitions are at their end."""
    found = []
    async with asyncio.timeout(30):
        while not all(consumer.at_end(partition) for partition in consumer.positions):
            for partition, records in await consumer.poll(100):
                found += [(partition.partition, record.offset, record.value) for record in records]
    return found


@pytest.mark.parametrize("version", [11, 12, 13, 18])
async def test_consumer_reads_what_is_there(
    cluster: Cluster, scripted: Any, shelf: Shelf, version: int
) -> None:
    """Every record once and in order, whether topics are named by name or by id."""
    scripted.served[ApiKey.FETCH] = (4, version)
    scripted.drop_connections()
    shelf.put(0, b"a", b"b")
    shelf.put(0, b"c")
    shelf.put(1, b"x")
    consumer = Consumer(cluster)
    consumer.assign({P0: 0, P1: 0})
    assert sorted(await read_to_the_end(consumer)) == [(0, 0, b"a"), (0, 1, b"b"), (0, 2, b"c"), (1, 0, b"x")]
    assert consumer.positions == {P0: 3, P1: 1}
    await consumer.close()


async def test_consumer_begins_inside_a_batch(cluster: Cluster, shelf: Shelf) -> None:
    """The records of the batch before the wanted offset are left out."""
    shelf.put(0, b"a", b"b", b"c")
    consumer = Consumer(cluster)
    consumer.assign({P0: 2})
    assert await read_to_the_end(consumer) == [(0, 2, b"c")]
    await consumer.close()


async def test_consumer_poll_returns_empty_handed_in_time(cluster: Cluster, shelf: Shelf) -> None:
    """Nothing new is not an error."""
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    assert await consumer.poll(20) == []
    await consumer.close()


async def test_consumer_without_partitions_waits_quietly(cluster: Cluster) -> None:
    """A group member may have no share."""
    consumer = Consumer(cluster)
    assert await consumer.poll(10) == []
    await consumer.close()


async def test_consumer_keeps_its_position_when_a_poll_is_cancelled(
    cluster: Cluster, scripted: Any, shelf: Shelf, eventually: Any
) -> None:
    """Records that had arrived and were given to nobody are read again, not passed over."""
    shelf.put(0, b"a")
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    await cluster.refresh(["t"])
    known = len(scripted.seen(ApiKey.METADATA))

    def fetch(request: FetchRequest, version: int) -> FetchResponse:
        cluster.forget(["t"])  # the next fetch has to ask who leads, and gets no answer
        scripted.script(ApiKey.METADATA, None)
        return shelf.fetch(request, version)

    scripted.scripts[ApiKey.FETCH] = fetch
    polling = asyncio.create_task(consumer.poll(30_000))
    await eventually(lambda: len(scripted.seen(ApiKey.METADATA)) > known)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert consumer.positions == {P0: 0}
    scripted.scripts[ApiKey.FETCH] = shelf.fetch
    del scripted.scripts[ApiKey.METADATA]
    scripted.drop_connections()
    assert await read_to_the_end(consumer) == [(0, 0, b"a")]
    await consumer.close()


async def test_consumer_sees_records_that_come_later(cluster: Cluster, shelf: Shelf) -> None:
    """Polling goes on at the position reached."""
    shelf.put(0, b"a")
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    await read_to_the_end(consumer)
    shelf.put(0, b"b")
    async with asyncio.timeout(30):
        while not (fetched := await consumer.poll(100)):
            pass
    assert [record.value for record in fetched[0].records] == [b"b"]
    await consumer.close()


async def test_consumer_raises_when_its_offset_is_gone(cluster: Cluster, shelf: Shelf) -> None:
    """Without a policy the caller decides; the error names partition and offset."""
    shelf.put(0, b"a", b"b")
    shelf.start = 1
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    with pytest.raises(RequestFailed, match="partition t-0 at offset 0: OFFSET_OUT_OF_RANGE"):
        await consumer.poll(30_000)
    consumer.assign({P0: 1})
    assert await read_to_the_end(consumer) == [(0, 1, b"b")]
    await consumer.close()


@pytest.mark.parametrize(("policy", "offset"), [(EARLIEST, 1), (LATEST, 2)])
async def test_consumer_goes_where_its_policy_says(
    cluster: Cluster, shelf: Shelf, policy: int, offset: int
) -> None:
    """Out of range with a policy continues at that end."""
    shelf.put(0, b"a", b"b")
    shelf.start = 1
    consumer = Consumer(cluster, ConsumerConfig(on_out_of_range=policy))
    consumer.assign({P0: 0})
    records = await read_to_the_end(consumer)
    assert [found for _, found, _ in records] == list(range(offset, 2))
    await consumer.close()


async def test_consumer_follows_the_leader(cluster: Cluster, scripted: Any, shelf: Shelf) -> None:
    """NOT_LEADER makes it ask for metadata and try again."""
    shelf.put(0, b"a")
    shelf.errors[0] = [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    assert await read_to_the_end(consumer) == [(0, 0, b"a")]
    assert len([r for r in scripted.seen(ApiKey.METADATA) if r.topics]) == 2
    await consumer.close()


async def test_consumer_survives_a_lost_connection(
    cluster: Cluster, scripted: Any, shelf: Shelf, close: Exception
) -> None:
    """A fetch that got no answer is repeated."""
    shelf.put(0, b"a")
    lost = [close]

    def fetch(request: FetchRequest, version: int) -> FetchResponse:
        if lost:
            raise lost.pop()
        return shelf.fetch(request, version)

    scripted.scripts[ApiKey.FETCH] = fetch
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    assert await read_to_the_end(consumer) == [(0, 0, b"a")]
    await consumer.close()


async def test_consumer_gives_good_records_before_a_bad_partition(cluster: Cluster, shelf: Shelf) -> None:
    """What one partition gave is not lost because another cannot be read."""
    shelf.put(0, b"a")
    shelf.errors[1] = [ErrorCode.TOPIC_AUTHORIZATION_FAILED] * 9
    consumer = Consumer(cluster)
    consumer.assign({P0: 0, P1: 0})
    [fetched] = await consumer.poll(30_000)
    assert fetched.partition == P0
    with pytest.raises(RequestFailed, match="TOPIC_AUTHORIZATION_FAILED"):
        await consumer.poll(30_000)
    await consumer.close()


async def test_consumer_names_a_damaged_batch(cluster: Cluster, shelf: Shelf) -> None:
    """The error says where the damage is."""
    shelf.put(0, b"a")
    damaged = bytearray(shelf.batches[0][0])
    damaged[-2] ^= 1
    shelf.batches[0][0] = bytes(damaged)
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    with pytest.raises(ProtocolViolation, match="partition t-0 at offset 0"):
        await consumer.poll(30_000)
    await consumer.close()


async def test_consumer_says_that_a_partition_is_missing(cluster: Cluster, shelf: Shelf) -> None:
    """Waiting for it would be in vain."""
    consumer = Consumer(cluster)
    consumer.assign({TopicPartition("t", 7): 0})
    with pytest.raises(RequestFailed, match="partition 7 of topic t"):
        await consumer.poll(30_000)
    await consumer.close()


async def test_consumer_drops_what_was_fetched_for_another_position(cluster: Cluster, shelf: Shelf) -> None:
    """After a new assignment nothing of the old one is given."""
    shelf.put(0, b"a")
    shelf.put(0, b"b")
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    await consumer.poll(0)  # starts the fetch from offset 0
    consumer.assign({P0: 1})
    assert await read_to_the_end(consumer) == [(0, 1, b"b")]
    await consumer.close()


async def test_find_offsets_goes_to_the_end_where_no_record_is_young_enough(
    cluster: Cluster, shelf: Shelf
) -> None:
    """By time, by name, and the end as fallback."""
    shelf.put(0, b"a", b"b", b"c")
    assert await find_offsets(cluster, {P0: 1_001}) == {P0: 1}
    assert await find_offsets(cluster, {P0: 9_999, P1: EARLIEST}) == {P0: 3, P1: 0}


async def test_consumer_goes_where_a_refusal_sends_it(
    cluster: Cluster, scripted: Any, shelf: Shelf, topic_id: Callable[[str], bytes]
) -> None:
    """The leader that came with the error is read from at once, without new metadata. Reference: KIP-951."""
    elsewhere = ScriptedBroker(2)
    await elsewhere.start()
    there = Shelf(topic_id)
    there.put(0, b"moved")
    elsewhere.scripts[ApiKey.FETCH] = there.fetch
    refusal = PartitionData(
        partition_index=0,
        error_code=ErrorCode.FENCED_LEADER_EPOCH,
        current_leader=LeaderIdAndEpoch(leader_id=2, leader_epoch=1),
    )
    scripted.script(
        ApiKey.FETCH,
        FetchResponse(
            responses=[FetchableTopicResponse(topic_id=topic_id("t"), topic="t", partitions=[refusal])],
            node_endpoints=[NodeEndpoint(node_id=2, host="127.0.0.1", port=elsewhere.port)],
        ),
    )
    consumer = Consumer(cluster)
    consumer.assign({P0: 0})
    [fetched] = await consumer.poll(30_000)
    await consumer.close()
    await elsewhere.stop()
    assert [record.value for record in fetched.records] == [b"moved"]
    assert len(scripted.seen(ApiKey.FETCH)) == 1
    assert len([r for r in scripted.seen(ApiKey.METADATA) if r.topics]) == 1
