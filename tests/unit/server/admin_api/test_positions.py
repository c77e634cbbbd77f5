"""How old the first record at an offset is, from the one batch that holds it."""

import asyncio
from types import SimpleNamespace

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.admin_api.lag import Position
from moldau_broker.server.admin_api.positions import Ask, LocalPositions, first_timestamp
from moldau_broker.storage.errors import StorageError
from moldau_broker.testing.coordinator import MemoryLog
from moldau_broker.wire.records import Record, build_batch

RECORDS = [Record(at, 1_000 + 10 * at, None, b"v") for at in range(5, 8)]


@pytest.mark.parametrize(
    ("batch", "offset", "timestamp"),
    [
        (build_batch(RECORDS, base_offset=5), 5, 1_050),
        (build_batch(RECORDS, base_offset=5), 6, 1_060),
        (build_batch(RECORDS, base_offset=5), 3, 1_050),
        (build_batch(RECORDS, base_offset=5, codec=1), 7, 1_070),
        (build_batch(RECORDS, base_offset=5), 8, None),
        (build_batch(RECORDS[::2], base_offset=5), 6, 1_070),
        (build_batch(RECORDS[:1], base_offset=5, last_offset_delta=3), 6, None),
        (build_batch(RECORDS, base_offset=5, timestamp_type=1, max_timestamp=9_000), 6, 9_000),
        (build_batch(RECORDS, base_offset=5, delete_horizon_ms=77_000), 5, 1_050),
        (build_batch(RECORDS, base_offset=5, control=True), 5, None),
        (build_batch([], base_offset=5, last_offset_delta=2), 5, None),
        (build_batch([Record(5, -1, None, b"v")], base_offset=5), 5, None),
        (build_batch(RECORDS, base_offset=5)[:70], 6, None),
        (b"", 0, None),
    ],
    ids=[
        "the first: told by the header",
        "in the middle",
        "the batch begins later",
        "compressed",
        "behind the batch",
        "compacted away",
        "the last ones compacted away",
        "append time",
        "a delete horizon in the base timestamp's place",
        "control records",
        "empty after compaction",
        "no timestamp",
        "damaged",
        "nothing",
    ],
)
def test_first_timestamp_is_that_of_the_first_record_not_consumed(batch, offset, timestamp):
    """Whatever the batch looks like; None where it does not tell."""
    assert first_timestamp(batch, offset) == timestamp


class _Log(MemoryLog):
    """A log in memory that counts reads, and fails when told to."""

    reads = 0
    broken = False

    def read(self, *args, **kwargs):
        self.reads += 1
        if self.broken:
            raise StorageError("broken")
        return super().read(*args, **kwargs)


class _Replicas:
    """One partition led here."""

    def __init__(self):
        self.log = _Log()
        for first in (0, 3):
            self.log.append(build_batch([Record(at, 1_000 * (first + at), None, b"v") for at in range(3)]))
        self.led = SimpleNamespace(
            topic_id=bytes(16),
            index=0,
            leader_epoch=1,
            log=self.log,
            log_start_offset=0,
            high_watermark=6,
            leadership_error=lambda _: ErrorCode.NONE,
            is_ready=True,
        )

    def partition(self, topic, index):
        return self.led if (topic, index) == ("t", 0) else None

    def missing_error(self, topic, index):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _look_up(positions, *asks):
    return list(asyncio.run(positions.look_up(asks)).values())


def test_positions_are_remembered():
    """A group that stands still costs one read, whoever asks how often."""
    replicas = _Replicas()
    positions = LocalPositions(replicas)
    for _ in range(3):
        assert _look_up(positions, Ask("t", 0, 4)) == [Position(0, 6, timestamp_ms=4_000)]
    assert replicas.log.reads == 1


def test_positions_are_not_remembered_beyond_their_epoch():
    """The next leader may have other records there."""
    replicas = _Replicas()
    positions = LocalPositions(replicas)
    _look_up(positions, Ask("t", 0, 4))
    replicas.led.leader_epoch = 2
    _look_up(positions, Ask("t", 0, 4))
    assert replicas.log.reads == 2


def test_positions_at_the_end_read_nothing():
    """There is no record whose age could be told."""
    replicas = _Replicas()
    assert _look_up(LocalPositions(replicas), Ask("t", 0, 6), Ask("t", 0)) == [Position(0, 6)] * 2
    assert replicas.log.reads == 0


def test_positions_before_the_log_start_are_those_of_the_log_start():
    """What was deleted cannot be consumed any more."""
    replicas = _Replicas()
    replicas.led.log_start_offset = 5
    assert _look_up(LocalPositions(replicas), Ask("t", 0, 1)) == [Position(5, 6, timestamp_ms=5_000)]


def test_positions_do_not_show_what_is_not_committed():
    """The record behind the high watermark may be taken back."""
    replicas = _Replicas()
    replicas.led.high_watermark = 3
    assert _look_up(LocalPositions(replicas), Ask("t", 0, 4)) == [Position(0, 3)]


def test_positions_of_a_broken_log_are_an_error_of_that_partition():
    """The others are answered."""
    replicas = _Replicas()
    replicas.log.broken = True
    positions = LocalPositions(replicas)
    found = _look_up(positions, Ask("t", 0, 4), Ask("t", 0, 6), Ask("u", 0, 1))
    assert found == [ErrorCode.KAFKA_STORAGE_ERROR, Position(0, 6), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    replicas.log.broken = False
    assert _look_up(positions, Ask("t", 0, 4)) == [Position(0, 6, timestamp_ms=4_000)]


def test_positions_remembered_are_bounded():
    """The one that nobody has asked about for longest goes."""
    replicas = _Replicas()
    positions = LocalPositions(replicas, remembered_max=2)
    for epoch in (0, 1, 2):
        replicas.led.leader_epoch = epoch
        _look_up(positions, Ask("t", 0, 4))
    _look_up(positions, Ask("t", 0, 4))
    assert replicas.log.reads == 3
    replicas.led.leader_epoch = 0
    _look_up(positions, Ask("t", 0, 4))
    assert replicas.log.reads == 4


def test_positions_of_a_new_leader_wait_until_it_knows_what_is_committed():
    """Its high watermark may be that of long ago, and a lag that is too small is good news that is not true."""
    replicas = _Replicas()
    replicas.led.is_ready = False
    assert _look_up(LocalPositions(replicas), Ask("t", 0, 4)) == [ErrorCode.OFFSET_NOT_AVAILABLE]
