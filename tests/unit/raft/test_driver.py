"""The driver: what is on disk before what, and what a failing disk does to it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Sequence
from random import Random

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import format_uuid
from moldau_broker.raft.driver import NoPeers, RaftDriver, Transport
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.messages import Failure, Peer
from moldau_broker.raft.opening import found_quorum, knows_quorum, open_store
from moldau_broker.raft.protocol import vote_request
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import ElectionState, Role
from moldau_broker.raft.store import QUORUM_STATE, StoredSnapshot
from moldau_broker.raft.timing import RaftTiming
from moldau_broker.storage.errors import DiskFull, StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimCrash, SimDisk
from moldau_broker.testing.raft_node import features_of
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.vote import VoteRequestPartitionData
from moldau_broker.wire.schema import Struct


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


class StubbornDisk(SimDisk):
    """Refuses to cut segments when told to."""

    no_cut = False

    def step(self, kind: str, path: str, amount: int = 0) -> None:
        if self.no_cut and kind == "truncate" and path.endswith(".log"):
            raise StorageError(f"{path}: EIO")
        super().step(kind, path, amount)


class Bench:
    """A driver on a simulated disk, with what its listener heard."""

    def __init__(
        self,
        disk: StubbornDisk | None = None,
        *,
        node_id: int = 1,
        transport: Transport | None = None,
        found: bool = True,
        bootstrap: Sequence[tuple[str, int]] = (),
        cluster: bytes = b"c",
    ) -> None:
        self.disk = disk or StubbornDisk()
        self.heard: list[object] = []
        self.flusher = Flusher()
        self.clock = clock = ManualClock()
        cluster_id = format_uuid(cluster * 16)
        self.log_dir = LogDir.open(
            self.disk, cluster_id=cluster_id, node_id=node_id, clock=clock, rng=Random(node_id)
        )
        key = VoterKey(node_id, self.log_dir.directory_id)
        me = Voter(key, (VoterEndpoint("CONTROLLER", "localhost", node_id),))
        if found and not knows_quorum(self.log_dir):
            found_quorum(self.log_dir, me, [b"bootstrap"], clock.now_ms)
        self.store = open_store(self.log_dir)
        self.disk.operations.clear()
        self.driver = RaftDriver(
            me,
            self.store,
            self.flusher,
            clock,
            self,
            transport or NoPeers(),
            Random(node_id),
            cluster_id=cluster_id,
            bootstrap=bootstrap,
            auto_join=True,
        )

    def on_leader(self, leader_id: int, epoch: int) -> None:
        pass

    def on_snapshot(self, snapshot: StoredSnapshot) -> None:
        self.heard.append(snapshot.id)

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


class Net:
    """Drivers that reach each other; everything is delivered when `run` is called."""

    def __init__(self) -> None:
        self.benches: dict[int, Bench] = {}
        self.queue: list[Callable[[], None]] = []

    def send(
        self, to: Peer, key: ApiKey, request: Struct, on_answer: Callable[[Struct | Failure], None]
    ) -> None:
        def deliver() -> None:
            bench = self.benches.get(to.port)
            if bench is None:
                on_answer(Failure.REFUSED)
                return
            if key is ApiKey.API_VERSIONS:  # which is its server's to answer
                self.queue.append(lambda: on_answer(features_of(bench.driver.node.me)))
                return
            deferred = bench.driver.handle(key, 0, request)
            deferred.on_complete(lambda response: self.queue.append(lambda: on_answer(response)))

        self.queue.append(deliver)

    def run(self, ms: int) -> None:
        """Let this much time pass for everybody, a millisecond at a time."""
        for _ in range(ms):
            for bench in self.benches.values():
                bench.clock.advance(1)
                if bench.driver.next_deadline_ms <= bench.clock.now_ms:
                    with contextlib.suppress(StorageError):  # the ticker logs it and goes on
                        bench.driver.tick()
            for _ in range(100):
                queue, self.queue = self.queue, []
                for deliver in queue:
                    deliver()
                for bench in self.benches.values():
                    bench.flusher.run()
                if not self.queue:
                    break

    def leader(self) -> Bench:
        (one,) = (bench for bench in self.benches.values() if bench.driver.node.role is Role.LEADER)
        return one


def grown(size: int = 3) -> Net:
    """A founder and nodes that joined by themselves."""
    net = Net()
    for node_id in range(1, size + 1):
        bench = net.benches[node_id] = Bench(
            node_id=node_id, transport=net, found=node_id == 1, bootstrap=[("localhost", 1)]
        )
        bench.driver.tick()
    net.run(3_000)
    return net


def values(bench: Bench) -> list[bytes]:
    log = bench.store.log
    return [
        bytes(value or b"")
        for batch in bench.driver.read(log.log_start_offset, log.log_end_offset)
        if not batch.control
        for _, value in batch.records
    ]


def test_drivers_grow_from_one_to_three_and_replicate() -> None:
    """Observers find the leader, catch up, ask to be voters; then what the leader writes is on every disk.

    Reference: KIP-853.
    """
    net = grown()
    leader = net.leader()
    assert [key.node_id for key in leader.driver.node.voters.keys] == [1, 2, 3]
    leader.driver.propose([b"a", b"b"])
    net.run(5)
    for bench in net.benches.values():
        assert values(bench) == [b"a", b"b"]
        assert bench.heard[-1] == leader.store.log.log_end_offset
        assert bench.store.log.durable_offset == leader.store.log.log_end_offset


def test_driver_says_that_it_was_sent_to_another_cluster(caplog: pytest.LogCaptureFixture) -> None:
    """A node with the wrong cluster id waits for ever: it says why, once."""
    net = Net()
    net.benches[1] = Bench(node_id=1, transport=net)
    net.benches[2] = stranger = Bench(
        node_id=2, transport=net, found=False, bootstrap=[("localhost", 1)], cluster=b"d"
    )
    for bench in net.benches.values():
        bench.driver.tick()
    net.run(2_000)
    assert stranger.driver.leader is None
    assert stranger.driver.in_other_cluster
    assert [record.message for record in caplog.records].count("raft.other_cluster") == 1
    assert not any(bench.driver.in_other_cluster for bench in grown().benches.values())


def test_drivers_shutdown_hands_over_and_says_when() -> None:
    """The deferred is complete once the successors know; another leads within milliseconds."""
    net = grown()
    first = net.leader()
    done = first.driver.shutdown()
    assert not done.done
    net.run(20)
    assert done.done
    assert net.leader() is not first
    assert first.driver.leader is not None
    with pytest.raises(NotLeader, match="stopping"):
        first.driver.propose([b"x"])


def test_driver_alone_has_nobody_to_hand_over_to() -> None:
    """A quorum of one stops at once."""
    assert Bench().started().driver.shutdown().done


def test_driver_installs_a_snapshot_and_tells_its_listener() -> None:
    """A node whose log ends before the leader's begins: files, core and listener begin anew at the snapshot."""
    net = grown()
    leader = net.leader()
    away_id = next(node_id for node_id, bench in net.benches.items() if bench is not leader)
    away = net.benches.pop(away_id)
    for _ in range(3):
        leader.driver.propose([b"x" * 1000])
        net.run(5)
        node = leader.driver.node
        snapshot_id = SnapshotId(node.high_watermark, node.epoch)
        leader.store.write_snapshot(
            snapshot_id, [b"state"], voters=node.voters, last_timestamp_ms=0, now_ms=leader.clock.now_ms
        )
        leader.driver.snapshot_written()
    net.benches[away_id] = away
    net.run(2_000)
    assert snapshot_id in away.heard
    assert away.store.log.log_start_offset == snapshot_id.end_offset
    assert away.heard[-1] == leader.driver.node.high_watermark
    away.driver.stop()
    away.log_dir.close()
    again = Bench(away.disk, node_id=away_id, found=False)
    assert again.store.snapshot is not None
    assert again.store.snapshot.id == snapshot_id


