"""What a producer sends, what it does with each answer, and what its caller learns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import DeliveryFailed, RequestFailed
from moldau_broker.client.partitioner import RoundRobinPartitioner
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.client.producer import Producer
from moldau_broker.client.producer_config import ACKS_ALL, ACKS_LEADER, ACKS_NONE, ProducerConfig
from moldau_broker.testing.broker import SkewedClock
from moldau_broker.testing.scripted import ScriptedBroker
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.init_producer_id import InitProducerIdResponse
from moldau_broker.wire.messages.produce import (
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from moldau_broker.wire.records import BatchHeader, parse_header, read_records
from moldau_broker.wire.schema import replace


class Log:
    """Partitions of a scripted broker: appends what it is sent, after the errors it is told to give first."""

    def __init__(self, topic_id: Callable[[str], bytes], *errors: ErrorCode | None) -> None:
        self._topic_id = topic_id
        self._errors = list(errors)
        self.batches: list[tuple[int, BatchHeader, list[bytes | None]]] = []
        self.refused: list[bytes] = []
        self.ends: dict[int, int] = {}

    def __call__(self, request: ProduceRequest, version: int) -> ProduceResponse | None:
        answers = []
        for topic in request.topic_data:
            assert topic.topic_id == self._topic_id("t") if version >= 13 else topic.name == "t"
            answers += [self._append(data.index, data.records) for data in topic.partition_data]
        answer = TopicProduceResponse(topic_id=self._topic_id("t"), name="t", partition_responses=answers)
        return None if request.acks == 0 else ProduceResponse(responses=[answer])

    def _append(self, index: int, records: Any) -> PartitionProduceResponse:
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            self.refused.append(bytes(records))
            return PartitionProduceResponse(index=index, error_code=error, base_offset=-1)
        values = [record.value for record in read_records(records)]
        self.batches.append((index, parse_header(records), values))
        base = self.ends.get(index, 0)
        self.ends[index] = base + len(values)
        return PartitionProduceResponse(index=index, base_offset=base)

    @property
    def values(self) -> list[bytes | None]:
        return [value for _, _, values in self.batches for value in values]


@pytest.fixture
def log(scripted: Any, topic_id: Callable[[str], bytes]) -> Callable[..., Log]:
    """Installs a log on the scripted broker, and producer ids 100, 101, ..."""

    def install(*errors: ErrorCode | None) -> Log:
        made = Log(topic_id, *errors)
        scripted.scripts[ApiKey.PRODUCE] = made
        ids = [InitProducerIdResponse(producer_id=100 + n, producer_epoch=0) for n in range(5)]
        scripted.script(ApiKey.INIT_PRODUCER_ID, *ids)
        return made

    return install


@pytest.mark.parametrize("version", [9, 12, 13])
async def test_producer_tells_where_each_record_went(
    cluster: Cluster, scripted: Any, log: Any, version: int
) -> None:
    """Offsets come back for each record, whether topics are named by name or by id."""
    scripted.served[ApiKey.PRODUCE] = (3, version)
    scripted.drop_connections()
    log()
    async with Producer(cluster) as producer:
        futures = [await producer.send("t", value=b"%d" % n, partition=1) for n in range(3)]
    assert [future.result() for future in futures] == [
        (TopicPartition("t", 1), offset) for offset in range(3)
    ]
    assert producer.delivered == 3


async def test_producer_sends_key_value_headers_and_time(cluster: Cluster, scripted: Any, log: Any) -> None:
    """What is sent is what the caller gave."""
    seen = log()
    async with Producer(cluster) as producer:
        await producer.send(
            "t", key=b"k", value=None, headers=[("h", b"1"), ("h", None)], partition=0, timestamp_ms=12_345
        )
    [request] = scripted.seen(ApiKey.PRODUCE)
    [record] = read_records(request.topic_data[0].partition_data[0].records)
    assert (record.key, record.value, record.timestamp) == (b"k", None, 12_345)
    assert list(record.headers) == [("h", b"1"), ("h", None)]
    assert seen.values == [None]


async def test_producer_numbers_its_batches(cluster: Cluster, log: Any) -> None:
    """Producer id, epoch and sequence let the broker recognise a repetition. Reference: KIP-98."""
    seen = log()
    async with Producer(cluster) as producer:
        for value in (b"a", b"b"):
            await producer.send("t", value=value, partition=0)
            await producer.flush()
        await producer.send("t", value=b"c", partition=1)
    headers = [
        (index, header.producer_id, header.producer_epoch, header.base_sequence)
        for index, header, _ in seen.batches
    ]
    assert headers == [(0, 100, 0, 0), (0, 100, 0, 1), (1, 100, 0, 0)]


async def test_producer_repeats_the_same_bytes(cluster: Cluster, scripted: Any, log: Any) -> None:
    """A retry is the same batch, and fresh metadata was asked for before it."""
    seen = log(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    async with Producer(cluster) as producer:
        await producer.send("t", value=b"a", partition=0)
    [request, repeated] = scripted.seen(ApiKey.PRODUCE)
    assert request.topic_data == repeated.topic_data
    assert seen.values == [b"a"]
    assert len([r for r in scripted.seen(ApiKey.METADATA) if r.topics]) == 2


async def test_producer_keeps_the_order_through_retries(cluster: Cluster, log: Any) -> None:
    """Records sent while an earlier batch is being retried stay behind it."""
    seen = log(*[ErrorCode.NOT_ENOUGH_REPLICAS] * 3)
    async with Producer(cluster, ProducerConfig(linger_ms=0)) as producer:
        for number in range(20):
            await producer.send("t", value=b"%02d" % number, partition=0)
            await asyncio.sleep(0)
    assert seen.values == [b"%02d" % number for number in range(20)]


async def test_producer_repeats_after_a_lost_connection(
    cluster: Cluster, scripted: Any, log: Any, close: Exception
) -> None:
    """Whether the batch arrived is unknown, so the same one goes again; a duplicate counts as delivered."""
    seen = log()

    def first_lost(request: ProduceRequest, version: int) -> ProduceResponse | None:
        seen(request, version)
        seen._errors = [ErrorCode.DUPLICATE_SEQUENCE_NUMBER]
        scripted.scripts[ApiKey.PRODUCE] = seen
        raise close

    scripted.scripts[ApiKey.PRODUCE] = first_lost
    async with Producer(cluster) as producer:
        future = await producer.send("t", value=b"a", partition=0)
    assert future.result() == (TopicPartition("t", 0), -1)
    assert seen.values == [b"a"]


async def test_producer_splits_a_batch_that_is_too_large(cluster: Cluster, log: Any) -> None:
    """A topic may allow less than this client fills; the halves carry on the numbering."""
    seen = log(ErrorCode.MESSAGE_TOO_LARGE)
    async with Producer(cluster, ProducerConfig(linger_ms=60_000)) as producer:
        futures = [await producer.send("t", value=b"%d" % n, partition=0) for n in range(5)]
        await producer.flush()
    assert [(header.base_sequence, values) for _, header, values in seen.batches] == [
        (0, [b"0", b"1"]),
        (2, [b"2", b"3", b"4"]),
    ]
    assert [future.result().offset for future in futures] == [0, 1, 2, 3, 4]


async def test_producer_reports_what_was_refused(cluster: Cluster, log: Any) -> None:
    """Flush raises with the count and the reason; the future of the record has it too."""
    log(ErrorCode.INVALID_RECORD)
    producer = Producer(cluster)
    future = await producer.send("t", value=b"a", partition=0)
    with pytest.raises(DeliveryFailed, match="1 record was not acknowledged: partition t-0: INVALID_RECORD"):
        await producer.flush()
    with pytest.raises(RequestFailed):
        await future
    await producer.close()


async def test_producer_renumbers_after_a_failure(cluster: Cluster, log: Any) -> None:
    """After giving a batch up its numbers are not used again: a new producer id begins at 0."""
    seen = log(None, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    producer = Producer(cluster)
    await producer.send("t", value=b"a", partition=0)
    await producer.flush()
    await producer.send("t", value=b"b", partition=0)
    with pytest.raises(DeliveryFailed):
        await producer.flush()
    await producer.send("t", value=b"c", partition=0)
    await producer.close()
    assert [(h.producer_id, h.base_sequence, values) for _, h, values in seen.batches] == [
        (100, 0, [b"a"]),
        (101, 0, [b"c"]),
    ]


async def test_producer_gives_up_in_time(scripted: Any, config: ClientConfig, log: Any) -> None:
    """A batch that is never accepted fails when its time for delivery is over, with the last reason."""
    refusing = log(*[ErrorCode.NOT_ENOUGH_REPLICAS] * 1000)
    clock = SkewedClock()

    def at_last_too_late(request: ProduceRequest, version: int) -> ProduceResponse | None:
        if len(refusing.refused) == 2:
            clock.ahead_ms += 60_000
        return cast("ProduceResponse | None", refusing(request, version))

    scripted.scripts[ApiKey.PRODUCE] = at_last_too_late
    async with Cluster(scripted.bootstrap, config, clock=clock) as cluster:
        producer = Producer(cluster, ProducerConfig(delivery_ms_max=60_000))
        await producer.send("t", value=b"a", partition=0)
        with pytest.raises(DeliveryFailed, match="NOT_ENOUGH_REPLICAS"):
            await producer.flush()
        await producer.close()
    assert len(refusing.refused) == 3


async def test_producer_waits_for_a_leader(
    cluster: Cluster, scripted: Any, log: Any, eventually: Any
) -> None:
    """Records for a partition without a leader wait for one."""
    seen = log()
    scripted.topics["t"] = [-1, 1]
    producer = Producer(cluster)
    await producer.send("t", value=b"a", partition=0)
    flushing = asyncio.create_task(producer.flush())
    await eventually(lambda: len(scripted.seen(ApiKey.METADATA)) >= 4)  # it keeps asking
    assert not seen.batches
    scripted.topics["t"] = [1, 1]
    await flushing
    await producer.close()
    assert seen.values == [b"a"]


async def test_producer_without_acks_expects_no_answer(
    cluster: Cluster, scripted: Any, log: Any, eventually: Any
) -> None:
    """acks=0 has no response; records count as delivered when they are written to the socket."""
    seen = log()
    config = ProducerConfig(acks=ACKS_NONE, idempotent=False)
    async with Producer(cluster, config) as producer:
        future = await producer.send("t", value=b"a", partition=0)
    assert future.result().offset == -1
    await eventually(lambda: bool(seen.batches))
    [(_, header, values)] = seen.batches
    assert (header.producer_id, header.base_sequence, values) == (-1, -1, [b"a"])
    assert scripted.seen(ApiKey.PRODUCE)[0].acks == 0


async def test_producer_without_idempotence_asks_for_no_id(cluster: Cluster, scripted: Any, log: Any) -> None:
    """acks=1 batches carry no producer."""
    seen = log()
    async with Producer(cluster, ProducerConfig(acks=ACKS_LEADER, idempotent=False)) as producer:
        await producer.send("t", value=b"a", partition=0)
    assert seen.batches[0][1].producer_id == -1
    assert not scripted.seen(ApiKey.INIT_PRODUCER_ID)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
async def test_producer_compresses(cluster: Cluster, log: Any, codec: int) -> None:
    """The batch's codec is the one asked for, and its records are readable."""
    seen = log()
    async with Producer(cluster, ProducerConfig(compression=codec)) as producer:
        for number in range(50):
            await producer.send("t", value=b"value %d" % number, partition=0)
    assert {header.codec for _, header, _ in seen.batches} == {codec}
    assert seen.values == [b"value %d" % number for number in range(50)]


