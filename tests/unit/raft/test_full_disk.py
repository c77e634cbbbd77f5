"""A quorum whose members run out of disk space for a while: they pause, and need no restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

import pytest
from tests.unit.raft.test_driver import Bench, Net, grown, values

from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import Role
from moldau_broker.storage.errors import DiskFull, StorageError

_KEEPS_UP_MS: Final = 3_000


def refuse(bench: Bench, monkeypatch: pytest.MonkeyPatch, which: Callable[[str, str], bool]) -> None:
    """The bench's disk has no room for operations that `which` picks by kind and path."""
    disk, step = bench.disk, bench.disk.step

    def full(kind: str, path: str, amount: int = 0) -> None:
        if which(kind, path):
            raise DiskFull(f"{path}: no space left")
        step(kind, path, amount)

    monkeypatch.setattr(disk, "step", full)


def away(net: Net, bench: Bench) -> int:
    """Cut it off; the key to put it back with."""
    node_id = next(node_id for node_id, one in net.benches.items() if one is bench)
    del net.benches[node_id]
    return node_id


def assert_level(net: Net) -> None:
    """Everybody has all that the leader has, durably."""
    leader = net.leader()
    for bench in net.benches.values():
        node = bench.driver.node
        assert bench.store.log.failure is None
        assert node.log_end == node.durable_end == bench.store.log.log_end_offset
        assert node.log_end == leader.driver.node.log_end
        assert node.high_watermark == leader.driver.node.high_watermark


def test_a_follower_goes_on_after_half_an_answer_was_written() -> None:
    """Of one answer's batches the first ones fit, the rest did not: what came in is flushed and told.

    The follower's next Fetch states its durable end; were that never brought up to its log's end, it would ask
    for nothing again, however much room there is.
    """
    net = grown()
    leader = net.leader()
    follower = next(bench for bench in net.benches.values() if bench is not leader)
    node_id = away(net, follower)
    for _ in range(4):
        leader.driver.propose([b"x" * 300])
        net.run(1)
    log = follower.store.log
    log.update_config(replace(log.config, segment_bytes=700))  # one write for each segment
    before = log.log_end_offset
    follower.disk.capacity = follower.disk.used() + 600
    net.benches[node_id] = follower
    net.run(500)
    assert before < log.log_end_offset < leader.store.log.log_end_offset
    follower.disk.capacity = None
    net.run(_KEEPS_UP_MS)
    assert_level(net)


def test_a_cut_that_had_no_room_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deposed leader's log must be cut, and the checkpoints that promise its end cannot be rewritten.

    Nothing is appended behind what has to go, nothing is given up, and with room the cut is made first.
    """
    net = grown()
    first = net.leader()
    node_id = away(net, first)
    first.driver.propose([b"lost"])
    first.flusher.run()
    net.queue.clear()
    net.run(_KEEPS_UP_MS)
    net.leader().driver.propose([b"kept"])
    net.run(10)
    with monkeypatch.context() as full:
        refuse(first, full, lambda kind, path: kind == "append" and "checkpoint" in path)
        net.benches[node_id] = first
        net.run(2_000)
        assert values(first) == [b"lost"]
    net.run(_KEEPS_UP_MS)
    assert_level(net)
    assert values(first) == [b"kept"]


def test_a_snapshot_that_had_no_room_to_begin_at_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot fits, the new log's first file does not: the log is as before, and with room it begins anew."""
    net = grown()
    leader = net.leader()
    follower = next(bench for bench in net.benches.values() if bench is not leader)
    node_id = away(net, follower)
    for _ in range(3):
        leader.driver.propose([b"x" * 1000])
        net.run(5)
        node = leader.driver.node
        newest = SnapshotId(node.high_watermark, node.epoch)
        leader.store.write_snapshot(
            newest, [b"state"], voters=node.voters, last_timestamp_ms=0, now_ms=leader.clock.now_ms
        )
        leader.driver.snapshot_written()
    with monkeypatch.context() as full:
        refuse(follower, full, lambda kind, path: kind == "create" and path.endswith(".log"))
        net.benches[node_id] = follower
        net.run(2_000)
        assert follower.store.log.failure is None
        assert newest not in follower.heard
    net.run(_KEEPS_UP_MS)
    assert newest in follower.heard
    assert_level(net)


def test_a_controller_that_cannot_write_makes_way() -> None:
    """Its disk is full: another one leads within an election, and writes."""
    net = grown()
    first = net.leader()
    first.disk.capacity = first.disk.used()
    with pytest.raises(DiskFull):
        first.driver.propose([b"refused"])
    assert first.driver.node.role is Role.RESIGNED
    net.run(1_000)
    second = net.leader()
    assert second is not first
    second.driver.propose([b"taken"])
    net.run(20)
    assert second.heard[-1] == second.driver.node.log_end
    first.disk.capacity = None
    net.run(_KEEPS_UP_MS)
    assert_level(net)
    assert values(first) == [b"taken"]


class _Story:
    """One member's disk fills up again and again while the quorum works."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.net = grown()
        for bench in self.net.benches.values():
            log = bench.store.log
            size = self.rng.choice((300, 1000, 1 << 24))
            log.update_config(replace(log.config, segment_bytes=size))
        self.victim = self.net.benches[self.rng.choice((1, 2, 3))]
        self.refused = 0

    def leads(self) -> list[Bench]:
        return [bench for bench in self.net.benches.values() if bench.driver.node.role is Role.LEADER]

    def work(self, times: int) -> None:
        rng = self.rng
        for _ in range(times):
            for bench in self.leads()[-1:]:
                for _ in range(rng.choice((1, 1, 4))):
                    self.propose(bench, b"x" * rng.randrange(300))
                if rng.random() < 0.15:
                    self.snapshot(bench)
            self.net.run(rng.choice((1, 5, 200, 800)))

    def propose(self, bench: Bench, value: bytes) -> None:
        try:
            bench.driver.propose([value])
        except DiskFull:
            self.refused += 1
        except NotLeader:
            pass

    def snapshot(self, bench: Bench) -> None:
        node, store = bench.driver.node, bench.store
        if node.high_watermark <= max((one.end_offset for one in store.snapshot_ids()), default=0):
            return
        with contextlib.suppress(StorageError):
            store.write_snapshot(
                SnapshotId(node.high_watermark, node.epoch),
                [b"state"],
                voters=node.voters,
                last_timestamp_ms=0,
                now_ms=bench.clock.now_ms,
            )
            bench.driver.snapshot_written()

    def play(self) -> None:
        self.work(4)
        for _ in range(3):
            if self.rng.random() < 0.4:
                node_id = away(self.net, self.victim)
                self.work(5)
                self.net.benches[node_id] = self.victim
            disk = self.victim.disk
            disk.capacity = disk.used() + self.rng.choice((0, 50, 200, 600, 1500, 3000))
            self.work(6)
            disk.capacity = None
            self.work(2)
        self.net.run(5_000)
        self.net.leader().driver.propose([b"end"])
        self.net.run(_KEEPS_UP_MS)


@pytest.mark.parametrize("seed", range(8))
def test_a_disk_that_fills_up_at_any_moment_needs_no_restart(seed: int) -> None:
    """Whatever did not fit, and whenever: with room everybody has everything, and no log has failed."""
    story = _Story(seed)
    story.play()
    assert_level(story.net)
