"""Truncation, retention, the log start offset, full disks and failing ones."""

from __future__ import annotations

import errno

import pytest

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.errors import DiskFull, OffsetOutOfRange, StorageError
from moldau_broker.storage.retention import Reason
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import append, make_batch, open_at, read_all

SMALL = TopicConfig(segment_bytes=1_000, index_interval_bytes=200, retention_ms=-1, file_delete_delay_ms=50)


def fill(log, count, *, records=2, epoch=0):
    for _ in range(count):
        append(log, make_batch([b"x" * 20] * records), epoch=epoch)


def offsets(log):
    return [header.base_offset for header, _ in read_all(log)]


@pytest.mark.parametrize("offset", [0, 1, 2, 59, 60, 61, 119])
def test_truncate_drops_the_batch_that_reaches_the_offset_and_all_after_it(offset):
    """What is left reads back, and appending goes on at its end."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    fill(log, 60)
    log.truncate_to(offset)
    end = offset // 2 * 2
    assert log.log_end_offset == end
    assert offsets(log) == list(range(0, end, 2))
    assert append(log, make_batch([b"new"]), epoch=3) == end
    log.close(clean=False)
    again = open_at(disk, SMALL, clean=False, recovery_point=0)
    assert offsets(again) == [*range(0, end, 2), end]


def test_truncate_takes_epochs_and_producers_back():
    """Neither remembers what is gone."""
    log = open_at(SimDisk(), SMALL)
    for number in range(30):
        batch = make_batch([b"x"], producer_id=1, producer_epoch=0, base_sequence=number)
        append(log, batch, epoch=number // 10)
    log.truncate_to(15)
    assert log.epochs.entries() == [(0, 0), (1, 10)]
    assert log.producers.get(1).last_sequence == 14
    assert log.end_offset_for(1) == (1, 15)
    assert log.generation == 2


def test_truncate_below_the_log_start_begins_anew_there():
    """A follower far behind its leader's start drops everything."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 30)
    log.advance_log_start(20)
    log.truncate_to(10)
    assert (log.log_start_offset, log.log_end_offset) == (10, 10)
    log.truncate_fully(500)
    assert (log.log_start_offset, log.log_end_offset) == (500, 500)
    fill(log, 2)
    assert offsets(log) == [500, 502]


def test_empty_log_takes_a_batch_that_its_start_lies_in():
    """A leader's log start inside a batch: the follower's first batch begins below its own start."""
    log = open_at(SimDisk(), SMALL)
    log.truncate_fully(11)
    log.append_replica(make_batch([b"a", b"b", b"c"], base_offset=10, leader_epoch=2), 1_000)
    assert (log.log_start_offset, log.log_end_offset) == (11, 13)
    assert offsets(log) == [10]
    assert log.read(11, 1_000) == log.read(12, 1_000)


def test_reads_that_truncation_interrupts_start_over():
    """A reader that began before a truncation never returns what it took away."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 60)
    segment = log.segments[1]
    original = type(segment).read
    calls = []

    def read(self, offset, max_bytes, up_to, **how):
        data = original(self, offset, max_bytes, up_to, **how)
        if not calls:
            calls.append(offset)
            log.truncate_to(segment.base_offset + 4)
        return data

    try:
        type(segment).read = read
        data = log.read(segment.base_offset, 10_000)
    finally:
        type(segment).read = original
    assert calls
    assert int.from_bytes(data[:8], "big") == segment.base_offset
    assert len(data) == sum(batch.size for batch in log.active.batches())


def test_retention_by_size_retires_files_and_purge_frees_them_later():
    """Segments are out of sight at once and off the disk after file.delete.delay.ms."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    fill(log, 60)
    log.high_watermark = log.log_end_offset
    log.update_config(TopicConfig(**{**_values(SMALL), "retention_bytes": 2_000}))
    before = disk.used()
    deleted = log.enforce_retention(1_000)
    assert deleted
    assert {deletion.reason for deletion in deleted} == {Reason.SIZE}
    assert (
        log.log_start_offset
        == log.segments[0].base_offset
        == deleted[-1].base_offset + (deleted[1].base_offset - deleted[0].base_offset)
    )
    assert log.size_bytes >= 2_000
    assert disk.used() >= before - 200
    assert log.purge(1_049) == 0
    assert log.purge(1_050) == sum(deletion.size for deletion in deleted)
    assert disk.used() < before
    with pytest.raises(OffsetOutOfRange):
        log.read(0, 1)
    assert not any(entry.name.endswith(".deleted") for entry in disk.entries("t-0"))
    assert all(
        int(entry.name[:20]) >= log.log_start_offset
        for entry in disk.entries("t-0")
        if entry.name.endswith((".snapshot", ".index", ".log"))
    )