async def test_producer_bounds_what_it_holds(cluster: Cluster, log: Any) -> None:
    """Send waits while more is unacknowledged than the buffer may hold."""
    seen = log()
    config = ProducerConfig(buffer_bytes_max=2_000, batch_bytes_max=1_000)
    async with Producer(cluster, config) as producer:
        for _ in range(40):
            await producer.send("t", value=b"v" * 500, partition=0)
            assert producer._accumulator.bytes < 3_000
    assert len(seen.values) == 40


async def test_producer_uses_the_partitioner_it_is_given(cluster: Cluster, log: Any) -> None:
    """Keyless records take turns with a round-robin partitioner."""
    seen = log()
    async with Producer(cluster, partitioner=RoundRobinPartitioner) as producer:
        for _ in range(6):
            await producer.send("t", value=b"v")
    assert seen.ends == {0: 3, 1: 3}


async def test_producer_refuses_a_partition_that_is_not_there(cluster: Cluster, log: Any) -> None:
    """The caller learns it at once."""
    log()
    async with Producer(cluster) as producer:
        with pytest.raises(RequestFailed, match="partition 9 of topic t"):
            await producer.send("t", value=b"a", partition=9)


async def test_producer_fails_records_that_cannot_be_written(cluster: Cluster, log: Any) -> None:
    """A value of the wrong type fails its batch, not the producer."""
    seen = log()
    producer = Producer(cluster)
    await producer.send("t", value="text", partition=0)  # type: ignore[arg-type]
    with pytest.raises(DeliveryFailed, match="cannot be written"):
        await producer.flush()
    await producer.send("t", value=b"a", partition=0)
    await producer.close()
    assert seen.values == [b"a"]


