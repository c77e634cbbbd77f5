"""Three brokers' replicas together: what is acknowledged is on three disks, and survives whoever leads next."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replica_cluster import ReplicaCluster


@pytest.fixture
def cluster() -> ReplicaCluster:
    made = ReplicaCluster()
    made.create_topic("t", min_insync_replicas="2")
    return made


def marks(cluster: ReplicaCluster) -> list[int]:
    return [cluster.partition("t", node_id).high_watermark for node_id in cluster.nodes]


def commit(cluster: ReplicaCluster, value: bytes) -> int:
    """Write one record and have it acknowledged; gives its offset."""
    told: list[ErrorCode] = []
    outcome = cluster.write("t", value)
    assert outcome.error is ErrorCode.NONE
    cluster.leader("t").when_committed(outcome.next_offset, told.append)
    cluster.replicate()
    assert told == [ErrorCode.NONE]
    return outcome.base_offset


def test_an_acknowledgement_waits_for_three_disks(cluster: ReplicaCluster) -> None:
    """Fetched is not enough, fsynced is not enough: the leader has to be told by the next fetch."""
    told: list[ErrorCode] = []
    outcome = cluster.write("t", b"v")
    leader = cluster.leader("t")
    leader.when_committed(outcome.next_offset, told.append)
    cluster.flush(1)
    for node_id in (2, 3):
        assert cluster.fetch("t", node_id)
        assert not cluster.fetch("t", node_id), "it does not ask before its disk has answered"
        cluster.partition("t", node_id).request_commit()
    assert (told, leader.high_watermark) == ([], 0)
    cluster.flush(2, 3)
    cluster.fetch("t", 2)
    assert told == []
    cluster.fetch("t", 3)
    assert (told, leader.high_watermark) == ([ErrorCode.NONE], 1)
    cluster.replicate()
    assert marks(cluster) == [1, 1, 1]
    assert len({cluster.values("t", node_id) for node_id in cluster.nodes}) == 1


def test_the_leaders_own_disk_counts_too(cluster: ReplicaCluster) -> None:
    """Followers may be faster."""
    cluster.write("t", b"v")
    for node_id in (2, 3):
        cluster.fetch("t", node_id)
        cluster.partition("t", node_id).request_commit()
        cluster.flush(node_id)
        cluster.fetch("t", node_id)
    assert cluster.leader("t").high_watermark == 0
    cluster.flush(1)
    assert cluster.leader("t").high_watermark == 1


@pytest.mark.parametrize("new_leader", [2, 3])
def test_what_was_acknowledged_survives_a_power_failure_of_everybody(new_leader: int) -> None:
    """Whatever the disks kept beyond what was fsynced, and whoever leads next."""
    for seed in range(20):
        cluster = ReplicaCluster(seed=seed)
        cluster.create_topic("t", min_insync_replicas="2")
        for value in range(5):
            commit(cluster, b"acknowledged %d" % value)
        for value in range(3):
            cluster.write("t", b"not acknowledged %d" % value)
        cluster.fetch("t", 2)
        for node_id in cluster.nodes:
            cluster.restart(node_id, power_failure=True)
        cluster.change("t", leader=new_leader)
        cluster.replicate()
        values = {cluster.values("t", node_id) for node_id in cluster.nodes}
        assert len(values) == 1, f"seed {seed}"
        (whole,) = values
        assert [b"acknowledged %d" % value in whole for value in range(5)] == [True] * 5, f"seed {seed}"
        assert commit(cluster, b"after") >= 5


def test_a_deposed_leader_gives_back_what_nobody_else_has(cluster: ReplicaCluster) -> None:
    """It comes back as a follower and cuts its log where its leader's epoch ended."""
    commit(cluster, b"acknowledged")
    for value in range(3):
        cluster.write("t", b"never acknowledged %d" % value)
    cluster.flush(1)
    cluster.change("t", leader=2, isr=(2, 3))
    commit_at = cluster.write("t", b"of the new leader").base_offset
    assert commit_at == 1
    cluster.replicate()
    assert marks(cluster) == [2, 2, 2]
    assert len({cluster.values("t", node_id) for node_id in cluster.nodes}) == 1
    assert b"never" not in cluster.values("t", 1)


