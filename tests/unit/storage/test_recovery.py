"""Opening a log after a crash: torn tails are cut, damaged promises are not."""

from __future__ import annotations

import random

import pytest

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import append, make_batch, make_marker, open_at, read_all

SMALL = TopicConfig(segment_bytes=2_000, index_interval_bytes=200)
LOG0 = "t-0/00000000000000000000.log"


def values(log):
    return [(header.base_offset, header.last_offset, data) for header, data in read_all(log)]


def written(disk, batches=10, config=None, *, sync_at=None):
    """A log of `batches` batches, durable up to and including batch `sync_at`; its contents; the end offsets."""
    log = open_at(disk, config)
    ends = [0]
    for number in range(batches):
        append(
            log, make_batch([b"%d" % number] * (1 + number % 3), timestamp=1_000 + number), epoch=number // 4
        )
        ends.append(log.log_end_offset)
        if number == sync_at:
            log.sync()
    return values(log), ends


def test_tail_cut_at_every_byte_of_the_last_three_batches_recovers_to_the_last_whole_one():
    """Whatever byte a write stopped at, all whole batches before it are back and the rest is reported."""
    original = SimDisk()
    content, ends = written(original, sync_at=6)
    bounds = [0]
    for _, _, data in content:
        bounds.append(bounds[-1] + len(data))
    for size in range(bounds[7], bounds[10]):
        disk = original.clone()
        del disk.content(LOG0)[size:]
        log = open_at(disk, clean=False, recovery_point=ends[7])
        whole = sum(bound <= size for bound in bounds) - 1
        assert values(log) == content[:whole]
        assert log.log_end_offset == ends[whole]
        assert log.recovery.cut_bytes == size - bounds[whole]
        assert (log.recovery.cut_at == ends[whole]) == (size != bounds[whole])
        assert append(log, make_batch([b"next"]), epoch=9) == ends[whole]
        assert log.log_end_offset == ends[whole] + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, at: data.extend(bytes(4_096)),
        lambda data, at: data.extend(random.Random(5).randbytes(300)),
        lambda data, at: data.extend(random.Random(5).randbytes(50) + data[:at]),
        lambda data, at: data.extend(data[at:]),
        lambda data, at: data.__setitem__(slice(at, None), bytes(len(data) - at)),
        lambda data, at: data.__setitem__(slice(at + 30, at + 34), b"\xff\xff\xff\xff"),
        lambda data, at: data.__setitem__(slice(at + 8, at + 12), b"\x7f\xff\xff\xff"),
        lambda data, at: data.__setitem__(slice(at + 8, at + 12), b"\x00\x00\x00\x05"),
    ],
    ids=[
        "zero page",
        "garbage",
        "garbage, then valid batches",
        "a doubled batch",
        "zeroed batch",
        "flipped body",
        "huge length",
        "tiny length",
    ],
)
def test_damage_above_the_recovery_point_is_cut_and_reported(damage):
    """Above the recovery point nothing was promised: the log ends at the last whole batch."""
    disk = SimDisk()
    content, ends = written(disk, sync_at=6)
    size = len(disk.content(LOG0))
    last = size - len(content[-1][2])
    damage(disk.content(LOG0), last)
    kept = 10 if bytes(disk.content(LOG0)[last:size]) == content[-1][2] else 9
    log = open_at(disk, clean=False, recovery_point=ends[7])
    assert values(log) == content[:kept]
    assert log.recovery.cut_at == ends[kept]
    assert log.recovery.cut_bytes > 0
    assert log.recovery.reason
    assert len(disk.content(LOG0)) == sum(len(data) for _, _, data in content[:kept])


def test_damage_below_the_recovery_point_is_quarantined_and_stays_so():
    """A durable batch that fails its CRC takes the log out of service, whole, over restarts, clean or not."""
    disk = SimDisk()
    content, ends = written(disk, sync_at=9)
    before = len(disk.content(LOG0))
    first = len(content[0][2])
    disk.content(LOG0)[first + 70] ^= 1
    # The scan begins below the recovery point only as far as the index allows: here, at the segment's start.
    with pytest.raises(CorruptLog) as caught:
        open_at(disk, clean=False, recovery_point=ends[10])
    assert caught.value.offset == ends[1]
    assert len(disk.content(LOG0)) == before
    for clean in (True, False):
        with pytest.raises(CorruptLog, match="put aside"):
            open_at(disk, clean=clean, recovery_point=0)
    assert len(disk.content(LOG0)) == before


