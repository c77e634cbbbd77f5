"""Damage that nobody reads: found by the clock, given up where others have the same, reported where nobody has."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from moldau_broker.base.data_config import LogSettings
from moldau_broker.metadata.image import ResourceType
from moldau_broker.server.scrubber import FIRST_REST_MS, Scrubber
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replicas import ReplicaBench

WEEK_MS = LogSettings().scrub_interval_ms


class Timers:
    """Runs what is due as the bench's clock is moved."""

    def __init__(self, bench: ReplicaBench) -> None:
        self._clock = bench.clock
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> None:
        self.due.append((self._clock.now_ms + delay_ms, callback))

    def run(self, ms: int) -> None:
        end = self._clock.now_ms + ms
        while self.due and min(self.due, key=lambda one: one[0])[0] <= end:
            first = min(self.due, key=lambda one: one[0])
            self.due.remove(first)
            self._clock.now_ms = max(self._clock.now_ms, int(first[0]))
            first[1]()
        self._clock.now_ms = end


class Readers:
    """Helper threads that have finished before anybody looks."""

    def run(self, work: Callable[[], object], done: Callable[[], None]) -> None:
        work()
        done()


class Desk:
    """A broker with a scrubber, and a topic of several closed segments on disk."""

    def __init__(
        self, *, replicas: tuple[int, ...] = (1, 2), isr: tuple[int, ...] = (1, 2), rate: int = 1 << 20
    ):
        self.bench = bench = ReplicaBench()
        self.timers = Timers(bench)
        settings = LogSettings(scrub_bytes_per_second=rate)
        self.scrubber = Scrubber(
            1, bench.replicas, Readers(), bench.clock, self.timers, lambda: settings, Random(1)
        )  # type: ignore[arg-type]
        bench.publish(
            bench.topic("t", replicas=replicas, isr=isr, epoch=1),
            configs={(int(ResourceType.TOPIC), "t"): {"segment.bytes": "1048576"}},
        )
        self.partition = bench.partition("t")
        for _ in range(8):
            batch = make_batch((bytes(300_000),))
            assert not self.partition.append(
                bench.accepted(batch), bench.clock.wall_ms(), all_in_sync=False
            ).error
        bench.committer.flush_all()
        self.partition.log.sync()
        self.segments = self.partition.log.segments
        assert len(self.segments) > 2

    def flip(self, segment: int = 1) -> None:
        name = self.segments[segment].name(".log")
        self.bench.disk.content(f"t-0/{name}")[5_000] ^= 4

    def publish(self, isr: tuple[int, ...], *, leader: int = 1, epoch: int = 1) -> None:
        self.bench.publish(self.bench.topic("t", replicas=(1, 2), isr=isr, leader=leader, epoch=epoch))