async def test_producer_abandons_when_its_block_fails(cluster: Cluster, log: Any) -> None:
    """Leaving the context by an error does not wait for deliveries that may never come."""
    log(*[ErrorCode.NOT_ENOUGH_REPLICAS] * 1000)
    sent = []

    async def fail_after_sending() -> None:
        async with Producer(cluster, ProducerConfig(linger_ms=60_000)) as producer:
            sent.append(await producer.send("t", value=b"a", partition=0))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_after_sending()
    assert sent[0].cancelled()


def test_producer_config_refuses_what_cannot_be() -> None:
    """Idempotence needs acks=all; acks is one of three values."""
    with pytest.raises(ValueError, match="acks=all"):
        ProducerConfig(acks=ACKS_LEADER)
    with pytest.raises(ValueError, match="not 2"):
        ProducerConfig(acks=2, idempotent=False)
    assert ProducerConfig().acks == ACKS_ALL


async def test_producer_goes_where_a_refusal_sends_it(
    cluster: Cluster, scripted: Any, log: Any, topic_id: Callable[[str], bytes]
) -> None:
    """The leader that came with the error is asked at once, and nobody is asked for metadata. Reference: KIP-951."""
    log()
    elsewhere = ScriptedBroker(2)
    await elsewhere.start()
    seen = elsewhere.scripts[ApiKey.PRODUCE] = Log(topic_id)
    refusal = PartitionProduceResponse(
        index=0,
        error_code=ErrorCode.NOT_LEADER_OR_FOLLOWER,
        current_leader=LeaderIdAndEpoch(leader_id=2, leader_epoch=1),
    )
    topic = TopicProduceResponse(topic_id=topic_id("t"), name="t", partition_responses=[refusal])
    at = NodeEndpoint(node_id=2, host="127.0.0.1", port=elsewhere.port)
    scripted.script(ApiKey.PRODUCE, ProduceResponse(responses=[topic], node_endpoints=[at]))
    async with Producer(cluster) as producer:
        await producer.send("t", value=b"a", partition=0)
    await elsewhere.stop()
    assert seen.values == [b"a"]
    assert len(scripted.seen(ApiKey.PRODUCE)) == 1
    assert len([r for r in scripted.seen(ApiKey.METADATA) if r.topics]) == 1


async def test_producer_does_not_follow_a_hint_that_is_no_news(
    cluster: Cluster, scripted: Any, log: Any
) -> None:
    """The epoch it knows already: it looks for the leader as ever, and is not sent in circles."""
    seen = log()

    def refuse_once(request: ProduceRequest, version: int) -> ProduceResponse | None:
        answer = seen(request, version)
        scripted.scripts[ApiKey.PRODUCE] = seen
        topic = answer.responses[0]
        hint = LeaderIdAndEpoch(leader_id=1, leader_epoch=0)
        refused = replace(
            topic.partition_responses[0], error_code=ErrorCode.NOT_LEADER_OR_FOLLOWER, current_leader=hint
        )
        return ProduceResponse(responses=[replace(topic, partition_responses=[refused])])

    scripted.scripts[ApiKey.PRODUCE] = refuse_once
    async with Producer(cluster) as producer:
        await producer.send("t", value=b"a", partition=0)
    assert len([r for r in scripted.seen(ApiKey.METADATA) if r.topics]) == 2
