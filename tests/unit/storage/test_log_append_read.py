"""Appending to a log and reading it back."""

from __future__ import annotations

import pytest

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.errors import InvalidBatches, OffsetOutOfRange, StorageError
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import append, make_batch, open_at, read_all
from moldau_broker.wire.records import crc_ok, parse_header, read_records

SMALL = TopicConfig(segment_bytes=2_000, index_interval_bytes=200)


def fill(log, batches, *, records=3, epoch=0):
    for number in range(batches):
        append(log, make_batch([b"%d-%d" % (number, at) for at in range(records)]), epoch=epoch)


def test_append_assigns_offsets_and_epoch_outside_the_crc():
    """The leader's base offset and epoch are patched in place and the CRC still holds."""
    log = open_at(SimDisk())
    assert append(log, make_batch([b"a", b"b"]), epoch=7) == 0
    assert append(log, make_batch([b"c"]), epoch=8) == 2
    (first, data), (second, _) = read_all(log)
    assert (first.base_offset, first.last_offset, first.partition_leader_epoch) == (0, 1, 7)
    assert (second.base_offset, second.last_offset, second.partition_leader_epoch) == (2, 2, 8)
    assert crc_ok(data, 0, first.size)
    assert log.epochs.entries() == [(7, 0), (8, 2)]


@pytest.mark.parametrize("max_bytes", [1, 100, 250, 10_000])
def test_read_returns_whole_batches_from_the_one_that_holds_the_offset(max_bytes):
    """Every offset of every segment is found, in whole batches, never more than asked for but one batch."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 120)
    assert len(log.segments) > 4
    for offset in range(log.log_end_offset):
        data = bytes(log.read(offset, max_bytes))
        header = parse_header(data)
        assert header.base_offset <= offset <= header.last_offset
        position = 0
        while position < len(data):
            header = parse_header(data, position)
            assert crc_ok(data, position, header.size)
            position += header.size
        assert position == len(data)
        assert len(data) <= max_bytes or len(data) == parse_header(data).size


def test_read_at_the_end_is_empty_and_beyond_it_is_refused():
    """The log's end is a legal fetch offset; outside start..end is not."""
    log = open_at(SimDisk())
    fill(log, 2)
    assert log.read(6, 1_000) == b""
    for offset in (-1, 7):
        with pytest.raises(OffsetOutOfRange):
            log.read(offset, 1_000)


def test_read_without_min_one_returns_nothing_when_the_first_batch_is_too_large():
    """KIP-74: only the first partition of a fetch gets a batch above its limit."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 40)
    for offset in (0, 60, log.log_end_offset - 1):
        assert log.read(offset, 10, min_one=False) == b""
        assert log.read(offset, 10, min_one=True) != b""


@pytest.mark.parametrize("max_bytes", [100, 1_000_000])
def test_read_never_passes_up_to(max_bytes):
    """No batch that reaches `up_to` is given, even if it begins below."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 60)
    end = log.log_end_offset
    for up_to in range(0, end + 1, 7):
        for offset in range(0, up_to, 5):
            data = bytes(log.read(offset, max_bytes, up_to=up_to))
            position = 0
            while position < len(data):
                header = parse_header(data, position)
                assert header.last_offset < up_to
                position += header.size


def test_read_nowait_says_when_it_would_wait():
    """Cold pages give None for closed segments; the same read answers once they are warm."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    fill(log, 60)
    disk.cold = True
    assert log.read_nowait(0, 1_000) is None
    disk.cold = False
    assert log.read_nowait(0, 1_000) == log.read(0, 1_000)


def test_tail_remembers_about_a_thousand_batches_and_older_ones_are_found_by_index():
    """Reads on both sides of the in-memory tail agree with what was written."""
    log = open_at(SimDisk())
    for number in range(3_000):
        append(log, make_batch([b"%d" % number]))
    tail = log.active.tail
    assert 700 < len(tail.last) <= 1_024
    for offset in (0, 1, 1_500, tail.floor - 1, tail.floor, tail.floor + 1, 2_999):
        data = bytes(log.read(offset, 1))
        assert parse_header(data).base_offset == offset
        assert read_records(data)[0].value == b"%d" % offset


def test_append_replica_keeps_offsets_and_epochs_and_rolls_where_it_must():
    """A follower's log equals its leader's, batch for batch."""
    leader, follower = open_at(SimDisk(), SMALL), open_at(SimDisk(), SMALL)
    fill(leader, 40, epoch=1)
    fill(leader, 40, epoch=4)
    while follower.log_end_offset < leader.log_end_offset:
        follower.append_replica(leader.read(follower.log_end_offset, 3_000), 1_000)
    assert list(read_all(follower)) == list(read_all(leader))
    assert follower.epochs.entries() == [(1, 0), (4, 120)]
    assert len(follower.segments) == len(leader.segments)


def test_append_replica_refuses_damaged_or_misplaced_batches_whole():
    """One bad batch in a fetched run leaves the log as it was."""
    log = open_at(SimDisk())
    good = make_batch([b"a"], base_offset=0, leader_epoch=0)
    bad = make_batch([b"b"], base_offset=1, leader_epoch=0)
    bad[-1] ^= 1
    for run in (good + bad, good + good, good + bad[:-3], make_batch([b"x"])[:40]):
        with pytest.raises(InvalidBatches):
            log.append_replica(run, 1_000)
        assert log.log_end_offset == 0
        assert log.size_bytes == 0
    log.append_replica(good, 1_000)
    assert log.log_end_offset == 1


def test_roll_by_time_follows_record_timestamps():
    """A batch later than segment.ms after the segment's first begins a new one; the clock does not matter."""
    log = open_at(SimDisk(), TopicConfig(segment_ms=1_000))
    append(log, make_batch(timestamp=5_000), now_ms=9_000_000)
    append(log, make_batch(timestamp=6_000), now_ms=9_900_000)
    assert len(log.segments) == 1
    append(log, make_batch(timestamp=6_001), now_ms=9_000_000)
    assert [segment.base_offset for segment in log.segments] == [0, 2]


