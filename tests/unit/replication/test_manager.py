"""The replicas of a broker follow the metadata image: topics come, change, go, and come again."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import LOST_DIRECTORY, NULL_UUID, Uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import BrokerImage, MetadataImage, ResourceType
from moldau_broker.replication.manager import LeadershipListener, ReplicaManager
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Partition
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.testing.controller import ManualClock
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replica_cluster import ManualController
from moldau_broker.testing.replicas import ReplicaBench

TOPIC, BROKER = int(ResourceType.TOPIC), int(ResourceType.BROKER)


@pytest.fixture
def bench() -> ReplicaBench:
    return ReplicaBench()


def write(bench: ReplicaBench, partition: Partition, value: bytes = b"v") -> AppendOutcome:
    return partition.append(bench.accepted(make_batch((value,))), bench.clock.wall_ms(), all_in_sync=True)


def folders(bench: ReplicaBench) -> set[str]:
    return {entry.name for entry in bench.disk.entries() if entry.is_folder}


def test_a_topic_of_ours_is_hosted_under_its_name_and_its_id(bench: ReplicaBench) -> None:
    """Every partition with this broker among its replicas, and no other."""
    mine, theirs = bench.topic("mine", 2), bench.topic("theirs", 2, replicas=(2, 3), leader=2)
    bench.publish(mine, theirs)
    assert sorted((one.topic, one.index) for one in bench.replicas.partitions()) == [("mine", 0), ("mine", 1)]
    assert len(bench.replicas) == 2
    assert bench.replicas.partition_by_id(mine.topic_id, 1) is bench.partition("mine", 1)
    assert bench.replicas.partition("theirs", 0) is None
    assert bench.replicas.missing_error("theirs", 0) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert bench.replicas.missing_error("theirs", 2) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert folders(bench) == {"mine-0", "mine-1"}


def test_a_deleted_topic_is_gone_at_once(bench: ReplicaBench) -> None:
    """Look-ups fail, waiters are told, the folder's name is free; its space follows later."""
    partition = bench.create_topic("t")
    told: list[ErrorCode] = []
    partition.when_committed(write(bench, partition).next_offset, told.append)
    generation = bench.replicas.generation
    bench.publish(without=["t"])
    assert bench.replicas.partition("t", 0) is None
    assert bench.replicas.partition_by_id(partition.topic_id, 0) is None
    assert told == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    assert bench.replicas.generation > generation, "what was remembered is void"
    assert "t-0" not in folders(bench)
    bench.committer.flush_all()
    bench.clock.advance(10**9)
    bench.log_dir.purge(bench.clock.wall_ms())
    assert folders(bench) == set()


def test_a_topic_made_again_under_its_name_is_another(bench: ReplicaBench) -> None:
    """Also when both happen between two images: a new id, an empty log, nothing of the old one."""
    old = bench.create_topic("t")
    write(bench, old)
    known = bench.image.topics["t"]
    bench.image = type(bench.image)("cluster", offset=bench.image.offset)  # so that `topic` draws a new id
    again = bench.topic("t")
    bench.image = type(bench.image)(
        "cluster", offset=1, topics={"t": known}, topics_by_id={known.topic_id: known}
    )
    bench.publish(again)
    new = bench.partition("t")
    assert new.topic_id == again.topic_id != known.topic_id
    assert (new.log_end_offset, len(bench.replicas)) == (0, 1)
    assert bench.replicas.partition_by_id(known.topic_id, 0) is None
    assert old.leadership_error(-1) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert write(bench, new).base_offset == 0


def test_partitions_that_are_added_are_hosted(bench: ReplicaBench) -> None:
    """CreatePartitions: the old ones stay what they are."""
    first = bench.create_topic("t")
    write(bench, first)
    bench.publish(bench.topic("t", 3))
    assert bench.partition("t") is first
    assert [bench.partition("t", index).log_end_offset for index in range(3)] == [1, 0, 0]


