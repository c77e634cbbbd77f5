"""Compaction of a log's files: what is swapped in, and that no crash on the way loses anything.

Reference: Kafka's `LocalLog.replaceSegments` and `LogLoader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.compact_job import CleanerSettings, Done, job_for
from moldau_broker.storage.compact_rewrite import Round
from moldau_broker.storage.compact_swap import Swap, remove_leftovers, settle_swaps
from moldau_broker.storage.compaction import SegmentFacts, plan_clean
from moldau_broker.storage.disk import Disk
from moldau_broker.storage.errors import CorruptLog, DiskFull
from moldau_broker.storage.log import Log
from moldau_broker.storage.names import CLEANED, DELETED, SWAP, TXN_INDEX
from moldau_broker.testing.disk import SimCrash, SimDisk
from moldau_broker.testing.logs import append, make_marker, open_at, read_all
from moldau_broker.wire.records import Record, build_batch, read_records

NOW = 1_700_000_000_000
CONFIG = TopicConfig(
    cleanup_policy=frozenset({"compact"}),
    segment_bytes=900,
    index_interval_bytes=64,
    delete_retention_ms=1_000,
    file_delete_delay_ms=0,
)


def keyed(
    keys: str, at: int, *, producer_id: int = -1, sequence: int = -1, transactional: bool = False
) -> bytearray:
    """A batch with one record per letter; a capital letter is a tombstone."""
    records = [
        Record(n, NOW + at + n, key.lower().encode(), None if key.isupper() else f"{key}{at + n}".encode())
        for n, key in enumerate(keys)
    ]
    return build_batch(
        records,
        codec=(0, 3, 1)[at % 3],
        producer_id=producer_id,
        producer_epoch=0 if producer_id >= 0 else -1,
        base_sequence=sequence,
        transactional=transactional,
    )


def filled(disk: Disk, *, batches: int = 60, config: TopicConfig = CONFIG, seed: int = 1) -> Log:
    """A durable log of a dozen segments with idempotent, plain and transactional batches."""
    log = open_at(disk, config)
    rng = Random(seed)
    sequence = 0
    for _ in range(batches):
        letters = "".join(rng.choice("abcdefghijKLm") for _ in range(rng.randint(1, 4)))
        at = log.log_end_offset
        match rng.randint(0, 5):
            case 0:
                append(log, keyed(letters, at, producer_id=5, sequence=sequence), now_ms=NOW)
                sequence += len(letters)
            case 1:
                append(log, keyed(letters, at, producer_id=6, sequence=at, transactional=True), now_ms=NOW)
                append(log, make_marker(6, 0, commit=rng.random() < 0.5, timestamp=NOW + at), now_ms=NOW)
            case _:
                append(log, keyed(letters, at), now_ms=NOW)
    log.sync()
    for segment in log.segments:  # a flush leaves the active segment's transaction index to the next roll
        disk.datasync(log.place.path(segment.name(TXN_INDEX)))
    disk.sync_folder("t-0")
    return log


def contents(log: Log) -> list[Record]:
    """Every data record by fetching; checks that offsets only rise."""
    records = [
        record for header, data in read_all(log) if not header.is_control for record in read_records(data)
    ]
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))
    return records


def committed(log: Log) -> list[Record]:
    """What a read_committed consumer sees."""
    aborted = log.aborted_transactions(log.log_start_offset, log.log_end_offset)
    hidden: set[int] = set()
    seen: list[Record] = []
    pending = sorted(aborted, key=lambda entry: entry.first_offset)
    for header, data in read_all(log):
        while pending and pending[0].first_offset <= header.last_offset:
            hidden.add(pending.pop(0).producer_id)
        if header.is_control:
            if any(record.key == b"\0\0\0\0" for record in read_records(data)):
                hidden.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in hidden):
            seen += read_records(data)
    return seen


def newest(records: list[Record]) -> dict[bytes | None, Record]:
    """The last record of every key."""
    return {record.key: record for record in records}


def rewrite(log: Log, disk: Disk, *, now_ms: int = NOW, first_dirty: int = 0) -> tuple[Round, Iterator]:
    """A round over all closed segments of `log`, indexed."""
    plan = plan_clean(
        [SegmentFacts(segment.base_offset, segment.size, 0) for segment in log.segments],
        log.config,
        checkpoint=first_dirty,
        log_start_offset=log.log_start_offset,
        log_end_offset=log.log_end_offset,
        stable_offset=log.log_end_offset,
        now_ms=now_ms,
    )
    assert plan is not None
    work = Round(disk, job_for(log, plan, CleanerSettings(io_bytes=256), now_ms), lambda _: None)
    work.index()
    return work, work.groups()


def clean(log: Log, disk: Disk, *, now_ms: int = NOW, first_dirty: int = 0) -> Done:
    """A whole round with all its swaps."""
    work, groups = rewrite(log, disk, now_ms=now_ms, first_dirty=first_dirty)
    for ready in groups:
        swap = Swap(log, ready)
        assert swap.begin()
        swap.sync()
        assert swap.install(now_ms)
        swap.sync()
        swap.finish()
        swap.sync()
    log.purge(now_ms + 1)
    return work.done


def names(disk: Disk) -> list[str]:
    """File names in the folder."""
    return sorted(entry.name for entry in disk.entries("t-0"))


def test_clean_leaves_the_last_record_of_every_key():
    """Less is stored; readers by offset, by time and read_committed see what the rules keep."""
    disk = SimDisk()
    log = filled(disk)
    closed = log.active.base_offset
    before, visible = contents(log), committed(log)
    size = log.size_bytes
    done = clean(log, disk)
    after = contents(log)
    assert done.end == closed
    assert done.records_written < done.records_read
    assert log.size_bytes < size
    assert set(after) <= set(before)
    assert [record for record in after if record.offset >= closed] == [
        record for record in before if record.offset >= closed
    ]
    last = newest([record for record in visible if record.offset < closed])
    assert sorted(record.offset for record in after if record.offset < closed) == sorted(
        record.offset for record in last.values()
    )
    assert newest(committed(log)) == newest(visible)
    for record in after:
        found = log.offset_for_timestamp(record.timestamp)
        assert found is not None
        assert found.timestamp >= record.timestamp


def test_clean_survives_a_clean_and_an_unclean_restart():
    """The swapped files are ordinary ones: indexes fit, producer state is what it was."""
    disk = SimDisk()
    log = filled(disk)
    clean(log, disk)
    expected, state = contents(log), {entry.producer_id: entry for entry in log.producers}
    end = log.log_end_offset
    assert not [name for name in names(disk) if name.endswith((CLEANED, SWAP, DELETED))]
    log.close(clean=True)
    for how in (True, False):
        again = open_at(disk, CONFIG, clean=how, recovery_point=end)
        assert contents(again) == expected
        assert committed(again) == committed(log)
        assert again.recovery is not None
        assert again.recovery.rebuilt_indexes == 0
        for producer_id, entry in state.items():
            found = again.producers.get(producer_id)
            assert found is not None
            assert (found.epoch, found.last_sequence) == (entry.epoch, entry.last_sequence)


def test_clean_again_drops_tombstones_after_their_horizon():
    """The first round stamps them, a later one past delete.retention.ms removes them."""
    disk = SimDisk()
    log = filled(disk)
    closed = log.active.base_offset
    clean(log, disk)
    assert any(record.value is None for record in contents(log) if record.offset < closed)
    clean(log, disk, now_ms=NOW + 999)
    assert any(record.value is None for record in contents(log) if record.offset < closed)
    clean(log, disk, now_ms=NOW + 1_000)
    assert not any(record.value is None for record in contents(log) if record.offset < closed)


def test_clean_of_a_clean_log_swaps_nothing():
    """A segment that would be written as it is stays as it is."""
    disk = SimDisk()
    log = filled(
        disk,
        config=TopicConfig(
            segment_bytes=4_000, index_interval_bytes=64, cleanup_policy=frozenset({"compact"})
        ),
    )
    clean(log, disk)
    clean(log, disk)  # merges what fits into one segment now
    segments = log.segments
    _, groups = rewrite(log, disk)
    assert list(groups) == []
    assert log.segments == segments
    assert not [name for name in names(disk) if name.endswith(CLEANED)]


def crashes(start: SimDisk, *, seeds: int) -> Iterator[tuple[SimDisk, str]]:
    """A disk for every operation of a round at which it stops: killed, and with `seeds` ways to lose power."""
    whole = start.clone()
    log = open_at(whole, CONFIG)
    begin = len(whole.operations)
    clean(log, whole)
    total = len(whole.operations)
    assert total - begin > 50
    for number in range(begin, total):
        for seed in range(-1, seeds):
            disk = start.clone()
            log = open_at(disk, CONFIG)
            disk.crash_at = number
            with pytest.raises(SimCrash):
                clean(log, disk)
            what = (
                f"operation {number} {disk.operations[-1]}, {'killed' if seed < 0 else f'power lost {seed}'}"
            )
            disk.crash(Random(seed), lose_nothing=seed < 0)
            yield disk, what


def test_clean_crashed_at_every_operation_loses_nothing():
    """Killed or without power anywhere: the log opens, holds the last record of every key, and cleans to the end."""
    start = SimDisk()
    log = filled(start, batches=40)
    closed, end = log.active.base_offset, log.log_end_offset
    before, visible = contents(log), committed(log)
    producers = {entry.producer_id: entry.last_sequence for entry in log.producers}
    reference = start.clone()
    cleaned = open_at(reference, CONFIG)
    clean(cleaned, reference)
    survivors = contents(cleaned)
    tried = 0
    for disk, what in crashes(start, seeds=3):
        log = open_at(disk, CONFIG, clean=False, recovery_point=end)
        assert not [name for name in names(disk) if name.endswith((CLEANED, SWAP, DELETED))], what
        after = contents(log)
        assert log.log_end_offset == end, what
        assert set(survivors) <= set(after) <= set(before), what
        assert newest(committed(log)) == newest(visible), what
        assert [r for r in after if r.offset >= closed] == [r for r in before if r.offset >= closed], what
        for producer_id, sequence in producers.items():
            found = log.producers.get(producer_id)
            assert found is not None, what
            assert found.last_sequence == sequence, what
        clean(log, disk)
        assert contents(log) == survivors, what
        assert newest(committed(log)) == newest(visible), what
        tried += 1
    assert tried > 200


def test_recovery_crashed_at_every_operation_loses_nothing():
    """What interrupted the round may interrupt its recovery as well, wherever that was."""
    start = SimDisk()
    log = filled(start, batches=25)
    end = log.log_end_offset
    before, visible = contents(log), committed(log)
    rng = Random(3)
    tried = 0
    for crashed, what in crashes(start, seeds=1):
        probe = crashed.clone()
        probe.operations.clear()
        settle_swaps(open_place(probe))
        for number in range(len(probe.operations)):
            disk = crashed.clone()
            disk.crash_at = number
            with pytest.raises(SimCrash):
                settle_swaps(open_place(disk))
            disk.crash(rng, lose_nothing=number % 2 == 0)
            log = open_at(disk, CONFIG, clean=False, recovery_point=end)
            assert set(contents(log)) <= set(before), what
            assert newest(committed(log)) == newest(visible), (what, number)
            tried += 1
    assert tried > 200


def open_place(disk: Disk):
    """The folder without opening its log."""
    from moldau_broker.storage.place import Place

    return Place(disk, "t-0")


def test_swap_is_given_up_when_the_log_was_truncated():
    """Offsets were taken back: what was rewritten is not the log any more, and its files go."""
    disk = SimDisk()
    log = filled(disk)
    _, groups = rewrite(log, disk)
    ready = next(groups)
    swap = Swap(log, ready)
    assert swap.begin()
    log.truncate_to(log.segments[1].base_offset)
    assert not swap.install(NOW)
    before = contents(log)
    remove_leftovers(log.place)
    assert not [name for name in names(disk) if name.endswith((CLEANED, SWAP))]
    assert contents(open_at(disk, CONFIG, clean=False)) == before


def test_swap_is_given_up_when_retention_took_a_source():
    """With cleanup.policy compact,delete a segment may go while it is rewritten."""
    disk = SimDisk()
    log = filled(disk)
    _, groups = rewrite(log, disk)
    ready = next(groups)
    log.advance_log_start(log.segments[1].base_offset)
    log.high_watermark = log.log_end_offset
    assert log.enforce_retention(NOW)
    assert not Swap(log, ready).begin()
    remove_leftovers(log.place)
    assert not [name for name in names(disk) if name.endswith((CLEANED, SWAP))]


def test_leftovers_of_a_decided_swap_are_removed_without_doubt():
    """Stopped at any of its operations, the removal has either happened or can be completed by an opening."""
    start = SimDisk()
    log = filled(start)
    expected = contents(log)
    _, groups = rewrite(log, start)
    swap = Swap(log, next(groups))
    assert swap.begin()
    swap.sync()
    probe = start.clone()
    remove_leftovers(open_place(probe))
    for number in range(len(probe.operations)):
        for seed in range(4):
            disk = start.clone()
            disk.crash_at = number
            with pytest.raises(SimCrash):
                remove_leftovers(open_place(disk))
            disk.crash(Random(seed))
            again = open_at(disk, CONFIG, clean=False)
            assert newest(contents(again)) == newest(expected)
            assert newest(committed(again)) == newest(committed(log))


def test_clean_on_a_full_disk_gives_up_and_leaves_the_log_alone():
    """No space for the rewrite: nothing is swapped, everything is still there."""
    disk = SimDisk()
    log = filled(disk)
    before = contents(log)
    disk.capacity = disk.used() + 100
    work, groups = rewrite(log, disk)
    with pytest.raises(DiskFull):
        list(groups)
    remove_leftovers(log.place)
    disk.capacity = None
    assert contents(log) == before
    assert contents(open_at(disk, CONFIG, clean=False)) == before
    clean(log, disk)
    assert newest(committed(log))
    assert work.done.bytes_written > 0


@pytest.mark.parametrize("place", [3, 7, 9, 16, 23, 25, 70])
def test_clean_refuses_a_segment_with_a_flipped_bit(place: int):
    """Damage is reported with its place; nothing is rewritten from it and nothing removed."""
    disk = SimDisk()
    log = filled(disk)
    second = log.segments[1]
    path = log.place.path(second.name(".log"))
    disk.content(path)[place] ^= 4
    with pytest.raises(CorruptLog) as caught:
        clean(log, disk)
    assert caught.value.file == path
    assert caught.value.position == 0
    assert not [name for name in names(disk) if name.endswith(SWAP)]
