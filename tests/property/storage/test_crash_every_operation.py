"""A power failure at every single disk operation of a busy log: what was flushed is there, the rest is a prefix."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.ids import random_uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.disk import SimCrash, SimDisk
from moldau_broker.testing.logs import append, make_batch, read_all

CONFIG = TopicConfig(
    segment_bytes=700, index_interval_bytes=150, retention_bytes=1_500, file_delete_delay_ms=0
)
TOPIC_ID = random_uuid(Random(1))


class Clock:
    """Stands still: no test here depends on time."""

    def wall_ms(self):
        return 1_000

    def monotonic_ms(self):
        return 1_000


class Ghost:
    """What the log may hold after a crash: a prefix of one of the histories, all that was promised included."""

    def __init__(self):
        self.history = []
        self.older = []
        self.durable = 0
        self.start_max = 0

    def appended(self, base, data):
        self.history.append((base, bytes(data)))

    def flushed(self, end):
        self.durable = end
        self.older = []

    def truncating(self, offset):
        self.older.append(list(self.history))
        self.history = [(base, data) for base, data in self.history if base < offset]
        self.durable = min(self.durable, offset)

    def check(self, log):
        found = [(header.base_offset, data) for header, data in read_all(log)]
        end = found[-1][0] + 1 if found else log.log_end_offset
        assert log.log_end_offset >= self.durable, f"{log} lost data that was durable up to {self.durable}"
        assert log.log_start_offset <= self.start_max
        expected = [
            [entry for entry in history if log.log_start_offset <= entry[0] < end]
            for history in (self.history, *self.older)
        ]
        assert found in expected, f"{log} is no prefix of what was written"


def open_dir(disk):
    directory = LogDir.open(disk, cluster_id="c", node_id=1, clock=Clock(), rng=Random(3))
    directory.load_logs(lambda _: CONFIG)
    return directory


def work(disk, ghost, rng):
    """Appends, flushes, checkpoints, rolls, retention, truncation, and a clean stop and start between."""
    directory = open_dir(disk)
    log = directory.create_log("t", 0, TOPIC_ID, CONFIG)
    epoch = 0
    for number in range(60):
        known = log.producers.get(9)
        batch = make_batch(
            [rng.randbytes(rng.randint(1, 60))],
            timestamp=1_000 + number,
            producer_id=9,
            producer_epoch=epoch,
            base_sequence=known.last_sequence + 1 if known else 0,
        )
        base = log.log_end_offset
        ghost.appended(base, b"")
        append(log, batch, epoch=epoch)
        ghost.history[-1] = (base, bytes(batch))
        choice = rng.random()
        if choice < 0.3:
            ghost.flushed(log.sync())
        elif choice < 0.4:
            directory.checkpoint(directory.collect())
        elif choice < 0.45:
            log.roll()
        elif choice < 0.5:
            log.high_watermark = log.durable_offset
            ghost.start_max = max(ghost.start_max, log.log_end_offset)
            log.enforce_retention(1_000)
            directory.purge(1_000)
        elif choice < 0.55:
            offset = max(log.log_start_offset, log.log_end_offset - rng.randint(1, 8))
            ghost.truncating(offset)
            log.truncate_to(offset)
            epoch += 1
        elif choice < 0.58:
            directory.close(broker_epoch=4)
            ghost.flushed(log.log_end_offset)
            directory = open_dir(disk)
            assert not directory.offline
            log = directory.logs["t", 0]
            ghost.check(log)
    return log


@pytest.mark.parametrize("seed", range(3))
def test_crash_at_every_operation_keeps_what_was_flushed(seed):
    """Acked data is never lost, nothing is ever invented, and no crash leads to a quarantine."""
    reference = SimDisk()
    work(reference, Ghost(), Random(seed))
    total = len(reference.operations)
    assert total > 150
    cuts = 0
    for number in range(total):
        disk, ghost = SimDisk(), Ghost()
        disk.crash_at = number
        with pytest.raises(SimCrash):
            work(disk, ghost, Random(seed))
        disk.crash(Random(seed * 1_000 + number))
        directory = open_dir(disk)
        assert not directory.offline, f"operation {number}"
        log = directory.logs.get(("t", 0))
        if log is None:
            assert ghost.durable == 0
            continue
        ghost.check(log)
        cuts += log.recovery.cut_at >= 0
        # It serves on: append, stop cleanly, and find all of it again.
        append(log, make_batch([b"after"]), epoch=99)
        end = log.log_end_offset
        directory.close()
        again = open_dir(disk)
        assert not again.offline
        assert again.logs["t", 0].log_end_offset == end
        again.close()
    assert cuts > 0, "no crash ever tore a tail: the test does not bite"
