"""The quorum's own folder under the scrubber: damage is said, counted and shown, and nothing else happens."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from moldau_broker.base.data_config import LogSettings
from moldau_broker.base.ids import Uuid, format_uuid
from moldau_broker.raft.messages import LogBatch
from moldau_broker.raft.opening import found_quorum, open_store
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey, VoterSet
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.store import FOLDER, RaftStore
from moldau_broker.server.metadata_scrub import (
    LOG_ADVICE,
    METADATA,
    SNAPSHOT_ADVICE,
    Damage,
    MetadataScrub,
)
from moldau_broker.server.scrubber import FIRST_REST_MS, Scrubber
from moldau_broker.storage.logdir import LogDir
from moldau_broker.storage.scrub import FileCheck
from moldau_broker.storage.scrub_pace import Round
from moldau_broker.telemetry.exposition import Exposition
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimDisk

NOW = 1_700_000_000_000
WEEK_MS = LogSettings().scrub_interval_ms


class NoReplicas:
    """A node that hosts none."""

    def partitions(self) -> tuple[()]:
        return ()


class Desk:
    """A quorum's folder of two segments and two snapshots, and a scrubber that has nothing else to look at."""

    def __init__(self) -> None:
        self.disk, self.clock = SimDisk(), ManualClock(NOW)
        self.log_dir = LogDir.open(
            self.disk, cluster_id=format_uuid(b"c" * 16), node_id=1, clock=self.clock, rng=Random(0)
        )
        endpoint = VoterEndpoint("CONTROLLER", "localhost", 9093)
        self.me = Voter(VoterKey(1, Uuid(self.log_dir.directory_id)), (endpoint,))
        found_quorum(self.log_dir, self.me, [b"bootstrap"], NOW)
        self.store: RaftStore = open_store(self.log_dir)
        self.append(3)
        self.store.log.roll()
        self.append(3)
        self.snapshot(4)
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.damage: dict[str, Damage] = {}
        metadata = MetadataScrub(self.disk, lambda: self.log_dir.logs.get(METADATA), self.clock, self.damage)
        self.scrubber = Scrubber(
            1,
            NoReplicas(),  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self.clock,
            self,  # type: ignore[arg-type]
            LogSettings,
            Random(1),
            metadata,
        )
        self.scrubber.start()

    def append(self, count: int) -> None:
        for _ in range(count):
            batch = LogBatch(self.store.log.log_end_offset, 1, NOW, ((None, bytes(500)),), control=False)
            self.store.append(batch)
        self.store.log.sync()

    def snapshot(self, end: int) -> str:
        snapshot_id = SnapshotId(end, 1)
        voters = VoterSet([self.me])
        self.store.write_snapshot(snapshot_id, [b"state"], voters=voters, last_timestamp_ms=NOW, now_ms=NOW)
        return f"{FOLDER}/{snapshot_id.file_name}"

    def segment(self, index: int) -> str:
        return f"{FOLDER}/{self.store.log.segments[index].name('.log')}"

    def run(self, work: Callable[[], object], done: Callable[[], None]) -> None:
        """A helper thread that has finished before anybody looks."""
        work()
        done()

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> None:
        """Runs as `walk` moves the clock."""
        self.due.append((self.clock.now_ms + delay_ms, callback))

    def shown(self) -> str:
        """What a scrape of Prometheus reads."""
        exposition = Exposition()
        self.scrubber.emit(exposition)
        return exposition.text().decode()

    def walk(self) -> None:
        """Until the scrubber has come to the end of one more walk."""
        walks = self.scrubber.walks
        while self.scrubber.walks == walks:
            first = min(self.due, key=lambda one: one[0])
            self.due.remove(first)
            self.clock.now_ms = max(self.clock.now_ms, int(first[0]))
            first[1]()


