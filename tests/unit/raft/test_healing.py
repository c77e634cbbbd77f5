"""Damaged files of the quorum's folder: noticed, kept aside, and what they held fetched from the others again."""

from __future__ import annotations

import copy
from random import Random

import pytest
from tests.unit.raft.test_driver import Bench, Net, StubbornDisk, grown, values

from moldau_broker.base.ids import format_uuid
from moldau_broker.raft.errors import RaftError
from moldau_broker.raft.opening import knows_quorum, open_store
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import Role
from moldau_broker.raft.store import FOLDER, QUORUM_STATE, RECOVERING
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimCrash

LOG = f"{FOLDER}/00000000000000000000.log"
RECORDS = [b"value-%d" % number for number in range(5)]


def filled(size: int = 3) -> Net:
    """All have the records."""
    net = grown(size)
    for value in RECORDS:
        net.leader().driver.propose([value])
        net.run(20)
    net.run(600)
    assert all(values(bench) == RECORDS for bench in net.benches.values())
    return net


def a_follower(net: Net) -> int:
    leader = net.leader()
    return next(node_id for node_id, bench in net.benches.items() if bench is not leader)


def stop(net: Net, node_id: int, *, clean: bool = False) -> StubbornDisk:
    """Its process ends; the disk."""
    bench = net.benches.pop(node_id)
    bench.driver.stop()
    bench.log_dir.close(clean=clean)
    return bench.disk


def start(net: Net, node_id: int, disk: StubbornDisk) -> Bench:
    bench = Bench(disk, node_id=node_id, transport=net, found=False, bootstrap=[("localhost", 1)])
    net.benches[node_id] = bench
    bench.clock.advance(net.benches[min(net.benches)].clock.now_ms - bench.clock.now_ms)
    bench.driver.tick()
    return bench


def flip(disk: StubbornDisk, value: bytes, bit: int = 0x10) -> None:
    content = disk.content(LOG)
    content[content.rindex(value)] ^= bit
    disk.datasync(LOG)  # on the platter, that is


def flip_state(disk: StubbornDisk, at: int = 0) -> None:
    disk.content(QUORUM_STATE)[at] ^= 0x01
    disk.datasync(QUORUM_STATE)


def names(disk: StubbornDisk) -> set[str]:
    return {entry.name for entry in disk.entries(FOLDER)}


@pytest.mark.parametrize("clean", [True, False], ids=["after a clean stop", "after a crash"])
def test_damage_with_whole_batches_behind_it_is_healed(clean: bool, caplog: pytest.LogCaptureFixture) -> None:
    """One line says what and where; the damaged bytes stay; in the end the node votes, under the same directory id."""
    net = filled()
    victim = a_follower(net)
    directory = net.benches[victim].log_dir.directory_id
    disk = stop(net, victim, clean=clean)
    flip(disk, RECORDS[1])
    damaged = bytes(disk.content(LOG))
    bench = start(net, victim, disk)
    (line,) = (record for record in caplog.records if record.msg == "raft.damage_found")
    assert line.file == LOG
    assert line.position > 0
    assert bench.driver.node.recovering
    assert disk.read(f"{LOG}.damaged-1") == damaged
    net.run(2_000)
    assert not bench.driver.node.recovering
    assert bench.driver.node.is_voter
    assert bench.log_dir.directory_id == directory
    assert values(bench) == RECORDS
    assert RECOVERING.rpartition("/")[2] not in names(disk)
    assert disk.read(f"{LOG}.damaged-1") == damaged
    again = start(net, victim, stop(net, victim))
    assert not again.driver.node.recovering


def test_damage_of_the_last_batch_after_a_crash_is_a_torn_tail() -> None:
    """Nobody can tell it from what a power cut leaves: it is cut, and the node keeps its voice."""
    net = filled()
    victim = a_follower(net)
    disk = stop(net, victim)
    flip(disk, RECORDS[-1])
    bench = start(net, victim, disk)
    assert not bench.driver.node.recovering
    assert values(bench) == RECORDS[:-1]
    net.run(1_000)
    assert values(bench) == RECORDS