def test_roll_when_the_index_is_full():
    """segment.index.bytes bounds the entries of a segment."""
    log = open_at(SimDisk(), TopicConfig(segment_index_bytes=24, index_interval_bytes=0))
    fill(log, 12)
    assert len(log.segments) > 3
    assert all(len(segment.offset_index) <= 3 for segment in log.segments)
    assert [h.base_offset for h, _ in read_all(log)] == list(range(0, 36, 3))


def test_roll_when_an_offset_does_not_fit_32_bits():
    """A follower's batch 2^31 above the segment's base goes into a new segment."""
    log = open_at(SimDisk())
    log.append_replica(make_batch([b"a"], base_offset=0, leader_epoch=0), 1_000)
    log.append_replica(make_batch([b"b"], base_offset=2**31 - 1, leader_epoch=0), 1_000)
    assert len(log.segments) == 1
    log.append_replica(make_batch([b"c"], base_offset=2**31, leader_epoch=0), 1_000)
    assert [segment.base_offset for segment in log.segments] == [0, 2**31]
    assert parse_header(log.read(5, 1_000)).base_offset == 2**31 - 1
    assert parse_header(log.read(2**31, 1_000)).base_offset == 2**31


def test_index_has_an_entry_per_batch_once_the_interval_has_passed():
    """Entries name the last offset of the batch at their position (Kafka 4.x)."""
    log = open_at(SimDisk(), TopicConfig(index_interval_bytes=100))
    fill(log, 20)
    batches = {batch.position: batch.last_offset for batch in log.active.batches()}
    entries = log.active.offset_index.entries()
    assert len(entries) > 5
    assert all(batches[position] == offset for offset, position in entries)


def test_append_after_failure_is_refused():
    """A log that failed raises the same error for everything."""
    log = open_at(SimDisk())
    error = StorageError("gone")
    log.fail(error)
    for action in (lambda: append(log, make_batch()), lambda: log.read(0, 1), log.flush):
        with pytest.raises(StorageError, match="gone"):
            action()


def test_offset_for_timestamp_finds_the_first_record_at_or_after():
    """The search looks inside batches and honours `up_to` and the log start."""
    log = open_at(SimDisk(), SMALL)
    for number in range(100):
        append(log, make_batch([b"x"] * 3, timestamp=10_000 + number * 10), epoch=number // 50)
    assert log.offset_for_timestamp(0) == (0, 10_000, 0)
    assert log.offset_for_timestamp(10_002) == (2, 10_002, 0)
    assert log.offset_for_timestamp(10_003) == (3, 10_010, 0)
    assert log.offset_for_timestamp(10_501) == (151, 10_501, 1)
    assert log.offset_for_timestamp(10_501, up_to=151) is None
    assert log.offset_for_timestamp(10_993) is None
    log.advance_log_start(31)
    assert log.offset_for_timestamp(0) == (31, 10_101, 0)


def test_max_timestamp_offset_is_the_record_with_the_largest_timestamp():
    """ListOffsets -3: the record itself, wherever it lies."""
    log = open_at(SimDisk(), SMALL)
    assert log.max_timestamp_offset() is None
    for number, timestamp in enumerate([10, 500, 90, 400] * 10):
        append(log, make_batch([b"x" * 50] * 2, timestamp=timestamp + number // 4))
    assert log.max_timestamp_offset() == (75, 510, 0)
    assert log.max_timestamp_offset(up_to=75) is None


def test_open_files_stay_within_their_bound():
    """Reading a log of many segments does not keep their files open."""
    disk = SimDisk()
    log = open_at(disk, SMALL, open_files=4)
    fill(log, 400)
    assert len(log.segments) >= 20
    for segment in log.segments:
        log.sync()
        log.read(segment.base_offset, 100)
    assert sum(segment.file is not None for segment in log.segments) <= 6