@pytest.mark.parametrize("clean", [True, False])
def test_log_shorter_than_its_recovery_point_is_quarantined(clean):
    """Durable data that is gone is not a torn tail."""
    disk = SimDisk()
    content, ends = written(disk, sync_at=9)
    del disk.content(LOG0)[-len(content[-1][2]) :]
    with pytest.raises(CorruptLog, match="durable up to"):
        open_at(disk, clean=clean, recovery_point=ends[10])


def test_lost_checkpoint_makes_the_middle_of_the_log_suspect_but_not_its_tail():
    """Without a recovery point only what looks like a torn tail is cut."""
    disk = SimDisk()
    content, ends = written(disk, sync_at=9)
    torn = disk.clone()
    del torn.content(LOG0)[-5:]
    assert open_at(torn, clean=False, recovery_point=None).log_end_offset == ends[9]
    disk.content(LOG0)[len(content[0][2]) + 70] ^= 1
    with pytest.raises(CorruptLog):
        open_at(disk, clean=False, recovery_point=None)


def test_lost_checkpoint_makes_damage_before_the_last_segment_corruption():
    """A torn tail is only ever in the last segment of a log whose recovery point is unknown."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for _ in range(60):
        append(log, make_batch([b"x" * 40]))
    second = log.segments[1].base_offset
    log.close(clean=False)
    del disk.content(f"t-0/{second:020d}.log")[-3:]
    with pytest.raises(CorruptLog):
        open_at(disk, SMALL, clean=False, recovery_point=None)


def test_torn_segment_in_the_middle_takes_the_later_ones_with_it():
    """Above the recovery point the log ends at the first fault, wherever the later data lies."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for _ in range(60):
        append(log, make_batch([b"x" * 40]))
    bases = [segment.base_offset for segment in log.segments]
    assert len(bases) > 3
    log.close(clean=False)
    del disk.content(f"t-0/{bases[1]:020d}.log")[-3:]
    log = open_at(disk, SMALL, clean=False, recovery_point=bases[1])
    assert log.log_end_offset == bases[2] - 1
    assert [segment.base_offset for segment in log.segments] == bases[:2]
    assert log.recovery.cut_segments == len(bases) - 2
    names = {entry.name for entry in disk.entries("t-0")}
    assert not any(name.startswith(f"{bases[2]:020d}") for name in names)


def test_missing_whole_batches_between_segments_end_the_log():
    """A segment that lost its tail at a batch boundary does not connect to the next one."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for _ in range(60):
        append(log, make_batch([b"x" * 40]))
    bases = [segment.base_offset for segment in log.segments]
    last = list(log.segments[1].batches())[-1]
    log.close(clean=False)
    del disk.content(f"t-0/{bases[1]:020d}.log")[-last.size :]
    log = open_at(disk, SMALL, clean=False, recovery_point=bases[1])
    assert log.log_end_offset == bases[2] - 1
    assert "missing" in log.recovery.reason


def test_recovery_scans_from_the_recovery_point_only():
    """What lies below it by more than an index interval is not read again."""
    disk = SimDisk()
    config = TopicConfig(index_interval_bytes=500)
    log = open_at(disk, config)
    for _ in range(500):
        append(log, make_batch([b"x" * 40]))
    log.sync()
    for _ in range(20):
        append(log, make_batch([b"x" * 40]))
    size = log.size_bytes
    for segment in log.segments:
        segment.offset_index.write_pending()
        segment.time_index.write_pending()
    log.close(clean=False)
    again = open_at(disk, config, clean=False, recovery_point=500)
    assert again.log_end_offset == 520
    assert again.durable_offset == 500
    assert again.recovery.scanned_bytes < size / 10
    assert [batch.base_offset for batch in again.active.batches()] == list(range(520))


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    "damage",
    ["missing", "ragged", "zeros", "shuffled"],
)
def test_indexes_that_are_missing_or_damaged_are_rebuilt(clean, damage):
    """Indexes hold nothing the log does not."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for number in range(100):
        append(log, make_batch([b"x" * 40], timestamp=1_000 + number))
    log.close()
    expected = {s.base_offset: (s.offset_index.entries(), s.time_index.entries()) for s in log.segments}
    content = values(open_at(disk, SMALL))
    for entry in disk.entries("t-0"):
        if entry.name.endswith((".index", ".timeindex")):
            data = disk.content(f"t-0/{entry.name}")
            if damage == "missing":
                disk.unlink(f"t-0/{entry.name}")
            elif damage == "ragged":
                data += b"\1\2\3"
            elif damage == "zeros":
                data[:] = bytes(len(data))
            else:
                data[:] = data[::-1]
    log = open_at(disk, SMALL, clean=clean, recovery_point=0)
    assert values(log) == content
    for offset in range(log.log_end_offset):
        assert int.from_bytes(log.read(offset, 1)[:8], "big") == offset
    if damage in ("missing", "ragged") or not clean:
        log.active.finish()  # as the close did
        found = {s.base_offset: (s.offset_index.entries(), s.time_index.entries()) for s in log.segments}
        assert found == expected


