"""Segments under check, the order in which logs have their turn, and the rests between."""

from __future__ import annotations

import errno
from random import Random

import pytest

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.log import Log
from moldau_broker.storage.scrub import SegmentCheck, next_check
from moldau_broker.storage.scrub_pace import BUSY_RESTS, BUSY_SHARE, DISK_RESTS, Round, rest_ms
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import append, make_batch, open_at

SMALL = TopicConfig(segment_bytes=1_000, index_interval_bytes=200, retention_ms=-1, file_delete_delay_ms=50)


def filled(disk: SimDisk, batches: int = 60) -> Log:
    log = open_at(disk, SMALL)
    for _ in range(batches):
        append(log, make_batch([b"x" * 20] * 2))
    return log


def checks(log: Log) -> list[SegmentCheck]:
    """A whole walk over one log, in small stretches."""
    found: list[SegmentCheck] = []
    after = -1
    while (check := next_check(log, after)) is not None:
        steps = 0
        while not check.done:
            assert check.step(150) > 0 or check.done
            steps += 1
        assert check.damage is not None or steps > 1, "150 bytes are not the whole segment"
        after = check.segment.base_offset
        found.append(check)
    return found


def test_scrub_reads_every_segment_and_finds_them_in_order() -> None:
    """All of each, the active one as well."""
    log = filled(SimDisk())
    log.sync()
    found = checks(log)
    assert [check.segment for check in found] == list(log.segments)
    assert [check.position for check in found] == [segment.size for segment in log.segments]
    assert [check.damage for check in found] == [None] * len(found)


def test_scrub_leaves_what_is_not_durable_alone() -> None:
    """What a crash may tear anyway is for recovery to look at."""
    log = filled(SimDisk())
    assert next_check(log) is None
    log.sync()
    assert next_check(log) is not None


def test_scrub_reads_the_active_segment_as_far_as_it_is_flushed() -> None:
    """Beyond that the writer may be at work: what stands there is not looked at."""
    disk = SimDisk()
    log = filled(disk)
    log.sync()
    flushed = log.active.size
    append(log, make_batch([b"y" * 20]))
    disk.content(f"t-0/{log.active.name('.log')}")[flushed:] = bytes(log.active.size - flushed)
    last = checks(log)[-1]
    assert (last.segment, last.position, last.damage) == (log.active, flushed, None)


def test_scrub_goes_on_in_a_segment_that_is_written_to_and_closed_meanwhile() -> None:
    """Up to where it was durable when the check began; the rest is the next walk's."""
    log = filled(SimDisk())
    log.sync()
    active, flushed = log.active, log.active.size
    check = next_check(log, log.segments[-2].base_offset)
    assert check is not None
    check.step(150)
    for _ in range(10):
        append(log, make_batch([b"y" * 20] * 2))
    log.sync()
    assert log.active is not active
    while not check.done:
        check.step(150)
    assert (check.position, check.damage, check.is_current) == (flushed, None, True)


def test_scrub_takes_a_truncation_of_the_active_segment_for_no_damage() -> None:
    """What is cut from under it, and written anew, is not what it set out to read."""
    log = filled(SimDisk())
    log.sync()
    check = next_check(log, log.segments[-2].base_offset)
    assert check is not None
    check.step(10)
    log.truncate_to(log.active.base_offset + 2)
    while not check.done:
        check.step(150)
    assert check.damage is not None, "the file is shorter than it was"
    assert not check.is_current
    for _ in range(3):
        append(log, make_batch([b"z" * 90]))
    log.sync()
    assert [one.damage for one in checks(log)] == [None] * len(log.segments)


def test_scrub_leaves_what_came_after_its_turn_began_to_the_next_walk() -> None:
    """Or a log that grows faster than it is looked through would keep a walk for ever."""
    log = filled(SimDisk())
    log.sync()
    end, last = log.log_end_offset, log.active
    for _ in range(20):
        append(log, make_batch([b"y" * 20] * 2))
    log.sync()
    found, after = [], -1
    while (check := next_check(log, after, end)) is not None:
        after = check.segment.base_offset
        found.append(check.segment)
    assert found[-1] is last
    assert len(found) < len(log.segments)


