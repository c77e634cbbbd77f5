"""One replica: appends, the commit that acks=all waits for, reads, leadership, and failing disks."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import PartitionImage
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Partition
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replicas import ReplicaBench


@pytest.fixture
def bench() -> ReplicaBench:
    return ReplicaBench()


@pytest.fixture
def partition(bench: ReplicaBench) -> Partition:
    return bench.create_topic("t")


class Waiter:
    """A fetch that waits, and what it was told."""

    def __init__(self, partition: Partition) -> None:
        self.told: list[int] = []
        partition.fetch_waiters.append(self)

    def on_visible_bytes(self, count: int) -> None:
        self.told.append(count)


def append(
    bench: ReplicaBench, partition: Partition, *values: bytes, all_in_sync: bool = True, **options: int
) -> AppendOutcome:
    batch = make_batch(values or (b"v",), **options)
    return partition.append(bench.accepted(batch), bench.clock.wall_ms(), all_in_sync=all_in_sync)


def read(partition: Partition, offset: int, max_bytes: int = 1 << 20, *, min_one: bool = True) -> bytes:
    found = partition.read(offset, max_bytes, committed=False, min_one=min_one, wait=True)
    assert found is not None
    assert found.error is ErrorCode.NONE
    assert found.records is not None
    return bytes(found.records)


# --- commits ----------------------------------------------------------------------------------------------


def test_a_commit_waits_until_the_data_is_durable(bench: ReplicaBench, partition: Partition) -> None:
    """Visible at once, acknowledged only after the flush: acks=all means on disk."""
    outcome = append(bench, partition)
    assert (outcome.base_offset, outcome.next_offset) == (0, 1)
    assert partition.high_watermark == 1
    assert partition.log.durable_offset == 0
    told: list[ErrorCode] = []
    partition.when_committed(1, told.append)
    assert told == []
    bench.committer.flush()
    assert told == [ErrorCode.NONE]
    assert partition.log.durable_offset == 1


def test_what_is_committed_already_is_told_at_once(bench: ReplicaBench, partition: Partition) -> None:
    """Without another flush."""
    append(bench, partition)
    partition.request_commit()
    bench.committer.flush()
    told: list[ErrorCode] = []
    partition.when_committed(1, told.append)
    assert told == [ErrorCode.NONE]
    assert (bench.committer.asked, bench.committer.flushes) == (0, 1)


def test_one_flush_answers_everybody_who_wrote_before_it(bench: ReplicaBench, partition: Partition) -> None:
    """Group commit: ten appends, one flush, told in the order of their offsets."""
    told: list[int] = []
    for at in range(10):
        next_offset = append(bench, partition).next_offset
        partition.when_committed(next_offset, lambda _, at=at: told.append(at))  # type: ignore[misc]
    assert bench.committer.asked == 1
    bench.committer.flush()
    assert told == list(range(10))
    assert bench.committer.flushes == 1


def test_a_write_during_a_flush_gets_the_next_one(bench: ReplicaBench, partition: Partition) -> None:
    """The flush under way may not cover it, so nobody is answered early; the next round begins by itself."""
    log = partition.log
    told: list[str] = []
    append(bench, partition)
    partition.when_committed(1, lambda _: told.append("first"))
    covered = log.flush()
    append(bench, partition)
    partition.when_committed(2, lambda _: told.append("second"))
    log.mark_durable(covered, log.generation)
    waiting = bench.committer._waiting.pop(log)
    for callback in waiting:
        callback(None)
    assert told == ["first"]
    assert bench.committer.asked == 1
    bench.committer.flush()
    assert told == ["first", "second"]


def test_a_failed_flush_tells_every_waiter_and_ends_the_partition(
    bench: ReplicaBench, partition: Partition
) -> None:
    """After fsync has failed nothing written can be trusted: no retry, KAFKA_STORAGE_ERROR from then on."""
    told: list[ErrorCode] = []
    for _ in range(3):
        partition.when_committed(append(bench, partition).next_offset, told.append)
    waiter = Waiter(partition)
    bench.disk.failing["datasync"] = errno.EIO
    bench.committer.flush()
    assert told == [ErrorCode.KAFKA_STORAGE_ERROR] * 3
    assert waiter.told == [0], "a waiting fetch looks again, and learns of it"
    bench.disk.failing.clear()
    refused = append(bench, partition)
    assert refused.error is ErrorCode.KAFKA_STORAGE_ERROR
    assert refused.message
    assert partition.leadership_error(-1) is ErrorCode.KAFKA_STORAGE_ERROR
    partition.when_committed(1, told.append)
    assert told[3:] == [ErrorCode.KAFKA_STORAGE_ERROR]
    partition.request_commit()
    assert bench.committer.asked == 0


def test_other_partitions_live_on_when_one_fails(bench: ReplicaBench) -> None:
    """A log that fails takes nobody else with it."""
    first, second = bench.create_topic("first"), bench.create_topic("second")
    append(bench, first)
    first.request_commit()
    bench.disk.failing["datasync"] = errno.EIO
    bench.committer.flush()
    bench.disk.failing.clear()
    told: list[ErrorCode] = []
    second.when_committed(append(bench, second).next_offset, told.append)
    bench.committer.flush()
    assert (first.offline_reason is not None, told) == (True, [ErrorCode.NONE])


class Confirmed:
    """The largest offset that `when_committed` confirmed."""

    def __init__(self) -> None:
        self.offset = 0

    def upon(self, offset: int) -> Callable[[ErrorCode], None]:
        def confirm(error: ErrorCode) -> None:
            assert error is ErrorCode.NONE
            self.offset = max(self.offset, offset)

        return confirm


def test_a_crash_loses_nothing_that_was_committed() -> None:
    """Power failures at every moment of a run: what `when_committed` confirmed is there afterwards."""
    for seed in range(40):
        rng = Random(seed)
        bench = ReplicaBench(seed=seed)
        partition = bench.create_topic("t")
        confirmed = Confirmed()
        for _ in range(rng.randint(1, 12)):
            values = [b"x" * rng.randint(1, 6_000) for _ in range(rng.randint(1, 3))]
            next_offset = append(bench, partition, *values).next_offset
            if rng.random() < 0.6:
                partition.when_committed(next_offset, confirmed.upon(next_offset))
            if rng.random() < 0.5:
                bench.committer.flush()
        written = read(partition, 0, 1 << 20)
        bench.restart(power_failure=rng)
        if confirmed.offset:
            again = bench.partition("t")
            assert again.log_end_offset >= confirmed.offset
            assert written.startswith(read(again, 0))


# --- appends ----------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_and_heals() -> None:
    """Nothing of the refused batch stays, the partition remains, and space makes it work again."""
    bench = ReplicaBench(SimDisk(capacity=20_000))
    partition = bench.create_topic("t")
    assert append(bench, partition, bytes(1_000)).error is ErrorCode.NONE
    refused = append(bench, partition, bytes(40_000))
    assert refused.error is ErrorCode.KAFKA_STORAGE_ERROR
    assert partition.offline_reason is None
    assert (partition.log_end_offset, partition.high_watermark) == (1, 1)
    bench.disk.capacity = 1_000_000
    assert append(bench, partition, bytes(40_000)).base_offset == 1
    assert len(read(partition, 1)) > 40_000


def test_a_broken_disk_ends_the_partition(bench: ReplicaBench, partition: Partition) -> None:
    """An error other than a full disk leaves the file in an unknown state."""
    bench.disk.failing["append"] = errno.EIO
    assert append(bench, partition).error is ErrorCode.KAFKA_STORAGE_ERROR
    assert partition.offline_reason is not None


def test_a_repeated_batch_gets_its_old_offset(bench: ReplicaBench, partition: Partition) -> None:
    """And its commit waits for the original to be durable; the log does not grow."""

    def send(sequence: int) -> AppendOutcome:
        return append(bench, partition, producer_id=9, producer_epoch=0, base_sequence=sequence)

    assert [send(sequence).base_offset for sequence in range(3)] == [0, 1, 2]
    again = send(1)
    assert (again.error, again.base_offset, again.next_offset) == (ErrorCode.NONE, 1, 2)
    assert partition.log_end_offset == 3
    told: list[ErrorCode] = []
    partition.when_committed(again.next_offset, told.append)
    assert told == []
    bench.committer.flush()
    assert told == [ErrorCode.NONE]
    assert send(5).error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.log_end_offset == 3


def test_too_few_replicas_in_sync_refuse_acks_all_only(bench: ReplicaBench) -> None:
    """min.insync.replicas binds acks=all, and counts at most the replicas there are."""
    bench.create_topic("t", min_insync_replicas="2")
    alone = bench.partition("t")
    assert append(bench, alone).error is ErrorCode.NONE, "one replica of one is in sync"
    bench.publish(bench.topic("t", replicas=(1, 2, 3), isr=(1,), epoch=1))
    assert append(bench, alone).error is ErrorCode.NOT_ENOUGH_REPLICAS
    assert append(bench, alone, all_in_sync=False).error is ErrorCode.NONE
    bench.publish(bench.topic("t", replicas=(1, 2, 3), isr=(1, 3), epoch=1))
    assert alone.isr == (1, 3)
    assert append(bench, alone).error is ErrorCode.NONE


# --- leadership -------------------------------------------------------------------------------------------


def elected(leader: int, epoch: int) -> PartitionImage:
    return PartitionImage(
        replicas=(1, 2), directories=(), isr=(1, 2), leader=leader, leader_epoch=epoch, partition_epoch=epoch
    )


def test_who_no_longer_leads_tells_everybody_who_waits(bench: ReplicaBench, partition: Partition) -> None:
    """Waiting producers and fetches go to the new leader; appends are refused."""
    told: list[ErrorCode] = []
    partition.when_committed(append(bench, partition).next_offset, told.append)
    waiter = Waiter(partition)
    partition.become(elected(2, 1))
    assert told == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    assert waiter.told == [0]
    assert append(bench, partition).error is ErrorCode.NOT_LEADER_OR_FOLLOWER
    bench.committer.flush()
    partition.become(elected(1, 2))
    assert append(bench, partition).error is ErrorCode.NONE
    assert partition.log.end_offset_for(0) == (0, 1), "the new epoch begins at the log's end"


@pytest.mark.parametrize(
    ("known", "error"),
    [
        (-1, ErrorCode.NONE),
        (3, ErrorCode.NONE),
        (2, ErrorCode.FENCED_LEADER_EPOCH),
        (4, ErrorCode.UNKNOWN_LEADER_EPOCH),
    ],
)
def test_clients_with_another_epoch_are_fenced(partition: Partition, known: int, error: ErrorCode) -> None:
    """KIP-320: an old one has missed an election, a newer one knows more than we do."""
    partition.become(elected(1, 3))
    assert partition.leadership_error(known) is error


def test_the_same_image_again_changes_nothing(bench: ReplicaBench, partition: Partition) -> None:
    """Waiters are not disturbed by what they know."""
    partition.become(elected(1, 1))
    told: list[ErrorCode] = []
    partition.when_committed(append(bench, partition).next_offset, told.append)
    waiter = Waiter(partition)
    partition.become(elected(1, 1))
    assert (told, waiter.told) == ([], [])


# --- reads ------------------------------------------------------------------------------------------------


def test_reads_end_at_the_visible_end(bench: ReplicaBench, partition: Partition) -> None:
    """The end itself is legal and empty; beyond it, and before the start, is out of range, with the range told."""
    append(bench, partition, b"1", b"2")
    append(bench, partition, b"3")
    assert len(read(partition, 0)) > len(read(partition, 2)) > 0
    assert read(partition, 3) == b""
    for offset in (-1, 4):
        found = partition.read(offset, 100, committed=False, min_one=True, wait=True)
        assert found is not None
        assert (found.error, found.log_start_offset, found.high_watermark) == (
            ErrorCode.OFFSET_OUT_OF_RANGE,
            0,
            3,
        )
        assert found.records is None


def test_a_small_reader_gets_one_whole_batch_or_nothing(bench: ReplicaBench, partition: Partition) -> None:
    """KIP-74: the first batch however large, but only for the first partition that has any."""
    append(bench, partition, bytes(500))
    append(bench, partition, bytes(500))
    one = read(partition, 0, 10)
    assert 500 < len(one) < 1_000
    assert read(partition, 0, 10, min_one=False) == b""
    assert read(partition, 0, 0, min_one=True) == one
    assert read(partition, 0, 2 * len(one)) == one + read(partition, 1)


def test_a_cold_read_says_so_instead_of_waiting(bench: ReplicaBench, partition: Partition) -> None:
    """None sends the read to a helper thread."""
    for _ in range(18):
        append(bench, partition, bytes(1_000_000))  # the last 16 MiB are taken to be warm
    bench.disk.cold = True
    assert partition.read(0, 100, committed=False, min_one=True, wait=False) is None
    assert read(partition, 0)


def test_a_read_error_ends_the_partition(bench: ReplicaBench, partition: Partition) -> None:
    """What cannot be read is not served as empty."""
    append(bench, partition)
    bench.disk.failing["read"] = errno.EIO
    found = partition.read(0, 100, committed=False, min_one=True, wait=True)
    assert found is not None
    assert found.error is ErrorCode.KAFKA_STORAGE_ERROR
    assert partition.offline_reason is not None


def test_deleted_records_are_out_of_range(bench: ReplicaBench, partition: Partition) -> None:
    """DeleteRecords moves the start up to the high watermark, never back, never beyond."""
    for _ in range(4):
        append(bench, partition)
    assert partition.delete_records(2) is ErrorCode.NONE
    assert partition.log_start_offset == 2
    assert partition.delete_records(1) is ErrorCode.NONE
    assert partition.log_start_offset == 2
    for beyond in (5, -2):
        assert partition.delete_records(beyond) is ErrorCode.OFFSET_OUT_OF_RANGE
    assert partition.delete_records(-1) is ErrorCode.NONE
    assert partition.log_start_offset == 4
    found = partition.read(3, 100, committed=False, min_one=True, wait=True)
    assert found is not None
    assert found.error is ErrorCode.OFFSET_OUT_OF_RANGE


def test_waiting_fetches_hear_of_every_append(bench: ReplicaBench, partition: Partition) -> None:
    """With the bytes that became visible."""
    waiter = Waiter(partition)
    sizes = [len(make_batch((bytes(size),))) for size in (10, 200)]
    for size in (10, 200):
        append(bench, partition, bytes(size))
    assert waiter.told == sizes