def test_a_walk_reads_the_quorums_log_and_every_snapshot() -> None:
    """Both segments, and both snapshots: that of the founding and the newer one."""
    desk = Desk()
    desk.walk()
    entries = {entry.name: entry.size for entry in desk.disk.entries(FOLDER)}
    read = sum(size for name, size in entries.items() if name.endswith((".log", ".checkpoint")))
    assert (desk.scrubber.bytes_read, desk.scrubber.found, desk.damage) == (read, 0, {})
    assert desk.clock.now_ms >= FIRST_REST_MS


@pytest.mark.parametrize("index", [0, 1], ids=["closed", "active"])
def test_damage_of_the_metadata_log_is_said_counted_and_shown_and_the_log_serves_on(
    index: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With what a person can do; a node that gave its voice up would be one less for records nobody may need."""
    desk = Desk()
    assert "\nmoldau_metadata_log_damaged_files 0\n" in desk.shown()
    path = desk.segment(index)
    desk.disk.content(path)[200] ^= 4
    desk.walk()
    assert (desk.scrubber.found, desk.store.log.failure) == (1, None)
    assert "\nmoldau_metadata_log_damaged_files 1\n" in desk.shown()
    found = desk.damage[path]
    assert found.advice == LOG_ADVICE
    assert found.reason.startswith(f"{path}: the CRC does not match at byte 0, offset {3 * index}")
    (record,) = (one for one in caplog.records if one.message == "log.damage_found")
    assert (record.__dict__["topic"], record.__dict__["outcome"]) == (METADATA[0], LOG_ADVICE)
    desk.append(1)


def test_damage_of_a_snapshot_is_shown_until_it_is_gone() -> None:
    """The next snapshots take its place; nothing is left to be shown then."""
    desk = Desk()
    path = desk.snapshot(5)
    content = desk.disk.content(path)
    content[len(content) // 2] ^= 1
    desk.walk()
    assert (desk.scrubber.found, list(desk.damage), desk.damage[path].advice) == (1, [path], SNAPSHOT_ADVICE)
    desk.disk.unlink(path)
    desk.walk()
    assert (desk.scrubber.found, desk.damage) == (1, {})


def test_damage_that_a_later_walk_does_not_find_is_shown_no_more() -> None:
    """The disk has given the right bytes after all, or the file is another one."""
    desk = Desk()
    content = desk.disk.content(desk.segment(0))
    content[200] ^= 4
    desk.walk()
    content[200] ^= 4
    desk.walk()
    assert (desk.scrubber.found, desk.damage) == (1, {})


def test_a_snapshot_that_lost_its_end_is_damaged() -> None:
    """Cut where a batch ends, every checksum is right: what tells is that the footer is missing."""
    desk = Desk()
    path = desk.snapshot(5)
    content = desk.disk.content(path)
    del content[len(content) - _last_batch(content) :]
    desk.walk()
    assert "it ends without its footer" in desk.damage[path].reason


def _last_batch(data: bytearray) -> int:
    """Size of the last batch."""
    position = size = 0
    while position < len(data):
        size = 12 + int.from_bytes(data[position + 8 : position + 12], "big")
        position += size
    return size


def test_a_snapshot_that_was_deleted_meanwhile_is_none() -> None:
    """Newer ones have come: what was read of it last is nobody's trouble."""
    desk = Desk()
    path = desk.snapshot(5)
    check = FileCheck(desk.disk, path)
    check.step(10)
    content = desk.disk.content(path)
    content[-5] ^= 1
    desk.disk.unlink(path)
    while not check.done:
        check.step(10)
    assert check.damage is None


def test_a_truncation_of_the_metadata_log_meanwhile_is_no_damage() -> None:
    """A new leader takes back what was never committed."""
    desk = Desk()
    scrub = MetadataScrub(desk.disk, lambda: desk.store.log, desk.clock, desk.damage)
    walk = Round([METADATA], 0)
    walk.up_to, walk.after = 6, 0
    check = scrub.next_check(walk)
    assert isinstance(check, FileCheck)
    check.step(10)
    desk.store.log.truncate_to(4)
    while not check.done:
        check.step(10)
        assert not scrub.stepped(check)
    assert desk.damage == {}