def test_a_deposed_leader_that_does_not_know_acknowledges_nothing(cluster: ReplicaCluster) -> None:
    """A zombie: nobody fetches from it, so its high watermark rests; when it learns, its waiters are told."""
    commit(cluster, b"acknowledged")
    zombie = cluster.partition("t", 1)
    told: list[ErrorCode] = []
    outcome = cluster.write("t", b"to the zombie")
    zombie.when_committed(outcome.next_offset, told.append)
    cluster.flush(1)
    assert (told, zombie.high_watermark) == ([], 1)
    cluster.change("t", leader=2, isr=(2, 3))
    assert told == [ErrorCode.NOT_LEADER_OR_FOLLOWER]


def test_a_new_leader_is_not_ready_before_it_knows_what_was_committed(cluster: ReplicaCluster) -> None:
    """Its own high watermark may be older than what was acknowledged."""
    commit(cluster, b"one")
    outcome = cluster.write("t", b"two")
    for node_id in (2, 3):
        cluster.fetch("t", node_id)
        cluster.partition("t", node_id).request_commit()
    cluster.flush()
    for node_id in (2, 3):
        leader, follower = cluster.partition("t", 1), cluster.partition("t", node_id)
        ask = follower.ask()
        assert ask is not None
        leader.fetched_by(node_id, -1, ask.offset, 0)  # the answer, with the new high watermark, is lost
    assert cluster.leader("t").high_watermark == outcome.next_offset
    cluster.change("t", leader=2, isr=(2, 3))
    new = cluster.leader("t")
    assert (new.is_leader, new.is_ready, new.high_watermark) == (True, False, 1)
    cluster.replicate(only=(2, 3))
    assert (new.is_ready, new.high_watermark) == (True, 2)


def test_a_follower_that_lags_leaves_and_comes_back(cluster: ReplicaCluster) -> None:
    """Through the controller both times; meanwhile the others go on."""
    commit(cluster, b"one")
    cluster.write("t", b"two")
    bench = cluster.nodes[1]
    bench.clock.advance(10_001)
    cluster.replicate(only=(1, 2))
    bench.replicas.tick()
    assert cluster.decide() == [(1, 2)]
    assert cluster.leader("t").isr == (1, 2)
    assert cluster.leader("t").high_watermark == 2
    cluster.replicate()
    assert cluster.decide() == [(1, 2, 3)]
    assert cluster.leader("t").isr == (1, 2, 3)


def test_a_fenced_follower_does_not_come_back_by_itself(cluster: ReplicaCluster) -> None:
    """The controller has to believe in its broker first."""
    cluster.change("t", isr=(1, 2))
    cluster.fence(3)
    cluster.replicate()
    assert cluster.controller.asked == []


def test_a_follower_without_its_disk_is_expelled_and_refilled(cluster: ReplicaCluster) -> None:
    """It asks from the beginning although it is in sync: it leaves, copies everything, and comes back."""
    commit(cluster, b"one")
    partition = cluster.partition("t", 3)
    partition.log.truncate_fully(0)
    partition.log.sync()
    cluster.fetch("t", 3)
    assert cluster.decide() == [(1, 2)]
    cluster.replicate()
    assert cluster.decide() == [(1, 2, 3)]
    assert cluster.values("t", 3) == cluster.values("t", 1)


def test_nobody_is_acknowledged_below_min_insync_replicas(cluster: ReplicaCluster) -> None:
    """Refused before the append; and what was appended before is not acknowledged by fewer."""
    told: list[ErrorCode] = []
    outcome = cluster.write("t", b"v")
    cluster.leader("t").when_committed(outcome.next_offset, told.append)
    cluster.change("t", isr=(1,))
    cluster.flush(1)
    assert (told, cluster.leader("t").high_watermark) == ([], 0)
    assert cluster.write("t", b"w").error is ErrorCode.NOT_ENOUGH_REPLICAS
    assert cluster.write("t", b"w", all_in_sync=False).error is ErrorCode.NONE