def test_driver_that_cannot_save_promises_nothing() -> None:
    """A vote that quorum-state does not hold is not given; with space again it is."""
    net = grown()
    follower = next(bench for bench in net.benches.values() if bench is not net.leader())
    key = follower.driver.node.me.key
    partition = VoteRequestPartitionData(
        replica_epoch=9,
        replica_id=3,
        replica_directory_id=b"z" * 16,
        voter_directory_id=key.directory_id,
        last_offset_epoch=8,
        last_offset=99,
    )
    request = vote_request(None, key.node_id, partition)
    follower.disk.capacity = follower.disk.used()
    refused = follower.driver.handle(ApiKey.VOTE, 2, request).value
    assert refused.error_code == ErrorCode.KAFKA_STORAGE_ERROR  # type: ignore[attr-defined]
    assert follower.saved_epoch() == net.leader().driver.node.epoch
    follower.disk.capacity = None
    granted = follower.driver.handle(ApiKey.VOTE, 2, request).value
    assert granted.topics[0].partitions[0].vote_granted  # type: ignore[attr-defined]
    assert follower.saved_epoch() == 9


def test_driver_that_stopped_refuses_requests() -> None:
    """Whoever asks is told at once, and turns to others."""
    bench = Bench().started()
    bench.driver.stop()
    answer = bench.driver.handle(ApiKey.VOTE, 2, vote_request(None, 1, VoteRequestPartitionData()))
    assert answer.value.error_code == ErrorCode.BROKER_NOT_AVAILABLE  # type: ignore[attr-defined]
    assert bench.driver.next_deadline_ms > 2**60


def test_driver_of_two_votes_for_its_successor_before_it_stops() -> None:
    """Both votes are needed: the leader that leaves stays until the other one leads."""
    net = grown(2)
    first = net.leader()
    done = first.driver.shutdown()
    for _ in range(100):
        net.run(1)
        if done.done:
            break
    assert done.done
    (second,) = (bench for bench in net.benches.values() if bench is not first)
    assert second.driver.node.role is Role.LEADER


def test_driver_stops_waiting_for_a_successor_that_never_comes() -> None:
    """The others know, but cannot elect: an election time-out later the node may stop nevertheless."""
    net = grown(2)
    first = net.leader()
    (second,) = (bench for bench in net.benches.values() if bench is not first)
    done = first.driver.shutdown()
    second.disk.capacity = second.disk.used()
    net.run(RaftTiming().election_ms + 50)
    assert done.done
    assert second.driver.node.role is not Role.LEADER


def test_driver_survives_a_truncation_that_fails() -> None:
    """The log is out of service from then on: the node neither votes nor leads, and says nothing wrong."""
    net = grown()
    first = net.leader()
    first_id = next(node_id for node_id, bench in net.benches.items() if bench is first)
    del net.benches[first_id]
    first.driver.propose([b"lost"])
    first.flusher.run()
    net.queue.clear()  # cut off: nobody gets it
    net.run(3_000)
    net.leader().driver.propose([b"kept"])
    net.run(10)
    first.disk.no_cut = True
    net.benches[first_id] = first
    net.run(3_000)
    assert first.store.log.failure is not None
    assert first.driver.node.role in (Role.UNATTACHED, Role.FOLLOWER)
    assert values(net.leader()) == [b"kept"]