def test_sectors_that_were_never_written_are_a_torn_tail() -> None:
    """Power went before all of what was not flushed was written, and not in order: nothing of it was acknowledged."""
    net = filled()
    for value in (bytes(range(1, 255)) * 8, b"behind it"):
        net.leader().driver.propose([value])
        net.run(300)
    victim = a_follower(net)
    disk = stop(net, victim)
    content = disk.content(LOG)
    lost = (content.index(bytes(range(1, 255))) // 512 + 1) * 512
    content[lost : lost + 512] = bytes(512)
    disk.datasync(LOG)
    bench = start(net, victim, disk)
    assert not bench.driver.node.recovering
    net.run(600)
    assert values(bench)[-1] == b"behind it"


def test_damage_of_the_last_batch_after_a_clean_stop_is_healed() -> None:
    """All of it had been made durable."""
    net = filled()
    victim = a_follower(net)
    disk = stop(net, victim, clean=True)
    flip(disk, RECORDS[-1])
    bench = start(net, victim, disk)
    assert bench.driver.node.recovering
    net.run(2_000)
    assert not bench.driver.node.recovering
    assert values(bench) == RECORDS


@pytest.mark.parametrize("clean", [True, False])
def test_damaged_quorum_state_is_healed(clean: bool) -> None:
    """The log stays; the epoch comes from the others."""
    net = filled()
    victim = a_follower(net)
    disk = stop(net, victim, clean=clean)
    flip_state(disk, bytes(disk.content(QUORUM_STATE)).index(b"leaderEpoch") + 13)
    bench = start(net, victim, disk)
    assert bench.driver.node.recovering
    assert values(bench) == RECORDS
    net.run(2_000)
    assert not bench.driver.node.recovering
    assert bench.saved_epoch() == net.leader().driver.node.epoch
    assert "quorum-state.damaged-1" in names(disk)


def test_damaged_leader_heals_behind_the_next_one() -> None:
    """Log and quorum-state both, while the others go on."""
    net = filled()
    victim = next(node_id for node_id, bench in net.benches.items() if bench is net.leader())
    disk = stop(net, victim)
    net.run(3_000)
    net.leader().driver.propose([b"later"])
    flip(disk, RECORDS[0])
    flip_state(disk)
    bench = start(net, victim, disk)
    assert bench.driver.node.recovering
    net.run(3_000)
    assert not bench.driver.node.recovering
    assert bench.driver.node.role is Role.FOLLOWER
    assert values(bench) == [*RECORDS, b"later"]


def test_damage_of_the_record_that_names_the_third_voter_is_healed() -> None:
    """What can be read names two, and a damaged control batch: there may be more, and to cut would be wrong."""
    net = filled()
    victim = a_follower(net)
    newest = net.benches[victim].driver.node.history.newest_offset
    disk = stop(net, victim)
    content, position = disk.content(LOG), 0
    while int.from_bytes(content[position : position + 8], "big") != newest:
        position += 12 + int.from_bytes(content[position + 8 : position + 12], "big")
    content[position + 61 + 20] ^= 0x04
    disk.datasync(LOG)
    bench = start(net, victim, disk)
    assert bench.driver.node.recovering
    net.run(2_000)
    assert not bench.driver.node.recovering
    assert values(bench) == RECORDS


def test_damaged_twice_keeps_both() -> None:
    """What was set aside first is not written over."""
    net = filled()
    victim = a_follower(net)
    for _ in range(2):
        disk = stop(net, victim)
        flip(disk, RECORDS[2])
        start(net, victim, disk)
        net.run(2_000)
    assert {name for name in names(disk) if ".log.damaged" in name} == {
        "00000000000000000000.log.damaged-1",
        "00000000000000000000.log.damaged-2",
    }
    assert values(net.benches[victim]) == RECORDS


def test_log_begins_anew_at_the_newest_snapshot() -> None:
    """What a snapshot stands for need not be fetched, and is known while it recovers."""
    net = filled()
    victim = a_follower(net)
    bench = net.benches[victim]
    node, end = bench.driver.node, bench.driver.node.high_watermark
    snapshot_id = SnapshotId(end, node.last_epoch)
    bench.store.write_snapshot(snapshot_id, [b"state"], voters=node.voters, last_timestamp_ms=0, now_ms=0)
    net.leader().driver.propose([b"more"])
    net.leader().driver.propose([b"most"])
    net.run(20)
    disk = stop(net, victim)
    flip(disk, b"more")
    bench = start(net, victim, disk)
    assert bench.driver.node.recovering
    assert bench.store.log.log_start_offset == bench.store.log.log_end_offset == end
    assert len(bench.driver.node.voters) == 3
    net.run(2_000)
    assert not bench.driver.node.recovering
    assert bench.store.log.log_end_offset == net.leader().store.log.log_end_offset


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("what", ["log", "quorum-state"])
def test_where_the_others_are_no_majority_nothing_is_touched(size: int, what: str) -> None:
    """As ever, in the same words: a person has to decide."""
    net = filled(size)
    victim = 1
    disk = stop(net, victim, clean=True)
    if what == "log":
        flip(disk, RECORDS[1])
    else:
        flip_state(disk)
    before = {name: disk.read(f"{FOLDER}/{name}") for name in names(disk)}
    with pytest.raises((CorruptLog, RaftError), match="damaged"):
        start(net, victim, disk)
    assert {name: disk.read(f"{FOLDER}/{name}") for name in names(disk)} == before


def test_only_voter_cuts_what_a_crash_left_as_ever() -> None:
    """It has been told nothing of what lies above its recovery point, and has nobody to ask."""
    net = filled(1)
    disk = stop(net, 1)
    flip(disk, RECORDS[2])
    bench = start(net, 1, disk)
    assert not bench.driver.node.recovering
    assert values(bench) == RECORDS[:2]


def test_recovering_folder_founds_no_quorum() -> None:
    """Whatever else was set aside."""
    net = filled()
    victim = a_follower(net)
    disk = stop(net, victim)
    flip(disk, RECORDS[0])
    start(net, victim, disk)
    stop(net, victim)
    for name in names(disk) - {RECOVERING.rpartition("/")[2]}:
        disk.unlink(f"{FOLDER}/{name}")
    assert knows_quorum(_log_dir(disk, victim))


def _log_dir(disk: StubbornDisk, node_id: int) -> LogDir:
    return LogDir.open(
        disk, cluster_id=format_uuid(b"c" * 16), node_id=node_id, clock=ManualClock(), rng=Random(0)
    )


@pytest.mark.parametrize("damage", ["log", "quorum-state", "both"])
def test_crash_anywhere_in_healing_never_leaves_a_voice(damage: str) -> None:
    """The folder is damaged as it was, or its mark is there; the next start goes on from either."""
    net = filled()
    victim = a_follower(net)
    damaged = stop(net, victim)
    if damage != "quorum-state":
        flip(damaged, RECORDS[1])
    if damage != "log":
        flip_state(damaged)
    disk = copy.deepcopy(damaged)
    log_dir = _log_dir(disk, victim)
    disk.operations.clear()
    open_store(log_dir)
    steps = len(disk.operations)
    assert steps > 5
    for at in range(steps):
        for seed in range(3):
            disk = copy.deepcopy(damaged)
            log_dir = _log_dir(disk, victim)
            disk.operations.clear()
            disk.crash_at = at
            with pytest.raises(SimCrash):
                open_store(log_dir)
            disk.crash(Random(seed))
            store = open_store(_log_dir(disk, victim))
            assert store.initial.recovering
            log_ends = {0, store.log.log_end_offset} if damage == "quorum-state" else {0}
            assert store.log.log_end_offset in log_ends
            assert (f"{LOG}.damaged-1" in {f"{FOLDER}/{name}" for name in names(disk)}) == (
                damage != "quorum-state"
            )