def test_a_replica_that_is_moved_away_is_dropped(bench: ReplicaBench) -> None:
    """The image names other replicas."""
    bench.create_topic("t")
    bench.publish(bench.topic("t", replicas=(2,), leader=2, epoch=1))
    assert len(bench.replicas) == 0
    assert "t-0" not in folders(bench)


def test_settings_reach_the_logs_they_are_for(bench: ReplicaBench) -> None:
    """A topic's own over the broker's own over the cluster's over Kafka's defaults, as soon as they change."""
    first, second = bench.create_topic("first"), bench.create_topic("second", retention_ms="1")
    assert first.log.config.retention_ms == 604_800_000
    assert second.log.config.retention_ms == 1
    bench.publish(configs={(BROKER, ""): {"log.retention.ms": "5"}})
    assert (first.log.config.retention_ms, second.log.config.retention_ms) == (5, 1)
    bench.publish(
        configs={(BROKER, "1"): {"log.retention.ms": "6"}, (BROKER, "2"): {"log.retention.ms": "7"}}
    )
    assert first.log.config.retention_ms == 6
    bench.publish(configs={(TOPIC, "first"): {"retention.ms": "8"}})
    assert (first.log.config.retention_ms, second.log.config.retention_ms) == (8, 1)


def test_logs_found_at_start_are_taken_up(bench: ReplicaBench) -> None:
    """With their data; the high watermark of a replica that is alone is the log's end."""
    for name in ("one", "two"):
        write(bench, bench.create_topic(name), name.encode())
    for clean in (True, False):
        bench.restart(clean=clean)
        assert [bench.partition(name).high_watermark for name in ("one", "two")] == [1, 1]
        assert bench.replicas.unclaimed() == {}


def test_a_folder_with_another_topics_id_is_set_aside(bench: ReplicaBench) -> None:
    """The topic was deleted and made again while this broker was down: the old data is kept, not served."""
    write(bench, bench.create_topic("t"), b"old")
    known = bench.image.topics["t"]
    bench.image = type(bench.image)("cluster", offset=5)
    again = bench.topic("t")
    assert again.topic_id != known.topic_id
    bench.image = type(bench.image)("cluster", 5, topics={"t": again}, topics_by_id={again.topic_id: again})
    bench.restart()
    assert bench.partition("t").log_end_offset == 0
    assert any(name.endswith("-stray") for name in folders(bench))


def test_a_folder_nobody_knows_is_not_served_and_not_deleted(bench: ReplicaBench) -> None:
    """An image without the topic (restored from an older backup, say) must not cost its data."""
    write(bench, bench.create_topic("t"))
    bench.image = type(bench.image)("cluster")
    bench.restart()
    assert len(bench.replicas) == 0
    assert "t-0" in folders(bench)


def test_a_log_that_cannot_be_made_is_tried_again(
    bench: ReplicaBench, caplog: pytest.LogCaptureFixture
) -> None:
    """KAFKA_STORAGE_ERROR until the disk has space, then with the next image; said once in the log."""
    bench = ReplicaBench(SimDisk(capacity=4_000))
    bench.disk.failing["make_folder"] = errno.ENOSPC
    bench.disk.failing["mkdir"] = errno.ENOSPC
    bench.publish(bench.topic("t"))
    assert bench.replicas.partition("t", 0) is None
    assert bench.replicas.missing_error("t", 0) is ErrorCode.KAFKA_STORAGE_ERROR
    bench.publish(bench.topic("other", replicas=(2,), leader=2))
    assert caplog.text.count("log.unusable") == 1
    bench.disk.failing.clear()
    bench.publish(bench.topic("another", replicas=(2,), leader=2))
    assert write(bench, bench.partition("t")).error is ErrorCode.NONE
    assert bench.replicas.failures == {}