def _values(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_retention_by_time_rolls_an_old_active_segment():
    """A log that nobody writes to becomes empty, at its end."""
    log = open_at(SimDisk(), TopicConfig(retention_ms=1_000))
    append(log, make_batch(timestamp=5_000))
    log.high_watermark = 1
    assert log.enforce_retention(6_000) == []
    assert [deletion.reason for deletion in log.enforce_retention(6_001)] == [Reason.TIME]
    assert (log.log_start_offset, log.log_end_offset) == (1, 1)
    assert log.enforce_retention(9_000) == []
    assert append(log, make_batch(timestamp=9_000)) == 1


def test_readers_of_a_retired_segment_finish():
    """A handle taken before the deletion reads on."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 60)
    segment = log.segments[0]
    file = segment.handle()
    log.high_watermark = log.log_end_offset
    log.advance_log_start(40)
    log.enforce_retention(1_000)
    log.purge(2_000)
    assert segment not in log.segments
    assert len(file.pread(segment.size, 0)) == segment.size


def test_advance_log_start_is_bounded_by_the_end():
    """DeleteRecords cannot delete what is not there yet."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 3)
    with pytest.raises(OffsetOutOfRange):
        log.advance_log_start(7)
    log.advance_log_start(3)
    log.advance_log_start(1)
    assert log.log_start_offset == 3
    assert offsets(log) == [2, 4]


def test_full_disk_refuses_a_batch_whole_and_heals():
    """Whatever part of a write fitted is gone again, also when the batch needed a new segment."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for room in range(0, 400, 7):
        fill(log, 1)
        disk.capacity = disk.used() + room
        size, end, content = log.size_bytes, log.log_end_offset, offsets(log)
        with pytest.raises(DiskFull):
            append(log, make_batch([bytes(500)]))
        assert (log.size_bytes, log.log_end_offset, offsets(log)) == (size, end, content)
        disk.capacity = None
    log.sync()
    log.close()
    again = open_at(disk, SMALL, recovery_point=log.log_end_offset)
    assert offsets(again) == list(range(0, log.log_end_offset, 2))


@pytest.mark.parametrize("kind", ["append", "datasync"])
def test_io_error_takes_the_log_out_of_service_for_good(kind):
    """fsync is never retried: after an error nobody knows what the disk holds."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    fill(log, 2)
    disk.failing[kind] = errno.EIO
    if kind == "datasync":
        fill(log, 1)
    with pytest.raises(StorageError):
        (log.flush if kind == "datasync" else lambda: fill(log, 1))()
    del disk.failing[kind]
    assert log.failure is not None
    for action in (log.flush, lambda: fill(log, 1), lambda: log.read(0, 1)):
        with pytest.raises(StorageError):
            action()
    assert log.durable_offset == 0


def test_flush_of_an_older_generation_marks_nothing_durable():
    """Offsets that a truncation took back and others refilled are not durable by the old flush."""
    log = open_at(SimDisk(), SMALL)
    fill(log, 10)
    generation, end = log.generation, log.flush()
    log.truncate_to(4)
    fill(log, 10)
    log.mark_durable(end, generation)
    assert log.durable_offset <= 4
    assert log.sync() == log.durable_offset == log.log_end_offset


def test_flush_is_due_by_count_and_by_bytes():
    """flush.messages records, or a rolled segment, ask for a flush once, until it has happened."""

    class Observer:
        def __init__(self):
            self.due = 0

        def flush_due(self, log):
            self.due += 1

        def failed(self, log, error):
            raise error

        def truncating(self, log, offset):
            raise AssertionError("nothing is truncated here")

    log = open_at(SimDisk(), TopicConfig(flush_messages=5, segment_bytes=1_000))
    observer = log.observer = Observer()
    fill(log, 2)
    assert observer.due == 0
    fill(log, 3)
    assert observer.due == 1
    log.sync()
    fill(log, 3)
    assert observer.due == 2
    fill(log, 20)
    assert len(log.segments) > 1
    assert observer.due > 2


def test_an_epoch_that_could_not_begin_is_taken_back():
    """No room for an epoch's first record: an older epoch's record may come to stand there, and its start stays.

    Were epoch 5 remembered, the next record of epoch 4 would be taken for the first one of epoch 4.
    """
    disk = SimDisk()
    log = open_at(disk, SMALL)
    fill(log, 3, epoch=4)
    disk.capacity = disk.used()
    with pytest.raises(DiskFull):
        append(log, make_batch([b"x"]), epoch=5)
    disk.capacity = None
    append(log, make_batch([b"x"]), epoch=4)
    assert log.epochs.entries() == [(4, 0)]


def test_a_log_that_has_no_room_to_begin_anew_is_as_before():
    """The new segment's file cannot be made: nothing is lost, nothing has failed, and later it works."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    fill(log, 60)
    before = offsets(log)
    disk.failing["create"] = errno.ENOSPC
    with pytest.raises(DiskFull):
        log.truncate_fully(500)
    assert log.failure is None
    assert offsets(log) == before
    disk.failing.clear()
    assert append(log, make_batch([b"x"])) == 120
    log.truncate_fully(500)
    assert (log.log_start_offset, log.log_end_offset) == (500, 500)
    assert append(log, make_batch([b"x"])) == 500
    log.close()
    assert offsets(open_at(disk, SMALL)) == [500]
