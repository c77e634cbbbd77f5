"""The driver: what is on disk before what, and what a failing disk does to it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest

from moldau_broker.base.ids import Uuid, format_uuid
from moldau_broker.raft.driver import RaftDriver
from moldau_broker.raft.errors import NotLeader, UnsupportedQuorum
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.raft.store import QUORUM_STATE, open_store
from moldau_broker.storage.errors import DiskFull, StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimCrash, SimDisk


class Flusher:
    """Flushes when told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Log, Callable[[StorageError | None], None]]] = []

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        self.waiting.append((log, callback))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for log, callback in waiting:
            error = None
            try:
                log.mark_durable(log.flush())
            except StorageError as failure:
                error = failure
            callback(error)


class Bench:
    """A driver on a simulated disk, with what its listener heard."""

    def __init__(self, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.heard: list[object] = []
        self.flusher = Flusher()
        clock = ManualClock()
        cluster_id = format_uuid(b"c" * 16)
        self.log_dir = LogDir.open(self.disk, cluster_id=cluster_id, node_id=1, clock=clock, rng=Random(0))
        key = VoterKey(1, self.log_dir.directory_id)
        me = Voter(key, (VoterEndpoint("CONTROLLER", "localhost", 9093),))
        self.store = open_store(self.log_dir, me, [b"bootstrap"], clock.now_ms)
        self.disk.operations.clear()
        self.driver = RaftDriver(me, self.store, self.flusher, clock, self)

    def on_commit(self, high_watermark: int) -> None:
        self.heard.append(high_watermark)

    def on_role(self, role: Role, epoch: int) -> None:
        self.heard.append((role, epoch))

    def started(self) -> Bench:
        self.driver.tick()
        self.flusher.run()
        return self

    def saved_epoch(self) -> int:
        return ElectionState.decode(self.disk.read(QUORUM_STATE)).epoch


def test_driver_persists_the_epoch_before_anything_of_it() -> None:
    """quorum-state is renamed into place and its folder synced before the epoch's first batch is written.

    Reference: Raft figure 2, "updated on stable storage before responding".
    """
    bench = Bench()
    bench.driver.tick()
    done = [(operation.kind, operation.path) for operation in bench.disk.operations]
    renamed = done.index(("rename", f"{QUORUM_STATE}.tmp"))
    synced = next(at for at, one in enumerate(done) if at > renamed and one[0] == "sync-folder")
    appended = next(at for at, one in enumerate(done) if one[0] == "append" and one[1].endswith(".log"))
    assert renamed < synced < appended


def test_driver_tells_of_commits_after_the_flush_only() -> None:
    """Written is not committed; what one flush covers commits at once."""
    bench = Bench()
    bench.driver.tick()
    assert bench.heard == [(Role.LEADER, 1)]
    bench.flusher.run()
    assert bench.heard.pop() == 3
    bench.driver.propose([b"a"])
    bench.driver.propose([b"b", b"c"])
    assert bench.heard == [(Role.LEADER, 1)]
    assert len(bench.flusher.waiting) == 1
    bench.flusher.run()
    assert bench.heard == [(Role.LEADER, 1), 6]


def test_driver_flushes_again_for_what_came_during_a_flush() -> None:
    """A batch appended while a round runs is not left without one."""
    bench = Bench().started()
    bench.driver.propose([b"a"])
    ((log, callback),) = bench.flusher.waiting
    bench.flusher.waiting.clear()
    durable = log.flush()
    bench.driver.propose([b"b"])
    log.mark_durable(durable)
    callback(None)
    assert bench.heard[-1] == 4
    bench.flusher.run()
    assert bench.heard[-1] == 5


def test_driver_heals_from_a_full_disk() -> None:
    """The proposal that did not fit fails and leaves no trace; the next one gets its offset."""
    bench = Bench().started()
    bench.disk.capacity = bench.disk.used()
    with pytest.raises(DiskFull):
        bench.driver.propose([b"a" * 100])
    bench.disk.capacity = None
    assert bench.driver.propose([b"b"]).base_offset == 3
    bench.flusher.run()
    assert bench.heard[-1] == 4
    assert [bytes(value or b"") for batch in bench.driver.read(3, 4) for _, value in batch.records] == [b"b"]


def test_driver_resigns_when_a_flush_fails() -> None:
    """After EIO nothing is promised any more, whatever later flushes say."""
    bench = Bench().started()
    bench.driver.propose([b"a"])
    bench.disk.failing["datasync"] = errno.EIO
    bench.flusher.run()
    assert bench.heard[-1] == (Role.RESIGNED, 1)
    bench.disk.failing.clear()
    with pytest.raises(NotLeader):
        bench.driver.propose([b"b"])
    assert 4 not in bench.heard


def test_driver_does_not_lead_an_epoch_it_could_not_begin() -> None:
    """No space for quorum-state or for the first entry: the start fails with the disk's error."""
    for room in (0, 110):
        bench = Bench()
        bench.disk.capacity = bench.disk.used() + room
        with pytest.raises(DiskFull):
            bench.driver.tick()
        assert (Role.LEADER, 1) not in bench.heard


def test_driver_that_stopped_takes_and_tells_nothing() -> None:
    """A late callback of the committer finds nobody home."""
    bench = Bench().started()
    bench.driver.propose([b"a"])
    bench.driver.stop()
    bench.flusher.run()
    assert 4 not in bench.heard
    with pytest.raises(NotLeader, match="stopping"):
        bench.driver.propose([b"b"])


def test_driver_refuses_a_folder_it_does_not_vote_in() -> None:
    """The check comes before any write."""
    bench = Bench()
    stranger = Voter(VoterKey(1, Uuid(b"x" * 16)), ())
    with pytest.raises(UnsupportedQuorum):
        RaftDriver(stranger, bench.store, bench.flusher, ManualClock(), bench)
    assert bench.disk.operations == []


def test_driver_never_leads_an_epoch_twice_wherever_it_crashes() -> None:
    """The plug is pulled at every disk operation of an election; the next start leads a later epoch than any seen."""
    operations = len(Bench().started().disk.operations)
    assert operations > 5
    for crash_at in range(operations):
        for seed in range(3):
            bench = Bench()
            bench.disk.crash_at = crash_at
            with pytest.raises(SimCrash):
                bench.started()
            led = [
                epoch
                for role, epoch in filter(lambda one: isinstance(one, tuple), bench.heard)
                if role is Role.LEADER
            ]
            bench.disk.crash(Random(seed))
            again = Bench(bench.disk).started()
            assert again.driver.node.role is Role.LEADER
            assert again.driver.node.epoch > max(led, default=0)
            assert again.saved_epoch() == again.driver.node.epoch