def test_listeners_hear_of_leaderships_of_their_topic(bench: ReplicaBench) -> None:
    """Begun, ended by another leader, begun again, ended by deletion."""
    heard: list[str] = []
    bench.replicas.listen(
        LeadershipListener(
            "t",
            lambda one: heard.append(f"elected {one.index} in {one.leader_epoch}"),
            lambda one: heard.append(f"resigned {one.index}"),
        )
    )
    bench.publish(bench.topic("t", replicas=(1, 2)), bench.topic("another"))
    bench.publish(bench.topic("t", replicas=(1, 2), epoch=1))
    bench.publish(bench.topic("t", replicas=(1, 2), leader=2, epoch=2))
    bench.publish(bench.topic("t", replicas=(1, 2), epoch=3))
    bench.publish(without=["t", "another"])
    assert heard == ["elected 0 in 0", "resigned 0", "elected 0 in 3", "resigned 0"]


# --- the coordinators' writes -----------------------------------------------------------------------------


def test_an_internal_append_is_told_when_it_is_durable(bench: ReplicaBench) -> None:
    """As acks=all."""
    bench.create_topic("t")
    later = bench.replicas.append_internal("t", 0, make_batch((b"v",)))
    assert not later.done
    bench.committer.flush()
    assert (later.value.error, later.value.base_offset) == (ErrorCode.NONE, 0)


def test_an_internal_append_without_the_wish_for_flushes_is_told_at_once() -> None:
    """`log.flush.acks.all=false`, as Kafka."""
    bench = ReplicaBench(flush_acks_all=False)
    bench.create_topic("t")
    assert bench.replicas.append_internal("t", 0, make_batch((b"v",))).value.base_offset == 0


def test_an_internal_append_may_be_a_control_batch_but_not_any_batch(bench: ReplicaBench) -> None:
    """Validated as a client's, but for what only coordinators write."""
    from moldau_broker.testing.logs import make_marker

    bench.create_topic("t")
    marker = bench.replicas.append_internal("t", 0, make_marker(7, 0, commit=True))
    spoilt = make_batch((b"v",))
    spoilt[-1] ^= 1
    refused = bench.replicas.append_internal("t", 0, spoilt)
    bench.committer.flush()
    assert marker.value.error is ErrorCode.NONE
    assert refused.value.error is ErrorCode.CORRUPT_MESSAGE


def test_an_internal_append_to_what_is_not_ours_is_refused(bench: ReplicaBench) -> None:
    """NOT_LEADER_OR_FOLLOWER, so that the coordinator resigns."""
    bench.publish(bench.topic("t", replicas=(1, 2), leader=2))
    for topic in ("t", "nowhere"):
        later = bench.replicas.append_internal(topic, 0, make_batch((b"v",)))
        assert later.value.error is ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_an_internal_append_hears_of_a_failed_flush(bench: ReplicaBench) -> None:
    """KAFKA_STORAGE_ERROR instead of an offset that may not survive."""
    bench.create_topic("t")
    later = bench.replicas.append_internal("t", 0, make_batch((b"v",)))
    bench.disk.failing["datasync"] = errno.EIO
    bench.committer.flush()
    assert (later.value.error, later.value.base_offset) == (ErrorCode.KAFKA_STORAGE_ERROR, -1)


# --- damage -------------------------------------------------------------------------------------------------


def damaged(bench: ReplicaBench) -> None:
    """A bit flips in what the only segment of t-0 has on disk, below its recovery point."""
    bench.committer.flush_all()
    bench.log_dir.checkpoint(bench.log_dir.collect())
    bench.disk.content("t-0/00000000000000000000.log")[70] ^= 0x40


def with_two_replicas(bench: ReplicaBench) -> Partition:
    bench.publish(bench.topic("t", replicas=(1, 2), isr=(1,), epoch=1))
    partition = bench.partition("t")
    for _ in range(3):
        write(bench, partition)
    return partition