def test_leader_epochs_are_found_again_in_the_log():
    """The checkpoint of epochs may be damaged, missing, or ahead of the log."""
    disk = SimDisk()
    _, ends = written(disk, batches=12, sync_at=11)
    expected = [(0, 0), (1, ends[4]), (2, ends[8])]
    path = "t-0/leader-epoch-checkpoint"
    for content in (b"", b"0\n1\nx y\n", b"0\n2\n0 0\n", b"0\n4\n0 0\n1 7\n2 15\n9 900\n"):
        copy = disk.clone()
        copy.content(path)[:] = content
        assert open_at(copy, clean=False, recovery_point=0).epochs.entries() == expected
    disk.unlink(path)
    assert open_at(disk, clean=True).epochs.entries() == expected


def test_log_start_offset_above_the_log_end_starts_over_there():
    """DeleteRecords outlives the records it deleted."""
    disk = SimDisk()
    written(disk)
    log = open_at(disk, clean=False, recovery_point=0, log_start_offset=1_000)
    assert (log.log_start_offset, log.log_end_offset) == (1_000, 1_000)
    assert append(log, make_batch()) == 1_000
    assert [header.base_offset for header, _ in read_all(log)] == [1_000]


def test_producer_state_survives_a_crash_with_its_window():
    """After recovery a retry of any of the last five batches is still a duplicate."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    batches = []
    for number in range(30):
        batch = make_batch([b"x" * 40] * 2, producer_id=5, producer_epoch=1, base_sequence=number * 2)
        batches.append(bytes(batch))
        append(log, batch)
    log.close(clean=False)
    for clean, point in ((False, 0), (False, 30), (True, 60)):
        again = open_at(disk.clone(), SMALL, clean=clean, recovery_point=point)
        entry = again.producers.get(5)
        assert [batch.base_offset for batch in entry.batches] == [50, 52, 54, 56, 58]
        assert entry.last_sequence == 59


def test_clean_close_leaves_a_snapshot_and_the_window_is_restored_from_the_log():
    """A snapshot keeps one batch per producer; the log's last batches bring the others back."""
    disk = SimDisk()
    log = open_at(disk)
    for number in range(8):
        append(log, make_batch([b"x"], producer_id=5, producer_epoch=1, base_sequence=number))
        append(log, make_batch([b"x"], producer_id=6, producer_epoch=0, base_sequence=number))
    log.close()
    again = open_at(disk)
    assert again.recovery.walked_bytes == 0
    assert [batch.last_sequence for batch in again.producers.get(5).batches] == [3, 4, 5, 6, 7]
    assert [batch.last_sequence for batch in again.producers.get(6).batches] == [3, 4, 5, 6, 7]