def test_a_damaged_answer_is_not_appended(cluster: ReplicaCluster) -> None:
    """A bit that flipped on the way or on the leader's disk does not spread."""
    cluster.write("t", b"value")
    follower = cluster.partition("t", 2)
    asked = follower.ask()
    assert asked is not None
    read = cluster.leader("t").read(0, 1 << 20, committed=False, min_one=True, wait=True, to_end=True)
    assert read is not None
    assert read.records is not None
    data = bytearray(read.records)
    data[-2] ^= 1
    advice = follower.take(asked, 0, data, (-1, -1), 1, 0, 0)
    assert advice is not None
    assert advice.step.name == "BACK_OFF"
    assert follower.log_end_offset == 0
    assert follower.offline_reason is None


def test_a_follower_outside_the_leaders_log_begins_anew(cluster: ReplicaCluster) -> None:
    """Retention or DeleteRecords went past its end."""
    for value in range(3):
        cluster.write("t", b"%d" % value)
    cluster.replicate(only=(1, 2))
    cluster.leader("t").log.advance_log_start(2)
    cluster.replicate()
    assert (cluster.partition("t", 3).log_start_offset, cluster.partition("t", 3).log_end_offset) == (2, 3)


def test_followers_take_over_the_log_start(cluster: ReplicaCluster) -> None:
    """What is deleted at the leader is deleted everywhere."""
    for value in range(3):
        commit(cluster, b"%d" % value)
    assert cluster.leader("t").delete_records(2) is ErrorCode.NONE
    cluster.replicate()
    assert [cluster.partition("t", node_id).log_start_offset for node_id in cluster.nodes] == [2, 2, 2]


def test_a_deletion_is_done_once_no_live_replica_has_the_records(cluster: ReplicaCluster) -> None:
    """DeleteRecords' low watermark: each follower says where its log begins with its next question."""
    for value in range(3):
        commit(cluster, b"%d" % value)
    leader, told = cluster.leader("t"), list[ErrorCode]()
    leader.delete_records(2)
    leader.when_deleted(2, told.append)
    cluster.replicate(only=(1, 2))
    assert (leader.low_watermark, told) == (0, [])
    cluster.replicate()
    assert (leader.low_watermark, told) == (2, [ErrorCode.NONE])


def test_a_deletion_does_not_wait_for_a_broker_that_is_gone(cluster: ReplicaCluster) -> None:
    """It will take over the log start when it comes back."""
    commit(cluster, b"v")
    leader, told = cluster.leader("t"), list[ErrorCode]()
    leader.delete_records(1)
    leader.when_deleted(1, told.append)
    cluster.replicate(only=(1, 2))
    assert told == []
    cluster.fence(3)
    cluster.nodes[1].replicas.tick()
    assert (leader.low_watermark, told) == (1, [ErrorCode.NONE])


def test_a_deletion_is_nobodys_once_another_one_leads(cluster: ReplicaCluster) -> None:
    """The new leader may not have heard of it."""
    commit(cluster, b"v")
    leader, told = cluster.leader("t"), list[ErrorCode]()
    leader.delete_records(1)
    leader.when_deleted(1, told.append)
    cluster.change("t", leader=2)
    assert told == [ErrorCode.NOT_LEADER_OR_FOLLOWER]