def test_a_walk_reads_all_segments_at_the_rate_and_comes_again_after_a_week() -> None:
    """Not at once after the start; all bytes once; then nothing until the interval is over."""
    desk = Desk()
    size = sum(segment.size for segment in desk.segments)
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS - 1)
    assert desk.scrubber.bytes_read == 0
    desk.timers.run(size * 1000 // (1 << 20) // 2)
    assert 0 < desk.scrubber.bytes_read < size
    desk.timers.run(60_000)
    assert (desk.scrubber.bytes_read, desk.scrubber.walks, desk.scrubber.found) == (size, 1, 0)
    desk.timers.run(WEEK_MS - 120_000)
    assert desk.scrubber.walks == 1
    desk.timers.run(120_000)
    assert (desk.scrubber.bytes_read, desk.scrubber.walks) == (2 * size, 2)
    desk.scrubber.stop()
    desk.timers.run(2 * WEEK_MS)
    assert desk.scrubber.walks == 2


def test_a_rate_of_zero_looks_for_nothing() -> None:
    """It is how it is switched off."""
    desk = Desk(rate=0)
    desk.scrubber.start()
    assert desk.timers.due == []


def test_damage_takes_a_replica_out_of_service_where_another_one_is_in_sync(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a reader that meets it would: offline, a note for restarts, and begun anew once nobody counts on it."""
    desk = Desk()
    desk.flip()
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS + 60_000)
    assert desk.scrubber.found == 1
    assert desk.partition.offline_reason is not None
    assert isinstance(desk.bench.log_dir.offline["t", 0], CorruptLog)
    (record,) = (one for one in caplog.records if one.message == "log.damage_found")
    assert record.__dict__["offset"] == desk.segments[1].base_offset
    desk.publish((2,), leader=2, epoch=2)
    assert desk.bench.partition("t") is not desk.partition
    assert desk.bench.partition("t").log_end_offset == 0


def test_damage_of_an_active_segment_is_treated_as_that_of_a_closed_one() -> None:
    """Out of service where another replica is in sync, and begun anew."""
    desk = Desk()
    desk.flip(-1)
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS + 60_000)
    assert desk.scrubber.found == 1
    assert isinstance(desk.bench.log_dir.offline["t", 0], CorruptLog)
    desk.publish((2,), leader=2, epoch=2)
    assert desk.bench.partition("t").log_end_offset == 0


def test_a_log_that_grows_faster_than_it_is_read_does_not_keep_the_walk() -> None:
    """Its turn ends where it ended when the turn began."""
    desk = Desk()
    size = sum(segment.size for segment in desk.segments)

    def write() -> None:
        for _ in range(4):
            batch = desk.bench.accepted(make_batch((bytes(300_000),)))
            assert not desk.partition.append(batch, desk.bench.clock.wall_ms(), all_in_sync=False).error
        desk.bench.committer.flush_all()
        desk.timers.call_later(500, write)

    desk.scrubber.start()
    desk.timers.call_later(FIRST_REST_MS + 1, write)
    desk.timers.run(FIRST_REST_MS + 30_000)
    assert desk.scrubber.walks == 1
    assert desk.scrubber.bytes_read <= size + (1 << 20)


def test_damage_of_a_follower_that_nobody_counts_on_begins_anew_in_a_new_epoch() -> None:
    """It is catching up: its damage is told all the same, as its next log must not be taken for the old one."""
    desk = Desk()
    desk.publish((2,), leader=2, epoch=2)
    desk.flip()
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS + 60_000)
    assert desk.bench.partition("t") is desk.partition
    assert desk.partition.offline_reason is not None
    desk.publish((2,), leader=2, epoch=3)
    assert desk.bench.partition("t") is not desk.partition
    assert desk.bench.partition("t").log_end_offset == 0


def test_damage_of_the_last_replica_in_sync_waits_for_another_one() -> None:
    """Until then it serves what is sound; its walks pass it over."""
    desk = Desk(isr=(1,))
    desk.flip()
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS + 2 * WEEK_MS)
    assert (desk.scrubber.found, desk.partition.offline_reason) == (1, None)
    desk.publish((1, 2))
    desk.timers.run(2_000)
    assert desk.partition.offline_reason is not None


def test_damage_of_the_only_replica_is_reported_and_left_in_service() -> None:
    """There is nobody to fetch it from, and most of it is sound."""
    desk = Desk(replicas=(1,), isr=(1,))
    desk.flip()
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS + 60_000)
    assert (desk.scrubber.found, desk.partition.offline_reason) == (1, None)
    assert desk.partition.log.failure is None


def test_damage_that_retention_has_taken_meanwhile_is_none() -> None:
    """The segment is gone when another replica comes into sync."""
    desk = Desk(isr=(1,))
    desk.flip()
    desk.scrubber.start()
    desk.timers.run(FIRST_REST_MS + 60_000)
    assert desk.scrubber.found == 1
    desk.partition.log.advance_log_start(desk.partition.log.log_end_offset)
    desk.partition.log.high_watermark = desk.partition.log.log_end_offset
    assert desk.partition.log.enforce_retention(desk.bench.clock.wall_ms())
    desk.publish((1, 2))
    desk.timers.run(2_000)
    assert desk.partition.offline_reason is None
