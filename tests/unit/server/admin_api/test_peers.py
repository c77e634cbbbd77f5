"""Two brokers' admin APIs that ask each other: coordinators, leaders, and what happens when one is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.client.admin_api import AdminApi as Client
from moldau_broker.client.admin_api_answers import GroupReport
from moldau_broker.client.errors import RequestFailed
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.coordinator.offset_reset import OffsetReset
from moldau_broker.metadata.image import BrokerImage, Endpoint, MetadataImage, PartitionImage, TopicImage
from moldau_broker.server.admin_api.api import AdminApi
from moldau_broker.server.assembly import ADMIN_LISTENER
from moldau_broker.server.http import HttpServer, Pages
from moldau_broker.server.lifecycle import Lifecycle
from moldau_broker.telemetry.registry import Telemetry
from moldau_broker.testing.coordinator import CoordinatorBench, MemoryLog
from moldau_broker.wire.records import Record, build_batch

NO_ID = Uuid(bytes(16))
ORDERS = TopicPartition("orders", 0)
BEHIND_MS = 90_000
PATIENCE_MS = 60_000
"""Of a broker for others, and twice that of a client for a broker: a busy machine may hold a test up for seconds."""


class Node:
    """A broker as far as its admin API looks at it: a coordinator on the bench, replicas in memory, a real port."""

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.bench = CoordinatorBench(partitions=2)
        self.hosted: dict[tuple[str, int], Any] = {}
        self.metadata = SimpleNamespace(image=MetadataImage("c"))
        self.broker = SimpleNamespace(
            node_id=node_id,
            clock=self.bench.clock,
            groups=self.bench.coordinator,
            metadata=self.metadata,
            replicas=self,
        )
        self.api = AdminApi(self.broker, SimpleNamespace(loads=lambda: ()), PATIENCE_MS)  # type: ignore[arg-type]
        pages = Pages(Lifecycle(), Telemetry(lambda: 0))
        self.server = HttpServer(asyncio.get_running_loop(), pages, lambda: self.api)
        self.port = self.server.listen("127.0.0.1", 0)
        self.client = Client(("127.0.0.1", self.port), timeout_ms=2 * PATIENCE_MS)

    def see(self, image: MetadataImage) -> None:
        self.metadata.image = self.bench.image = image

    def lead(self, topic: str, index: int) -> None:
        """Lead a partition with ten records, the first of them `BEHIND_MS` old."""
        log = MemoryLog()
        then = self.bench.clock.wall_ms() - BEHIND_MS
        log.append(build_batch([Record(at, then + 1_000 * at, None, b"v") for at in range(10)]))
        self.hosted[topic, index] = SimpleNamespace(
            topic_id=NO_ID,
            index=index,
            leader_epoch=1,
            log=log,
            log_start_offset=0,
            high_watermark=10,
            leadership_error=lambda _: ErrorCode.NONE,
            is_ready=True,
        )

    def partition(self, topic: str, index: int) -> Any:
        return self.hosted.get((topic, index))

    def missing_error(self, topic: str, index: int) -> ErrorCode:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def topic_config(self, image: MetadataImage, topic: str) -> TopicConfig:
        return TopicConfig()

    async def close(self) -> None:
        await self.client.close()
        await self.server.close()
        await self.api.close()


@pytest.fixture
async def nodes():
    """Broker 1 leads partition 0 of the offsets topic, broker 2 partition 1 and the one partition of `orders`."""
    one, two = Node(1), Node(2)
    image = _image(one, two)
    for index, node in enumerate((one, two)):
        node.see(image)
        node.bench.elect(index)
        node.bench.run()
    two.lead("orders", 0)
    yield one, two
    for node in (one, two):
        await node.close()


def _image(*nodes: Node, leader_of_orders: int = 2) -> MetadataImage:
    def topic(name: str, *leaders: int) -> TopicImage:
        return TopicImage(
            name,
            NO_ID,
            tuple(PartitionImage((1, 2), (NO_ID, NO_ID), (1, 2), leader, 0, 0) for leader in leaders),
        )

    return MetadataImage(
        "c",
        topics={CONSUMER_OFFSETS: topic(CONSUMER_OFFSETS, 1, 2), "orders": topic("orders", leader_of_orders)},
        brokers={
            node.node_id: BrokerImage(
                node.node_id,
                0,
                NO_ID,
                fenced=False,
                in_controlled_shutdown=False,
                rack=None,
                endpoints={ADMIN_LISTENER: Endpoint("127.0.0.1", node.port)},
            )
            for node in nodes
        },
    )


def _group(node: Node, index: int, offset: int = 4) -> str:
    """A group of that partition of the offsets topic, which stands at `offset` of `orders`."""
    name = next(
        f"group-{at}" for at in range(100) if node.bench.coordinator.partition_for(f"group-{at}") == index
    )
    targets = {("orders", 0): (offset, NO_ID)}
    node.bench.coordinator.reset_offsets(OffsetReset(name, targets))
    node.bench.run()
    return name


def _lag(report: GroupReport) -> tuple[int, int | None, float | None]:
    return report.coordinator_id, report.lag_records, report.lag_seconds


async def test_groups_are_found_at_whatever_broker_is_asked(nodes):
    """The coordinator answers, and the leader tells it how old the first unconsumed record is."""
    one, two = nodes
    here, there = _group(one, 0), _group(two, 1)
    for node in nodes:
        assert _lag(await node.client.group(here)) == (1, 6, 86.0)
        assert _lag(await node.client.group(there)) == (2, 6, 86.0)
        found = await node.client.groups()
        assert [(report.id, report.coordinator_id) for report in found.groups] == sorted(
            [(here, 1), (there, 2)]
        )
        assert found.incomplete == {}
        named = await node.client.groups([there])
        assert [report.id for report in named.groups] == [there]
    own = await one.client.groups(everywhere=False)
    assert [report.id for report in own.groups] == [here]


async def test_groups_of_a_broker_that_is_away_are_named_as_missing(nodes):
    """What is there is answered; what is not known is not made up."""
    one, two = nodes
    here, there = _group(one, 0), _group(two, 1)
    await two.server.close()
    found = await one.client.groups()
    assert [report.id for report in found.groups] == [here]
    assert list(found.incomplete) == [2]
    assert _lag(found.groups[0]) == (1, None, None)
    (offset,) = found.groups[0].offsets
    assert (offset.committed_offset, offset.high_watermark, offset.lag_records) == (4, None, None)
    with pytest.raises(RequestFailed) as failed:
        await one.client.group(there)
    assert failed.value.code is ErrorCode.NETWORK_EXCEPTION
    assert failed.value.retriable


@pytest.mark.parametrize("leader", [-1, 3], ids=["no leader", "a broker nobody knows"])
async def test_lag_without_a_leader_is_absent(nodes, leader):
    """Not zero."""
    one, two = nodes
    group = _group(one, 0)
    for node in nodes:
        node.see(_image(one, two, leader_of_orders=leader))
    assert _lag(await one.client.group(group)) == (1, None, None)


async def test_lag_of_a_partition_that_the_named_leader_does_not_lead_is_absent(nodes):
    """The coordinator's metadata is old: the broker it asks says so."""
    one, two = nodes
    group = _group(one, 0)
    two.hosted.clear()
    assert _lag(await one.client.group(group)) == (1, None, None)


