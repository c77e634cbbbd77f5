"""DeleteRecords: its answer waits for the followers on live brokers."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.metadata.image import BrokerImage
from moldau_broker.testing.dispatch import DispatchBench, Reply
from moldau_broker.testing.logs import make_batch
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)


@pytest.fixture
def bench() -> DispatchBench:
    """Leads t-0, whose follower 2 has fetched everything."""
    bench = DispatchBench()
    bench.create_topic("t")
    brokers = {
        node: BrokerImage(node, 100 + node, Uuid(bytes(16)), False, False, None, {}) for node in (1, 2)
    }
    bench.publish(bench.topic("t", replicas=(1, 2), epoch=1))
    bench.follow(bench.image._replace(brokers=brokers))
    partition = bench.partition("t")
    for _ in range(3):
        batch = bench.accepted(make_batch([b"v"]))
        assert partition.append(batch, bench.clock.wall_ms(), all_in_sync=True).error is ErrorCode.NONE
    bench.committer.flush_all()
    partition.fetched_by(2, 102, 3, 0)
    return bench


def delete(bench: DispatchBench, *offsets: int, timeout_ms: int = 1_000) -> Reply:
    topic = DeleteRecordsTopic(
        name="t", partitions=[DeleteRecordsPartition(partition_index=0, offset=one) for one in offsets]
    )
    return bench.send(ApiKey.DELETE_RECORDS, 2, DeleteRecordsRequest(topics=[topic], timeout_ms=timeout_ms))


def told(reply: Reply) -> list[tuple[int, int]]:
    ((*answers,),) = [topic.partitions for topic in reply.response().topics]
    return [(answer.error_code, answer.low_watermark) for answer in answers]


@pytest.mark.parametrize("offset", [3, -1])
def test_delete_records_waits_for_followers(bench: DispatchBench, offset: int) -> None:
    """The low watermark is theirs too; a waiting follower is answered at once, or it would take half a second."""
    reply = delete(bench, offset)
    assert not reply.done
    bench.partition("t").fetched_by(2, 102, 3, 2)
    assert not reply.done
    bench.partition("t").fetched_by(2, 102, 3, 3)
    assert told(reply) == [(ErrorCode.NONE, 3)]
    assert bench.timers.pending == 0


def test_delete_records_gives_up_after_its_timeout(bench: DispatchBench) -> None:
    """The deletion is not undone; the answer says how far it has come."""
    reply = delete(bench, 2, timeout_ms=50)
    bench.timers.advance(50)
    assert told(reply) == [(ErrorCode.REQUEST_TIMED_OUT, 0)]
    assert bench.partition("t").log_start_offset == 2


def test_delete_records_refuses_each_by_itself(bench: DispatchBench) -> None:
    """What was refused has no low watermark, and is not waited for."""
    bench.partition("t").fetched_by(2, 102, 3, 1)
    assert told(delete(bench, 4, 1)) == [(ErrorCode.OFFSET_OUT_OF_RANGE, -1), (ErrorCode.NONE, 1)]


def test_delete_records_wakes_followers(bench: DispatchBench) -> None:
    """They learn of the new log start by the answer to a fetch."""
    woken: list[int] = []

    class Waiter:
        def on_visible_bytes(self, count: int) -> None:
            woken.append(count)

    bench.partition("t").replica_waiters.append(Waiter())
    delete(bench, 2)
    assert woken == [0]


def test_delete_records_of_a_leader_that_resigns_is_not_done(bench: DispatchBench) -> None:
    """Who leads now is to be asked."""
    reply = delete(bench, 2)
    bench.publish(bench.topic("t", replicas=(1, 2), leader=2, epoch=2))
    assert told(reply) == [(ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)]
