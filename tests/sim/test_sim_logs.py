"""The simulator's logs lose what a power cut may take, and nothing else."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.ids import Uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.errors import CorruptLog, InvalidBatches, OffsetOutOfRange
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.disk import DiskConditions, NodeCrashed, SimDisk
from moldau_broker.testing.sim.kernel import Kernel
from moldau_broker.testing.sim.partition_log import SimLog
from moldau_broker.wire.records import parse_header

TOPIC_ID = Uuid(b"0123456789abcdef")


def new_log() -> SimLog:
    return SimLog("t", 0, TOPIC_ID, TopicConfig(), lambda: None)


def append(log: SimLog, epoch: int = 1, *, count: int = 1, producer_id: int = -1, sequence: int = -1) -> int:
    batch = make_batch(
        [b"v"] * count,
        producer_id=producer_id,
        producer_epoch=0 if producer_id >= 0 else -1,
        base_sequence=sequence,
    )
    return log.append(batch, parse_header(batch), epoch, 1_000)


def test_log_gives_back_whole_batches_that_a_follower_takes_verbatim() -> None:
    """What is read from a leader's log and appended to a follower's is the same log, epochs included."""
    leader, follower = new_log(), new_log()
    for epoch in (1, 1, 3):
        append(leader, epoch, count=2)
    follower.append_replica(leader.read(0, 1 << 20), 1_000)
    assert follower.read(0, 1 << 20) == leader.read(0, 1 << 20)
    assert follower.epochs.entries() == leader.epochs.entries() == [(1, 0), (3, 4)]
    assert leader.read(3, 1, up_to=6) == leader.read(2, 1, up_to=4)
    assert leader.read(4, 1 << 20, up_to=5) == b""
    with pytest.raises(OffsetOutOfRange):
        leader.read(7, 1)


def test_log_refuses_damaged_and_overlapping_batches() -> None:
    """A follower checks what it fetched."""
    leader, follower = new_log(), new_log()
    append(leader)
    append(leader)
    leader.flip_bit(1)
    with pytest.raises(InvalidBatches):
        follower.append_replica(leader.read(0, 1 << 20), 1_000)
    assert follower.log_end_offset == 0


def test_log_truncation_takes_back_epochs_and_producers() -> None:
    """After a cut the log remembers no more than what it holds."""
    log = new_log()
    append(log, 1, producer_id=7, sequence=0)
    append(log, 2, producer_id=7, sequence=1)
    log.truncate_to(1)
    entry = log.producers.get(7)
    assert entry is not None
    assert (log.log_end_offset, log.epochs.entries(), entry.last_sequence) == (1, [(1, 0)], 0)


def test_log_power_cut_keeps_all_that_was_synced_and_a_prefix_of_the_rest() -> None:
    """Over many crashes every prefix of the unsynced part is met, never less than the synced part."""
    ends = set()
    for seed in range(200):
        log = new_log()
        for _ in range(6):
            append(log)
        log.mark_durable(3)
        reopened, cut = log.reopened(Random(seed), power_cut=True, checkpoint=0)
        assert reopened.read(0, 1 << 20) == log.read(0, 1 << 20, up_to=reopened.log_end_offset)
        assert cut == 6 - reopened.log_end_offset
        ends.add(reopened.log_end_offset)
    assert ends == {3, 4, 5, 6}


def test_log_kill_keeps_everything() -> None:
    """The page cache outlives the process."""
    log = new_log()
    for _ in range(3):
        append(log)
    assert log.reopened(Random(1), power_cut=False, checkpoint=2)[0].log_end_offset == 3


def test_log_with_a_flipped_bit_is_out_of_service_after_a_restart() -> None:
    """Damage below the recovery point is no torn tail: it is not cut away."""
    log = new_log()
    append(log)
    log.mark_durable(1)
    log.flip_bit(0)
    reopened, cut = log.reopened(Random(1), power_cut=True, checkpoint=0)
    assert isinstance(reopened.failure, CorruptLog)
    assert cut == 0


def test_disk_flush_covers_what_was_there_when_it_began_and_dies_with_the_process() -> None:
    """Appends during a flush wait for the next one; a flush of a former life tells nobody."""
    kernel = Kernel(1)
    disk = SimDisk(kernel, Random(1), DiskConditions(sync_ms=0, slow=1.0, slow_ms=50), Coverage())
    disk.run = lambda call, *args: call(*args)
    log = new_log()
    append(log)
    told: list[object] = []
    disk.request(log, told.append)
    append(log)
    kernel.run(60)
    assert (log.durable_offset, told) == (1, [None])
    disk.request(log, told.append)
    disk.crash()
    kernel.run(200)
    assert (log.durable_offset, told) == (1, [None])


def test_disk_dies_between_two_operations() -> None:
    """The process is gone half way: the operation before is done, the one after is not."""
    disk = SimDisk(Kernel(1), Random(1), DiskConditions(), Coverage())
    disk.dies_in = 2
    disk.replace("a", 1)
    with pytest.raises(NodeCrashed):
        disk.replace("b", 2)
    assert disk.files == {"a": 1}