def test_damaged_producer_snapshot_is_rebuilt_from_the_log():
    """A snapshot that fails its CRC is dropped and an older one, or the log, is used."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for number in range(40):
        append(log, make_batch([b"x" * 40], producer_id=5, producer_epoch=1, base_sequence=number))
    log.close()
    for entry in disk.entries("t-0"):
        if entry.name.endswith(".snapshot"):
            disk.content(f"t-0/{entry.name}")[-1] ^= 1
    again = open_at(disk, SMALL)
    assert again.producers.get(5).last_sequence == 39
    assert len(again.producers.get(5).batches) == 5


@pytest.mark.parametrize("clean", [True, False])
def test_open_transactions_and_aborts_are_restored(clean):
    """Markers in the log end transactions on replay too, and aborted ones are in the index once."""
    disk = SimDisk()
    log = open_at(disk)
    append(log, make_batch([b"a"], producer_id=1, producer_epoch=0, base_sequence=0, transactional=True))
    append(log, make_batch([b"b"], producer_id=2, producer_epoch=0, base_sequence=0, transactional=True))
    append(log, make_marker(1, 0, commit=False, coordinator_epoch=3))
    append(log, make_batch([b"c"], producer_id=3, producer_epoch=0, base_sequence=0, transactional=True))
    append(log, make_marker(2, 0, commit=True))
    aborted = log.aborted_transactions(0, 5)
    assert [(a.producer_id, a.first_offset, a.last_offset, a.last_stable_offset) for a in aborted] == [
        (1, 0, 2, 1)
    ]
    log.close(clean=clean)
    again = open_at(disk, clean=clean, recovery_point=5 if clean else 0)
    assert again.aborted_transactions(0, 5) == aborted
    assert again.last_stable_offset(5) == 3
    assert again.producers.get(1).coordinator_epoch == 3


def test_leftovers_of_an_interrupted_deletion_are_removed():
    """`.deleted` files and indexes without a log do not come back."""
    disk = SimDisk()
    content, _ = written(disk)
    disk.write("t-0/00000000000000000400.log.deleted", b"x")
    disk.write("t-0/00000000000000000500.index", bytes(8))
    disk.write("t-0/leader-epoch-checkpoint.tmp", b"0")
    log = open_at(disk, clean=False)
    assert values(log) == content
    names = {entry.name for entry in disk.entries("t-0")}
    assert not any(name.endswith((".deleted", ".tmp")) or "500.index" in name for name in names)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("point", [0, 40, 200])
def test_leader_epoch_that_never_reached_its_checkpoint_is_noticed(clean, point):
    """A disk too full for the checkpoint, but not for batches, loses no epoch."""
    disk = SimDisk()
    log = open_at(disk, SMALL)
    for number in range(200):
        append(log, make_batch([b"x" * 40]), epoch=number // 50)
        if number == 70:
            log.sync()
            kept = bytes(disk.content("t-0/leader-epoch-checkpoint"))
    log.close(clean=True)
    disk.content("t-0/leader-epoch-checkpoint")[:] = kept
    again = open_at(disk, SMALL, clean=clean, recovery_point=point)
    assert again.epochs.entries() == [(0, 0), (1, 50), (2, 100), (3, 150)]


def test_large_active_segment_has_a_recent_producer_snapshot(monkeypatch):
    """A restart walks little for producer state, and the snapshots on the way do not pile up."""
    monkeypatch.setattr("moldau_broker.storage.log.SNAPSHOT_EVERY_BYTES", 2_000)
    monkeypatch.setattr("moldau_broker.storage.log_base.SNAPSHOT_EVERY_BYTES", 2_000)
    disk = SimDisk()
    log = open_at(disk)
    for number in range(300):
        append(log, make_batch([b"x" * 40], producer_id=5, producer_epoch=1, base_sequence=number))
        if number == 150:
            append(
                log, make_batch([b"t"], producer_id=6, producer_epoch=0, base_sequence=0, transactional=True)
            )
            append(log, make_marker(6, 0, commit=False))
        if number % 10 == 0:
            log.sync()
    log.sync()
    assert len(log.segments) == 1
    assert len([entry for entry in disk.entries("t-0") if entry.name.endswith(".snapshot")]) <= 3
    size = log.size_bytes
    aborted = log.aborted_transactions(0, 400)
    assert len(aborted) == 1
    log.close(clean=False)
    again = open_at(disk, clean=False, recovery_point=302)
    assert again.recovery.walked_bytes + again.recovery.scanned_bytes < size / 2
    assert [batch.last_sequence for batch in again.producers.get(5).batches] == [295, 296, 297, 298, 299]
    assert again.aborted_transactions(0, 400) == aborted


def test_time_index_that_lost_more_than_the_offset_index_is_completed():
    """Pages of one index may reach the disk without the other's; the largest timestamp is found all the same."""
    disk = SimDisk()
    config = TopicConfig(index_interval_bytes=0)
    log = open_at(disk, config)
    for number in range(200):
        append(log, make_batch([b"x"], timestamp=9_000 if number == 100 else 1_000 + number))
    log.close()
    del disk.content("t-0/00000000000000000000.timeindex")[12 * 20 :]
    again = open_at(disk, config, clean=False, recovery_point=200)
    assert again.recovery.scanned_bytes < 1_000
    assert again.active.max_timestamp == 9_000
    assert again.max_timestamp_offset() == (100, 9_000, 0)
    assert again.offset_for_timestamp(8_000) == (100, 9_000, 0)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_index_with_a_lost_page_in_the_middle_is_rebuilt(suffix):
    """Zeros between entries are no entries: an index out of order anywhere is not believed."""
    disk = SimDisk()
    config = TopicConfig(index_interval_bytes=0)
    log = open_at(disk, config)
    for number in range(200):
        append(log, make_batch([b"x"], timestamp=1_000 + number))
    log.close()
    path = "t-0/00000000000000000000" + suffix
    whole = bytes(disk.content(path))
    disk.content(path)[240:480] = bytes(240)
    again = open_at(disk, config, clean=False, recovery_point=200)
    assert again.recovery.scanned_bytes == again.size_bytes
    again.active.finish()
    assert bytes(disk.content(path)) == whole


