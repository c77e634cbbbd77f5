"""A log under one writer, readers and flushes on other threads: what is read is always whole and in place."""

from __future__ import annotations

import threading
import time
from random import Random

import pytest

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.errors import OffsetOutOfRange
from moldau_broker.storage.group_commit import GroupCommit
from moldau_broker.testing.logs import append, make_batch, open_at
from moldau_broker.wire.records import crc_ok, iter_batches, read_records

CONFIG = TopicConfig(
    segment_bytes=20_000, index_interval_bytes=500, retention_bytes=200_000, file_delete_delay_ms=0
)
APPENDS = 6_000


def test_readers_and_flushes_on_other_threads_see_a_consistent_log(tmp_path):
    """Appends, rolls, retention and truncation go on while others read and flush."""
    log = open_at(OsDisk(tmp_path), CONFIG, open_files=8)
    inbox = []
    commit = GroupCommit(inbox.append)
    stop = threading.Event()
    problems, reads = [], [0, 0]

    def read(number):
        rng = Random(number)
        while not stop.is_set():
            start, end = log.log_start_offset, log.log_end_offset
            offset = rng.randint(start, max(start, end - 1))
            try:
                data = bytes(log.read(offset, rng.choice([1, 900, 30_000]), up_to=end))
            except OffsetOutOfRange:
                continue
            try:
                for position, header in iter_batches(data, 0, len(data)):
                    if position == 0:
                        assert header.base_offset <= offset <= header.last_offset
                    assert crc_ok(data, position, header.size)
                    for record in read_records(data, position):
                        assert record.value.split(b":")[0] == b"%d" % record.offset
                reads[number] += 1
            except AssertionError as problem:
                problems.append((offset, problem))
                return

    threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    rng = Random(7)
    answered = []
    for number in range(APPENDS):
        base = log.log_end_offset
        batch = make_batch(
            [b"%d:" % (base + at) + bytes(rng.randint(0, 40)) for at in range(rng.randint(1, 3))]
        )
        append(log, batch, epoch=number // 1_000)
        if number % 7 == 0:
            commit.request(log, answered.append)
        if number % 50 == 0:
            log.high_watermark = log.durable_offset
            log.enforce_retention(1_000)
            commit.run(lambda: log.purge(1_000))
        if number % 501 == 500:
            log.truncate_to(max(log.log_start_offset, log.log_end_offset - rng.randint(1, 300)))
        while inbox:
            inbox.pop(0)()
        assert log.durable_offset <= log.log_end_offset
    deadline = time.monotonic() + 60
    while min(reads) < 200 and not problems and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    commit.close()
    assert problems == []
    assert min(reads) >= 200
    assert set(answered) == {None}
    assert log.durable_offset > 0
    end = log.log_end_offset
    log.sync()
    log.close(clean=False)
    again = open_at(OsDisk(tmp_path), CONFIG, clean=False, recovery_point=log.durable_offset)
    assert again.log_end_offset == end


def test_a_reader_that_dawdles_finds_its_segment_rolled_and_deleted(tmp_path, monkeypatch):
    """Between taking the active segment and opening its file: the log is looked at anew, and nothing is missing."""
    log = open_at(OsDisk(tmp_path), CONFIG, open_files=8)
    append(log, make_batch([b"0:"]), epoch=0)
    segment = log.active
    read_tail = type(segment).read_tail

    def late(self, *arguments, **options):
        monkeypatch.undo()
        assert self is segment
        while log.log_start_offset == 0:
            append(log, make_batch([bytes(5_000)]), epoch=0)
            log.sync()
            log.high_watermark = log.durable_offset
            log.enforce_retention(1_000)
            log.purge(1_000)
        assert segment.file is None
        return read_tail(self, *arguments, **options)

    monkeypatch.setattr(type(segment), "read_tail", late)
    with pytest.raises(OffsetOutOfRange):
        log.read(0, 100)
