"""Requests that wait for several partitions: produce for their commits, fetch for bytes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.waiting import DelayedFetch, DelayedProduce
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replicas import ReplicaBench


@pytest.fixture
def bench() -> ReplicaBench:
    return ReplicaBench()


def write(bench: ReplicaBench, partition: Partition, size: int = 1) -> int:
    """Append one record of `size` bytes; the offset after it."""
    batch = bench.accepted(make_batch((bytes(size),)))
    return partition.append(batch, bench.clock.wall_ms(), all_in_sync=True).next_offset


class Produced:
    """A DelayedProduce and how often, and with what, it was done."""

    def __init__(self) -> None:
        self.done: list[list[ErrorCode]] = []
        self.waiting = DelayedProduce(self._note)

    def _note(self, errors: Sequence[ErrorCode]) -> None:
        self.done.append(list(errors))


def test_a_produce_waits_for_all_its_partitions(bench: ReplicaBench) -> None:
    """One answer, when the last of them is durable, in the order they were given."""
    first, second = bench.create_topic("first"), bench.create_topic("second")
    produced = Produced()
    produced.waiting.add(first, write(bench, first))
    produced.waiting.add(second, write(bench, second))
    assert not produced.waiting.all_added()
    assert produced.done == []
    bench.committer.flush()
    assert produced.done == [[ErrorCode.NONE, ErrorCode.NONE]]


def test_a_produce_that_is_committed_already_is_done_at_once(bench: ReplicaBench) -> None:
    """But not before everything was added."""
    partition = bench.create_topic("t")
    end = write(bench, partition)
    partition.request_commit()
    bench.committer.flush()
    produced = Produced()
    produced.waiting.add(partition, end)
    assert produced.done == []
    assert produced.waiting.all_added()
    assert produced.done == [[ErrorCode.NONE]]


def test_a_produce_that_expires_tells_what_is_known(bench: ReplicaBench) -> None:
    """REQUEST_TIMED_OUT only for what is still open; what comes later is nobody's any more."""
    first, second = bench.create_topic("first"), bench.create_topic("second")
    produced = Produced()
    produced.waiting.add(first, write(bench, first))
    bench.committer.flush()
    produced.waiting.add(second, write(bench, second))
    produced.waiting.all_added()
    produced.waiting.expire()
    assert produced.done == [[ErrorCode.NONE, ErrorCode.REQUEST_TIMED_OUT]]
    bench.committer.flush()
    produced.waiting.expire()
    assert len(produced.done) == 1


def test_a_produce_with_a_lost_leadership_says_so(bench: ReplicaBench) -> None:
    """For that partition; the other is committed as ever."""
    first, second = bench.create_topic("first"), bench.create_topic("second")
    produced = Produced()
    produced.waiting.add(first, write(bench, first))
    produced.waiting.add(second, write(bench, second))
    produced.waiting.all_added()
    bench.publish(without=["first"])
    assert produced.done == []
    bench.committer.flush_all()
    assert produced.done == [[ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NONE]]


def test_a_produce_of_nothing_is_done(bench: ReplicaBench) -> None:
    """No batch to wait for."""
    produced = Produced()
    assert produced.waiting.all_added()
    assert produced.done == [[]]


class Fetched:
    """A DelayedFetch and how often it was done."""

    def __init__(self, partitions: list[Partition], missing: int) -> None:
        self.done = 0
        self.waiting = DelayedFetch(partitions, missing, self._note)

    def _note(self) -> None:
        self.done += 1


def test_a_fetch_wakes_with_its_last_missing_byte(bench: ReplicaBench) -> None:
    """min_bytes counts what becomes visible, over all its partitions together."""
    first, second = bench.create_topic("first"), bench.create_topic("second")
    size = len(make_batch((bytes(10),)))
    fetched = Fetched([first, second], 3 * size)
    write(bench, first, 10)
    write(bench, second, 10)
    assert fetched.done == 0
    write(bench, second, 10)
    assert fetched.done == 1
    assert first.fetch_waiters == second.fetch_waiters == []
    write(bench, first, 10)
    assert fetched.done == 1


def test_a_fetch_wakes_when_anything_else_changes(bench: ReplicaBench) -> None:
    """A topic that goes away, a leader that changes: the client must hear of it, bytes or not."""
    for change in (
        lambda: bench.publish(without=["t"]),
        lambda: bench.publish(bench.topic("t", leader=2, epoch=5, replicas=(1, 2))),
        lambda: bench.partition("t").go_offline("the disk is gone"),
    ):
        fetched = Fetched([bench.create_topic("t")], 1_000_000)
        change()
        assert fetched.done == 1
        bench.publish(without=["t"])


def test_a_fetch_that_is_cancelled_hears_nothing(bench: ReplicaBench) -> None:
    """Its connection is gone, and nothing of it stays with the partitions."""
    partition = bench.create_topic("t")
    fetched = Fetched([partition], 1)
    fetched.waiting.cancel()
    fetched.waiting.cancel()
    fetched.waiting.finish()
    write(bench, partition)
    assert fetched.done == 0
    assert partition.fetch_waiters == []


def test_fetches_that_wake_together_are_all_told(bench: ReplicaBench) -> None:
    """Waking removes them from the list that is walked."""
    partition = bench.create_topic("t")
    fetches = [Fetched([partition], 1) for _ in range(5)]
    write(bench, partition)
    assert [fetched.done for fetched in fetches] == [1] * 5