def test_producer_snapshots_are_durable_with_the_flush_that_follows():
    """Producers whose batches retention has deleted are known after a power failure too."""
    for seed in range(20):
        disk = SimDisk()
        log = open_at(disk, SMALL)
        for number in range(5):
            append(log, make_batch([b"x" * 40], producer_id=5, producer_epoch=1, base_sequence=number))
        log.roll()
        log.sync()
        log.high_watermark = 5
        log.advance_log_start(5)
        log.enforce_retention(1_000)
        log.sync()
        disk.sync_folder()
        disk.crash(random.Random(seed))
        again = open_at(disk, SMALL, clean=False, recovery_point=5, log_start_offset=5)
        assert again.producers.get(5).last_sequence == 4


class _CountingDisk(SimDisk):
    """Counts the files that are opened."""

    opened = 0

    def open(self, path, *, create=False, write=True):
        self.opened += 1
        return super().open(path, create=create, write=write)


@pytest.mark.parametrize("step_ms", [0, 1], ids=["all at once", "one after the other"])
def test_recovery_opens_files_by_the_index_entries_not_by_the_batch(step_ms):
    """Index entries reach their files by the dozen: checking a log costs its bytes, not an open file a batch."""
    disk = _CountingDisk()
    config = TopicConfig(index_interval_bytes=1)
    log = open_at(disk, config)
    for number in range(640):
        append(log, make_batch([b"value"], timestamp=1_000 + number * step_ms), epoch=0)
    log.sync()
    disk.opened = 0
    recovered = open_at(disk, config, clean=False)
    assert recovered.log_end_offset == 640
    assert recovered.recovery.scanned_bytes > 0
    assert disk.opened < 640 // 8


def test_recovery_learns_epochs_from_the_batches_it_checks():
    """Without its checkpoint a log that is checked from its beginning knows all epochs; nothing is read twice."""
    disk = SimDisk()
    content, ends = written(disk, batches=12, sync_at=11)
    disk.unlink("t-0/leader-epoch-checkpoint")
    log = open_at(disk, clean=False)
    assert values(log) == content
    assert log.epochs.entries() == [(0, 0), (1, ends[4]), (2, ends[8])]
    assert log.recovery.scanned_bytes == sum(len(data) for _, _, data in content)