def test_a_damaged_replica_begins_anew_once_nobody_counts_on_it(bench: ReplicaBench) -> None:
    """Out of the ISR, with a leader elsewhere: the folder is set aside for people to look at, and fetched again."""
    with_two_replicas(bench)
    damaged(bench)
    bench.restart(clean=False)
    assert bench.replicas.partition("t", 0) is None
    assert bench.replicas.missing_error("t", 0) is ErrorCode.KAFKA_STORAGE_ERROR
    bench.publish(bench.topic("t", replicas=(1, 2), isr=(2,), leader=2, epoch=2))
    assert bench.partition("t").log_end_offset == 0
    assert bench.replicas.failures == {}
    assert any(name.startswith("t-0.") and name.endswith("-stray") for name in folders(bench))


@pytest.mark.parametrize(
    ("isr", "leader"), [((1, 2), 2), ((1,), 1), ((1,), -1)], ids=["in the ISR", "leader", "nobody leads"]
)
def test_a_damaged_replica_is_kept_while_somebody_may_need_it(
    bench: ReplicaBench, isr: tuple[int, ...], leader: int
) -> None:
    """It may be the only copy of something: it stays where it is, and serves nobody."""
    with_two_replicas(bench)
    damaged(bench)
    bench.restart(clean=False)
    bench.publish(bench.topic("t", replicas=(1, 2), isr=isr, leader=leader, epoch=2))
    assert bench.replicas.partition("t", 0) is None
    assert not any(name.endswith("-stray") for name in folders(bench))


def test_a_replica_found_damaged_while_it_serves_begins_anew(bench: ReplicaBench) -> None:
    """A reader met the damage: nothing of it is served, and when others lead without us it is fetched again."""
    partition = with_two_replicas(bench)
    bench.committer.flush_all()
    partition.log.fail(CorruptLog("t-0: the checksum does not match"))
    read = partition.read(0, 1 << 20, committed=False, min_one=True, wait=True)
    assert read is not None
    assert read.error is ErrorCode.KAFKA_STORAGE_ERROR
    assert partition.offline_reason is not None
    bench.publish(bench.topic("t", replicas=(1, 2), isr=(2,), leader=2, epoch=2))
    anew = bench.partition("t")
    assert anew is not partition
    assert anew.log_end_offset == 0
    assert anew.offline_reason is None


def lost_of(controller: ManualController) -> list[tuple[Uuid, int]]:
    """What the last question gave up."""
    request, _ = controller.lost[-1]
    (directory,) = request.directories
    assert directory.id == LOST_DIRECTORY
    assert (request.broker_id, request.broker_epoch) == (1, 101)
    return [
        (Uuid(topic.topic_id), one.partition_index) for topic in directory.topics for one in topic.partitions
    ]


def on_broker(controller: ManualController) -> ReplicaBench:
    bench = ReplicaBench(controller=controller)
    bench.follow(bench.image._replace(brokers={1: BrokerImage(1, 101, NULL_UUID, False, False, None, {})}))
    return bench


@pytest.mark.parametrize("to_end", [False, True], ids=["consumer", "follower"])
def test_a_leader_found_damaged_while_it_serves_gives_leadership_up(to_end: bool) -> None:
    """A bit flips, a reader would have got it: nothing is served, the controller is told, the note outlives us."""
    controller = ManualController()
    bench = on_broker(controller)
    partition = with_two_replicas(bench)
    damaged(bench)
    partition.high_watermark = partition.log_end_offset
    read = partition.read(1, 1 << 20, committed=False, min_one=True, wait=True, to_end=to_end)
    assert read is not None
    assert (read.error, read.records) == (ErrorCode.KAFKA_STORAGE_ERROR, None)
    bench.replicas.tick()
    assert lost_of(controller) == [(partition.topic_id, 0)]
    assert bench.disk.content("t-0/.moldau-quarantine")
    bench.publish(bench.topic("t", replicas=(1, 2), isr=(2,), leader=2, epoch=2))
    assert bench.partition("t").log_end_offset == 0
    bench.clock.advance(10_000)
    bench.replicas.tick()
    assert len(controller.lost) == 1