def test_the_window_of_five_batches_is_the_same_on_every_replica(cluster: ReplicaCluster) -> None:
    """Whoever leads next knows a producer's retries, and where its sequence goes on (KIP-98)."""
    bench = cluster.nodes[1]
    batches = [make_batch([b"v"], producer_id=7, producer_epoch=0, base_sequence=at) for at in range(7)]
    for batch in batches:
        accepted = bench.accepted(bytearray(batch))
        outcome = cluster.leader("t").append(accepted, bench.clock.wall_ms(), all_in_sync=True)
        assert outcome.error is ErrorCode.NONE
    cluster.replicate()
    for leader in (2, 3):
        cluster.change("t", leader=leader, isr=(1, 2, 3))
        partition, now = cluster.leader("t"), bench.clock.wall_ms()
        for at, known in ((2, True), (6, True), (1, False)):
            outcome = partition.append(bench.accepted(bytearray(batches[at])), now, all_in_sync=True)
            assert (outcome.error, outcome.base_offset) == (
                (ErrorCode.NONE, at) if known else (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
            )
        gap = make_batch([b"v"], producer_id=7, producer_epoch=0, base_sequence=9)
        outcomes = [
            partition.append(bench.accepted(bytearray(gap)), now, all_in_sync=True).error for _ in range(6)
        ]
        first = [ErrorCode.NOT_LEADER_OR_FOLLOWER] * 5  # 7 and 8 may be under way to the leader before
        assert outcomes == [*first, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER]
        assert partition.log_end_offset == 7


def test_the_high_watermark_of_several_replicas_survives_a_restart(cluster: ReplicaCluster) -> None:
    """It comes from the checkpoint: the log's end says nothing about the others."""
    commit(cluster, b"one")
    cluster.write("t", b"two")
    bench = cluster.nodes[1]
    bench.log_dir.checkpoint(bench.log_dir.collect())
    cluster.restart(1)
    assert cluster.partition("t", 1).log_end_offset == 2
    assert cluster.partition("t", 1).high_watermark == 1


def test_a_damaged_log_is_set_aside_and_fetched_again(cluster: ReplicaCluster) -> None:
    """A bit that flipped below the high watermark: the folder is kept for whoever wants to look, and not served."""
    for value in range(3):
        commit(cluster, b"value %d" % value)
    bench = cluster.nodes[3]
    bench.log_dir.checkpoint(bench.log_dir.collect())
    path = "t-0/00000000000000000000.log"
    data = bytearray(bench.disk.read(path))
    data[140] ^= 1  # inside a value
    bench.disk.write(path, bytes(data))
    cluster.restart(3)
    assert bench.replicas.partition("t", 0) is None, "it is in the ISR, and might be elected"
    topic = cluster.image.topics["t"]
    without = topic.partitions[0]._replace(
        isr=(1, 2), partition_epoch=topic.partitions[0].partition_epoch + 1
    )
    excluded = topic._replace(partitions=(without,))  # as the controller does at an unclean registration
    cluster.publish(topics={"t": excluded}, topics_by_id={topic.topic_id: excluded})
    assert any(entry.name.endswith("-stray") for entry in bench.disk.entries())
    assert cluster.partition("t", 3).log_end_offset == 0
    cluster.replicate()
    assert cluster.decide() == [(1, 2, 3)]
    assert cluster.values("t", 3) == cluster.values("t", 1)


def test_a_bit_of_a_base_offset_does_not_make_a_gap(cluster: ReplicaCluster) -> None:
    """No CRC covers it; in a log that was never compacted offsets have no gaps, so it is found all the same."""
    for value in range(3):
        commit(cluster, b"value %d" % value)
    bench = cluster.nodes[3]
    path = "t-0/00000000000000000000.log"
    data = bytearray(bench.disk.read(path))
    second = len(data) // 3
    assert int.from_bytes(data[second : second + 8], "big") == 1
    data[second + 7] ^= 16
    bench.disk.write(path, bytes(data))
    cluster.restart(3)
    cluster.replicate()
    cluster.decide()
    cluster.replicate()
    assert cluster.values("t", 3) == cluster.values("t", 1)


def test_what_follows_a_refused_batch_is_refused_for_the_same_reason(cluster: ReplicaCluster) -> None:
    """A producer that hears of a gap begins a new epoch, and sends again what other partitions have stored already."""

    def write(sequence: int, producer: int = 7) -> ErrorCode:
        bench = cluster.nodes[1]
        batch = make_batch((b"v",), producer_id=producer, producer_epoch=0, base_sequence=sequence)
        return (
            cluster.leader("t").append(bench.accepted(batch), bench.clock.wall_ms(), all_in_sync=True).error
        )

    assert write(0) is ErrorCode.NONE
    cluster.change("t", isr=(1,))
    assert [write(1), write(2)] == [ErrorCode.NOT_ENOUGH_REPLICAS] * 2
    cluster.change("t", isr=(1, 2, 3))
    assert write(3) is ErrorCode.NOT_ENOUGH_REPLICAS, "not a gap: 1 and 2 will come again"
    assert [write(1), write(2), write(3)] == [ErrorCode.NONE] * 3
    assert write(5) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_batch_that_came_before_the_news_of_the_election_is_no_gap(cluster: ReplicaCluster) -> None:
    """A client hears of the new leader before that does: its first batch is refused, what is right behind it too."""
    bench = cluster.nodes[2]

    def write(sequence: int) -> ErrorCode:
        batch = make_batch((b"v",), producer_id=7, producer_epoch=0, base_sequence=sequence)
        partition = cluster.partition("t", 2)
        return partition.append(bench.accepted(batch), bench.clock.wall_ms(), all_in_sync=True).error

    elsewhere = ErrorCode.NOT_LEADER_OR_FOLLOWER
    old, old_bench = cluster.leader("t"), cluster.nodes[1]
    stored = make_batch((b"v",), producer_id=7, producer_epoch=0, base_sequence=0)
    assert old.append(old_bench.accepted(stored), old_bench.clock.wall_ms(), all_in_sync=True).error is (
        ErrorCode.NONE
    )
    cluster.replicate()
    assert write(1) is elsewhere
    cluster.change("t", leader=2, isr=(2, 3))
    assert [write(sequence) for sequence in (2, 3, 4, 5)] == [elsewhere] * 4
    assert [write(sequence) for sequence in (1, 2)] == [ErrorCode.NONE] * 2
    assert write(4) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, "what came before is stored: this is a gap"


def test_what_is_under_way_to_the_leader_before_is_no_gap(cluster: ReplicaCluster) -> None:
    """A client sends what comes next to the new leader while it still waits for an answer of the one that hangs."""
    old, old_bench, bench = cluster.leader("t"), cluster.nodes[1], cluster.nodes[2]

    def batch(sequence: int, epoch: int = 0) -> bytearray:
        return make_batch((b"v",), producer_id=7, producer_epoch=epoch, base_sequence=sequence)

    def write(sequence: int, epoch: int = 0) -> ErrorCode:
        accepted = bench.accepted(batch(sequence, epoch))
        return cluster.leader("t").append(accepted, bench.clock.wall_ms(), all_in_sync=True).error

    assert old.append(old_bench.accepted(batch(0)), old_bench.clock.wall_ms(), all_in_sync=True).error is (
        ErrorCode.NONE
    )
    cluster.replicate()
    cluster.change("t", leader=2, isr=(2, 3))
    elsewhere, gap = ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert [write(sequence) for sequence in (2, 3, 4, 5, 6)] == [elsewhere] * 5
    assert [write(1), write(2)] == [ErrorCode.NONE] * 2, "it has timed out there, and comes in order"
    assert write(4) is gap, "what came before is stored in this leader epoch"
    cluster.replicate()
    cluster.change("t", leader=3, isr=(2, 3))
    assert write(1, epoch=1) is elsewhere, "the first of the new producer epoch may be under way as well"
    assert [write(0, epoch=1), write(1, epoch=1)] == [ErrorCode.NONE] * 2


def test_a_gap_is_told_in_the_end_where_something_is_really_missing(cluster: ReplicaCluster) -> None:
    """A refusal explains what can have been under way behind it, and no more: else nobody would ever hear of a loss."""
    bench = cluster.nodes[1]

    def write(sequence: int) -> ErrorCode:
        batch = make_batch((b"v",), producer_id=7, producer_epoch=0, base_sequence=sequence)
        accepted = bench.accepted(batch)
        return cluster.leader("t").append(accepted, bench.clock.wall_ms(), all_in_sync=True).error

    assert write(0) is ErrorCode.NONE
    cluster.change("t", isr=(1,))
    few = ErrorCode.NOT_ENOUGH_REPLICAS
    assert write(5) is few
    cluster.change("t", isr=(1, 2, 3))
    assert [write(5) for _ in range(6)] == [few] * 4 + [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER] * 2


def test_a_leader_that_nobody_listens_to_sends_its_clients_away() -> None:
    """Neither the controller nor a follower is heard of: whoever waits here would not look for the new leader."""
    cluster = ReplicaCluster()
    cluster.create_topic("t", min_insync_replicas="2")
    commit(cluster, b"one")
    zombie, bench = cluster.partition("t", 1), cluster.nodes[1]
    forgotten = True
    bench.replicas._is_forgotten = lambda: forgotten
    bench.replicas.tick()
    assert zombie.leadership_error(-1) is ErrorCode.NONE, "its followers ask"
    told: list[ErrorCode] = []
    outcome = cluster.write("t", b"two")
    zombie.when_committed(outcome.next_offset, told.append)
    bench.clock.advance(2_001)
    forgotten = False
    bench.replicas.tick()
    assert told == [], "the controller is there: who is in sync is its to say"
    forgotten = True
    bench.replicas.tick()
    assert told == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    assert cluster.write("t", b"three", all_in_sync=False).error is ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert zombie.leadership_error(0, for_replica=True) is ErrorCode.NONE
    cluster.fetch("t", 2)
    assert cluster.write("t", b"four").error is ErrorCode.NONE, "a follower came back before anybody else led"


def test_a_fetch_of_a_damaged_log_is_not_heard_once_it_has_begun_anew(cluster: ReplicaCluster) -> None:
    """Late, over another connection, it says what the replica had; the new log has the same broker epoch."""
    commit(cluster, b"one")
    late = cluster.partition("t", 2).ask()
    assert late is not None
    damage(cluster, 2)
    assert lost(cluster) == [2]
    cluster.change("t", leader=1, isr=(1, 3))  # as the controller does: the leader stays, in a new epoch
    cluster.replicate(only=(1, 3))
    assert cluster.partition("t", 2).log_end_offset == 0
    leader = cluster.leader("t")
    assert leader.leadership_error(late.leader_epoch, for_replica=True) is ErrorCode.FENCED_LEADER_EPOCH
    cluster.replicate()
    assert cluster.decide() == [(1, 3, 2)]
    assert marks(cluster) == [1, 1, 1]


def test_a_damaged_replica_out_of_sync_waits_for_a_new_epoch_too(cluster: ReplicaCluster) -> None:
    """Nobody counts on it, but its leader would, if it heard what is under way: so it is reported all the same."""
    commit(cluster, b"one")
    cluster.change("t", isr=(1, 3))
    damage(cluster, 2)
    cluster.change("t", isr=(1, 3))
    assert cluster.partition("t", 2).offline_reason is not None, "the epoch is the one it has asked in"
    assert lost(cluster) == [2]
    cluster.change("t", leader=1)
    assert cluster.partition("t", 2).offline_reason is None
    assert cluster.partition("t", 2).log_end_offset == 0
    assert lost(cluster) == []


def damage(cluster: ReplicaCluster, node_id: int) -> None:
    """Somebody has come upon a batch whose checksum is wrong."""
    partition = cluster.partition("t", node_id)
    partition.log.fail(CorruptLog("t-0: the checksum does not match"))
    partition.go_offline("t-0: the checksum does not match")


def lost(cluster: ReplicaCluster) -> list[int]:
    """Who has told the controller that a replica of it is lost, since it was looked at last."""
    for bench in cluster.nodes.values():
        bench.replicas.tick()
    told, cluster.controller.lost = cluster.controller.lost, []
    for _, answer in told:
        answer(None)
    return [request.broker_id for request, _ in told]