async def test_reset_is_carried_out_by_the_coordinator(nodes):
    """Wherever it is asked for; offsets come from the partition's leader."""
    one, two = nodes
    group = _group(two, 1)
    asking = asyncio.create_task(one.client.reset_offsets(group, "latest"))
    while not asking.done():
        two.bench.run()
        await asyncio.sleep(0.005)
    assert [(move.old_offset, move.new_offset) for move in asking.result().moves] == [(4, 10)]
    view = two.bench.coordinator.group(group)
    assert view is not None
    assert view.offsets["orders", 0].offset == 10


async def test_reset_without_the_partitions_leader_is_refused(nodes):
    """Nobody can say where the log ends, so nothing is moved."""
    one, two = nodes
    group = _group(one, 0)
    await two.server.close()
    with pytest.raises(RequestFailed) as refused:
        await one.client.reset_offsets(group, "latest")
    assert refused.value.retriable
    view = one.bench.coordinator.group(group)
    assert view is not None
    assert view.offsets["orders", 0].offset == 4


async def test_request_that_was_passed_on_is_not_passed_on_again(nodes):
    """Two brokers that each take the other for the coordinator do not send a request round for ever."""
    one, two = nodes
    group = _group(two, 1)
    two.bench.coordinator.on_resigned(1, 5)
    with pytest.raises(RequestFailed) as failed:
        await one.client.group(group)
    assert failed.value.code is ErrorCode.NOT_COORDINATOR
    assert failed.value.retriable


async def test_groups_still_being_read_are_named_as_missing(nodes):
    """A coordinator that loads cannot tell its groups yet."""
    one, two = nodes
    group = _group(two, 1)
    two.bench.coordinator.on_resigned(1, 5)
    two.bench.replicas[1].high_watermark = 0
    two.bench.elect(1, epoch=6)
    found = await one.client.groups()
    assert found.groups == ()
    assert "still being read" in found.incomplete[2]
    with pytest.raises(RequestFailed) as failed:
        await one.client.group(group)
    assert failed.value.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


async def test_broker_that_moved_is_asked_at_its_new_place(nodes):
    """Another port after a restart: the connection follows the registration."""
    one, two = nodes
    group = _group(two, 1)
    await one.client.group(group)
    await two.server.close()
    two.server = HttpServer(
        asyncio.get_running_loop(), Pages(Lifecycle(), Telemetry(lambda: 0)), lambda: two.api
    )
    two.port = two.server.listen("127.0.0.1", 0)
    one.see(_image(one, two))
    assert _lag(await one.client.group(group)) == (2, 6, 86.0)