def test_what_is_lost_is_told_until_nobody_counts_on_it() -> None:
    """One question at a time, once a second; at once again when something new is lost."""
    controller = ManualController()
    bench = on_broker(controller)
    bench.publish(bench.topic("t", 2, replicas=(1, 2), isr=(1,), epoch=1))
    bench.partition("t").go_offline("the disk is broken")
    bench.replicas.tick()
    bench.replicas.tick()
    assert len(controller.lost) == 1
    controller.lost[-1][1](None)
    bench.replicas.tick()
    assert len(controller.lost) == 1
    bench.partition("t", 1).go_offline("the disk is broken")
    bench.replicas.tick()
    assert [index for _, index in lost_of(controller)] == [0, 1]
    controller.lost[-1][1](None)
    bench.clock.advance(999)
    bench.replicas.tick()
    assert len(controller.lost) == 2
    bench.clock.advance(1)
    bench.replicas.tick()
    assert len(controller.lost) == 3


def test_a_replica_that_could_not_be_opened_is_given_up_too() -> None:
    """Damage found at start, while the cluster still counts on it."""
    controller = ManualController()
    bench = on_broker(controller)
    with_two_replicas(bench)
    damaged(bench)
    bench.restart(clean=False)
    bench.replicas.tick()
    assert lost_of(controller) == [(bench.image.topics["t"].topic_id, 0)]


def test_the_only_replica_is_served_unchecked(bench: ReplicaBench) -> None:
    """Nobody else could give the records around the damage; clients check, as with Kafka."""
    partition = bench.create_topic("t")
    write(bench, partition)
    write(bench, partition)
    damaged(bench)
    read = partition.read(1, 1 << 20, committed=False, min_one=True, wait=True)
    assert read is not None
    assert read.error is ErrorCode.NONE
    assert partition.offline_reason is None


# --- many at once -------------------------------------------------------------------------------------------


class SlowClock(ManualClock):
    """Every look costs a millisecond."""

    def monotonic_ms(self) -> int:
        self.advance(1)
        return super().monotonic_ms()


def test_many_new_replicas_are_made_in_several_turns() -> None:
    """By the newest image: what was deleted meanwhile is not made, what moved away neither, and others are told."""
    bench = ReplicaBench()
    turns: list[Callable[[], None]] = []
    replicas = ReplicaManager(1, bench.log_dir, bench.committer, SlowClock(), {}, later=turns.append)
    bench.replicas = replicas
    told: list[int] = []
    replicas.on_hosted = lambda: told.append(len(replicas))
    bench.publish(bench.topic("t", 40), bench.topic("gone", 1), bench.topic("moved", 1))
    first = len(replicas)
    assert 0 < first < 40
    assert len(turns) == 1
    assert replicas.missing_error("t", 39) is ErrorCode.NOT_LEADER_OR_FOLLOWER
    bench.publish(bench.topic("moved", replicas=(2,), leader=2), without=["gone"])
    while turns:
        turns.pop()()
    assert len(replicas) == 40
    assert told[-1] == 40
    assert all(partition.is_ready for partition in replicas.partitions())
    assert not {"gone-0", "moved-0"} & folders(bench)


# --- what is left of topics that are gone -------------------------------------------------------------------


def started_again(bench: ReplicaBench, *gone: str, epoch: int = 102, clean: bool = True) -> None:
    """The broker starts and registers with that epoch; these topics were deleted meanwhile."""
    topics = {name: topic for name, topic in bench.image.topics.items() if name not in gone}
    bench.image = bench.image._replace(
        topics=topics,
        topics_by_id={topic.topic_id: topic for topic in topics.values()},
        brokers={1: BrokerImage(1, epoch, NULL_UUID, False, False, None, {})},
    )
    bench.restart(clean=clean)


def topics_on_disk(bench: ReplicaBench, suffix: str = "") -> set[str]:
    return {name.partition("-")[0] for name in folders(bench) if name.endswith(suffix)}