@pytest.mark.parametrize("seed", range(20))
def test_scrub_finds_a_flipped_bit_wherever_it_is(seed: int) -> None:
    """In the one segment and batch, and says where; but for leader epochs, which no checksum covers."""
    disk, rng = SimDisk(), Random(seed)
    log = filled(disk)
    log.sync()
    victim = rng.choice(log.segments)
    batch = rng.choice(list(victim.batches()))
    at = rng.choice(
        [*range(3, 12), *range(16, batch.size)]
    )  # a base offset a little too high looks like compaction
    disk.content(f"t-0/{victim.name('.log')}")[batch.position + at] ^= 1 << 7
    damaged = [check for check in checks(log) if check.damage is not None]
    assert [check.segment for check in damaged] == [victim]
    assert damaged[0].is_current
    damage = damaged[0].damage
    assert damage is not None
    assert (damage.offset, damage.position) == (batch.base_offset, batch.position)


def test_scrub_takes_a_sector_that_cannot_be_read_for_damage() -> None:
    """The disk says EIO: the data is as lost as if it read wrong."""
    disk = SimDisk()
    log = filled(disk)
    log.sync()
    check = next_check(log)
    assert check is not None
    check.step(150)
    disk.failing["read"] = errno.EIO
    check.step(150)
    assert check.done
    assert check.damage is not None
    assert check.damage.offset > 0


def test_scrub_is_not_current_once_the_log_has_changed() -> None:
    """What truncation or retention took away is no damage."""
    disk = SimDisk()
    log = filled(disk)
    log.sync()
    first = next_check(log)
    assert first is not None
    first.step(150)
    log.truncate_to(100)
    assert not first.is_current

    second = next_check(log)
    assert second is not None
    log.high_watermark = log.log_end_offset
    log.config = TopicConfig(segment_bytes=1_000, retention_bytes=1, file_delete_delay_ms=0)
    assert log.enforce_retention(10_000)
    log.purge(20_000)
    second.step(150)
    assert (second.done, second.damage, second.is_current) == (True, None, False)


def test_a_failed_log_is_not_scrubbed() -> None:
    """It is out of service already."""
    disk = SimDisk()
    log = filled(disk)
    log.sync()
    disk.content(f"t-0/{log.segments[0].name('.log')}")[70] ^= 1
    (damage, *_) = (check.damage for check in checks(log))
    assert damage is not None
    log.fail(damage)
    assert next_check(log) is None


def test_a_rest_keeps_to_the_rate_and_is_longer_where_others_wait() -> None:
    """A quarter of a MiB at one MiB a second is a quarter of a second, reading included."""
    assert rest_ms(1 << 18, 10.0, 0.0, 1 << 20) == pytest.approx(240)
    assert rest_ms(1 << 18, 200.0, 0.0, 1 << 20) == pytest.approx(200 * DISK_RESTS)
    busy = rest_ms(1 << 18, 10.0, BUSY_SHARE, 1 << 20)
    assert busy == pytest.approx(240 * BUSY_RESTS)


@pytest.mark.parametrize("begin_at", [0.0, 0.34, 0.999])
def test_a_walk_takes_every_log_once_wherever_it_begins(begin_at: float) -> None:
    """In order, around the end."""
    keys = [("b", 1), ("a", 0), ("b", 0)]
    walk = Round(keys, 5, begin_at)
    seen = []
    while walk.key is not None:
        seen.append(walk.key)
        walk.next_log()
    assert sorted(seen) == sorted(keys)
    assert seen[0] == sorted(keys)[int(3 * begin_at)]
    assert walk.next_round_ms(100) == 105


def test_a_walk_over_nothing_is_over() -> None:
    """A broker without partitions."""
    assert Round([], 0, 0.5).key is None