@pytest.fixture
def away() -> ReplicaBench:
    """A broker with the topics kept, moved and gone."""
    bench = ReplicaBench()
    for name in ("kept", "moved", "gone"):
        write(bench, bench.create_topic(name), name.encode())
    started_again(bench, epoch=101)
    return bench


def test_what_a_topic_left_that_was_deleted_meanwhile_goes_after_a_delay(away: ReplicaBench) -> None:
    """Set aside with the first image, which has all that was decided before; its space is free a minute later."""
    away.image = away.image._replace(
        topics={**away.image.topics, "moved": away.topic("moved", replicas=(2,), leader=2)}
    )
    started_again(away, "gone")
    assert away.partition("kept").log_end_offset == 1
    assert topics_on_disk(away, "-stray") == {"gone", "moved"}
    assert away.replicas.unclaimed() == {}
    away.log_dir.purge(away.clock.wall_ms() + 59_999)
    assert topics_on_disk(away) == {"kept", "gone", "moved"}
    away.log_dir.purge(away.clock.wall_ms() + 60_000)
    assert folders(away) == {"kept-0"}


def test_what_was_set_aside_in_an_earlier_life_goes_once_its_topic_is_gone(away: ReplicaBench) -> None:
    """A restart within the delay forgets nothing."""
    started_again(away, "gone", epoch=102)
    started_again(away, epoch=103, clean=False)
    assert topics_on_disk(away, "-stray") == {"gone"}
    away.log_dir.purge(away.clock.wall_ms() + 60_000)
    assert topics_on_disk(away) == {"kept", "moved"}


def test_older_metadata_costs_nobody_their_data(away: ReplicaBench) -> None:
    """Restored from a backup, it does not know what was created since: our epoch in it is not newer than the last."""
    for epoch in (100, 101):
        started_again(away, "gone", "moved", epoch=epoch)
        away.log_dir.purge(away.clock.wall_ms() + 10**9)
        assert folders(away) == {"kept-0", "moved-0", "gone-0"}


def test_metadata_that_knows_nothing_here_costs_nobody_their_data(away: ReplicaBench) -> None:
    """Begun anew, perhaps; also where it has gone far since."""
    started_again(away, "kept", "gone", "moved", epoch=10_000)
    away.log_dir.purge(away.clock.wall_ms() + 10**9)
    assert folders(away) == {"kept-0", "moved-0", "gone-0"}
    assert len(away.replicas) == 0


def test_what_cannot_be_told_to_be_gone_is_kept(away: ReplicaBench) -> None:
    """What does not say whose it is, and damage that people should look at."""
    away.disk.unlink("gone-0/partition.metadata")
    with_two_replicas(away)
    damaged(away)
    started_again(away, epoch=102, clean=False)
    away.publish(away.topic("t", replicas=(1, 2), isr=(2,), leader=2, epoch=2))
    started_again(away, "gone", "t", epoch=103)
    started_again(away, epoch=104)
    away.log_dir.purge(away.clock.wall_ms() + 10**9)
    assert topics_on_disk(away) == {"kept", "moved", "gone", "t"}
    assert topics_on_disk(away, "-stray") == {"gone", "t"}


def test_the_quorums_own_log_is_no_stray(away: ReplicaBench) -> None:
    """No image names it, and it lies in the same directory, open."""
    quorum = ("__cluster_metadata", 0)
    log = away.log_dir.open_log(*quorum, TopicConfig(), topic_id=Uuid(bytes(15) + b"\x01"))
    replicas = ReplicaManager(1, away.log_dir, away.committer, away.clock, {})
    replicas.adopt({quorum: log, **away.log_dir.logs})
    image = away.image._replace(brokers={1: BrokerImage(1, 102, NULL_UUID, False, False, None, {})})
    replicas.apply(MetadataDelta(MetadataImage("cluster"), image), image)
    assert log.failure is None
    assert "__cluster_metadata-0" in folders(away)
