"""The controller at work: starts, commits, failures, snapshots."""

from __future__ import annotations

import asyncio
import errno
from random import Random

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.errors import ControllerUnavailable, MetadataError
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.runtime import ControllerRuntime
from moldau_broker.metadata.snapshotter import RECORDS_MAX, SnapshotPolicy
from moldau_broker.raft.errors import UnsupportedQuorum
from moldau_broker.raft.store import FOLDER
from moldau_broker.testing.controller import ControllerBench
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from moldau_broker.wire.messages.metadata_records import AccessControlEntryRecord, FeatureLevelRecord
from moldau_broker.wire.metadata_framing import encode_record


async def create(controller: ControllerRuntime, name: str, partitions: int = 1) -> int:
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1)
    response = await controller.create_topics(CreateTopicsRequest(topics=[topic]))
    return response.topics[0].error_code


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def two_snapshots(bench: ControllerBench) -> None:
    """Until there are two: another thread writes them."""
    async with asyncio.timeout(30):
        while len(snapshots(bench)) != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# -- starting ---------------------------------------------------------------------------------------------


async def test_runtime_first_start_makes_a_cluster(bench: ControllerBench) -> None:
    """Features, this broker, nothing else; one image is published, whole."""
    heard: list[tuple[int, int]] = []
    controller = bench.open()
    bench.publisher.subscribe(lambda delta, image: heard.append((delta.before.offset, image.offset)))
    image = await controller.start()
    assert image is bench.publisher.image
    assert image.features == {
        "metadata.version": 30,
        "kraft.version": 1,
        "eligible.leader.replicas.version": 1,
    }
    assert image.topics == {}
    broker = image.brokers[1]
    assert broker.active
    assert broker.directories == (bench.log_dir.directory_id,) if bench.log_dir else False
    assert controller.registration is not None
    assert broker.epoch == controller.registration.epoch == 5
    assert heard == [(-1, 6)]
    assert controller.leader_epoch == 1
    assert controller.high_watermark == 7
    await controller.close()


@pytest.mark.parametrize("clean", [True, False])
async def test_runtime_restart_brings_everything_back(bench: ControllerBench, *, clean: bool) -> None:
    """Topics, settings and producer ids; a new epoch and a new incarnation."""
    async with bench.running(clean=clean) as controller:
        assert await create(controller, "t", 3) == 0
        before = bench.publisher.image
        first = controller.registration
    async with bench.running() as controller:
        after = bench.publisher.image
        assert after.topics["t"].topic_id == before.topics["t"].topic_id
        epochs = {partition.leader_epoch for partition in after.topics["t"].partitions}
        assert epochs == ({0} if clean else {1})
        assert controller.registration is not None
        assert first is not None
        assert controller.registration.clean is clean
        assert controller.registration.epoch > first.epoch
        assert after.brokers[1].incarnation_id != before.brokers[1].incarnation_id
        assert controller.leader_epoch == 2


async def test_runtime_moved_controller_address_is_written_once(bench: ControllerBench) -> None:
    """A new port is a new VotersRecord; the folder opens with it, and with the next port too."""
    async with bench.running():
        pass
    for port in (19093, 19093, 29093):
        moved = ControllerBench(bench.disk, controller_port=port)
        moved.cluster_id = bench.cluster_id
        async with moved.running() as controller:
            assert controller._driver is not None
            (voter,) = controller._driver.node.voters.voters
            assert voter.endpoints[0].port == port


async def test_runtime_refuses_a_folder_of_a_newer_version(bench: ControllerBench) -> None:
    """A finalized level beyond ours stops the start, in words, before anything is published."""
    async with bench.running() as controller:

        def upgrade(_: View) -> Result[None]:
            return Result(None, (FeatureLevelRecord(name="metadata.version", feature_level=99),))

        await controller.write(upgrade)
    again = bench.open()
    with pytest.raises(MetadataError, match=r"metadata\.version at level 99"):
        await again.start()
    assert bench.publisher.image.offset == -1
    await again.close()


async def test_runtime_refuses_another_nodes_metadata(bench: ControllerBench) -> None:
    """A folder whose meta.properties was replaced has a voter that is not us."""
    async with bench.running():
        pass
    stranger = ControllerBench(seed=1)
    async with stranger.running():
        pass
    meta = bytes(stranger.disk.content("meta.properties"))
    bench.disk.replace("meta.properties", meta)
    bench.cluster_id = stranger.cluster_id
    controller = bench.open()
    with pytest.raises(UnsupportedQuorum, match="only voter is node 1"):
        await controller.start()
    await controller.close()


async def test_runtime_refuses_records_it_does_not_know(bench: ControllerBench) -> None:
    """A log with another program's records is not read in part: the text names the record."""
    async with bench.running() as controller:
        assert controller._driver is not None
        bench.committer.held = True
        controller._driver.propose([encode_record(AccessControlEntryRecord(), 0)])
        waiting = asyncio.ensure_future(create(controller, "t"))
        await turns()
        bench.committer.release()
        # The running controller meets it as well: it cannot go on, and says so to those who wait.
        assert await waiting == ErrorCode.UNKNOWN_SERVER_ERROR
        assert await create(controller, "u") == ErrorCode.NOT_CONTROLLER
    again = bench.open()
    with pytest.raises(MetadataError, match="AccessControlEntryRecord"):
        await again.start()
    await again.close()


# -- committing -------------------------------------------------------------------------------------------


async def test_runtime_answers_after_the_commit_and_not_before(bench: ControllerBench) -> None:
    """While the flush is held back nobody sees the topic; when the answer leaves everybody does."""
    async with bench.running() as controller:
        seen: list[bool] = []

        def look(_: MetadataDelta, image: MetadataImage) -> None:
            seen.append("t" in image.topics)

        bench.publisher.subscribe(look)
        bench.committer.held = True
        creating = asyncio.ensure_future(create(controller, "t"))
        await turns()
        assert not creating.done()
        assert "t" not in bench.publisher.image.topics
        bench.committer.release()
        assert "t" in bench.publisher.image.topics
        assert seen == [False, True]
        assert await creating == 0


async def test_runtime_decides_on_what_is_written_but_not_committed(bench: ControllerBench) -> None:
    """The second of two equal requests sees the first, and its refusal waits for the same commit."""
    async with bench.running() as controller:
        bench.committer.held = True
        first = asyncio.ensure_future(create(controller, "t"))
        second = asyncio.ensure_future(create(controller, "t"))
        await turns()
        assert not first.done()
        assert not second.done()
        bench.committer.release()
        assert [await first, await second] == [0, ErrorCode.TOPIC_ALREADY_EXISTS]


async def test_runtime_answers_refusals_at_once_when_nothing_is_pending(bench: ControllerBench) -> None:
    """No record, nothing uncommitted: no flush is waited for."""
    async with bench.running() as controller:
        rounds = bench.committer.rounds
        assert await create(controller, "x/y") == ErrorCode.INVALID_TOPIC_EXCEPTION
        assert bench.committer.rounds == rounds


async def test_runtime_operations_issued_together_share_a_flush(bench: ControllerBench) -> None:
    """A hundred creations, each its own atomic batch, one fdatasync."""
    async with bench.running() as controller:
        rounds = bench.committer.rounds
        results = await asyncio.gather(*(create(controller, f"t{i}") for i in range(100)))
        assert set(results) == {0}
        assert bench.committer.rounds == rounds + 1


async def test_runtime_without_start_takes_nothing(bench: ControllerBench) -> None:
    """NOT_CONTROLLER for each topic of the request, so that clients try again."""
    controller = bench.open()
    assert await create(controller, "t") == ErrorCode.NOT_CONTROLLER
    assert not controller.is_active
    await controller.close()


# -- failing ----------------------------------------------------------------------------------------------


async def test_runtime_full_disk_is_a_storage_error_and_heals(bench: ControllerBench) -> None:
    """Nothing of the refused operation remains; with space the next one works."""
    async with bench.running() as controller:
        bench.disk.capacity = bench.disk.used() + 20
        assert await create(controller, "t") == ErrorCode.KAFKA_STORAGE_ERROR
        assert bench.publisher.image.topics == {}
        bench.disk.capacity = None
        assert await create(controller, "t") == 0
    async with bench.running():
        assert set(bench.publisher.image.topics) == {"t"}


async def test_runtime_failed_fsync_ends_its_controllership(bench: ControllerBench) -> None:
    """Who waited is told KAFKA_STORAGE_ERROR, who comes later NOT_CONTROLLER; the image stays at what was committed."""
    async with bench.running(clean=False) as controller:
        bench.committer.held = True
        creating = [asyncio.ensure_future(create(controller, f"t{i}")) for i in range(3)]
        await turns()
        bench.disk.failing["datasync"] = errno.EIO
        bench.committer.release()
        assert [await one for one in creating] == [ErrorCode.KAFKA_STORAGE_ERROR] * 3
        assert bench.publisher.image.topics == {}
        assert await create(controller, "later") == ErrorCode.NOT_CONTROLLER
        bench.disk.failing.clear()


async def test_runtime_close_tells_those_who_wait(bench: ControllerBench) -> None:
    """No request hangs because the broker stops."""
    async with bench.running(clean=False) as controller:
        bench.committer.held = True
        creating = asyncio.ensure_future(create(controller, "t"))
        await turns()
    assert await creating == ErrorCode.NOT_CONTROLLER


@pytest.mark.parametrize("seed", range(8))
async def test_runtime_power_cut_keeps_what_was_answered(bench: ControllerBench, seed: int) -> None:
    """Answered operations are there after the cut; the one in flight is there whole or not at all."""
    async with bench.running(clean=False) as controller:
        for i in range(3):
            assert await create(controller, f"t{i}", 4) == 0
        bench.committer.held = True
        in_flight = asyncio.ensure_future(create(controller, "maybe", 4))
        await turns()
        bench.disk.crash(Random(seed))
    await in_flight
    async with bench.running() as controller:
        topics = bench.publisher.image.topics
        assert {"t0", "t1", "t2"} <= set(topics) <= {"t0", "t1", "t2", "maybe"}
        assert {len(topic.partitions) for topic in topics.values()} == {4}


# -- producer ids -----------------------------------------------------------------------------------------


async def test_runtime_producer_ids_are_never_repeated(bench: ControllerBench) -> None:
    """Across blocks, waiters, clean stops and power cuts."""
    seen: list[int] = []
    for seed in range(3):
        async with bench.running(clean=False) as controller:
            waiting = await asyncio.gather(*(controller.producer_ids.new() for _ in range(1500)))
            seen += [taken for taken in waiting if not isinstance(taken, ErrorCode)]
        bench.disk.crash(Random(seed))
    assert len(seen) == 4500
    assert len(set(seen)) == 4500


async def test_runtime_producer_ids_wait_for_the_disk(bench: ControllerBench) -> None:
    """A block whose record is not durable hands nothing out; a failing disk is an error, and waiters share it."""
    async with bench.running(clean=False) as controller:
        assert controller.producer_ids.take() is None
        bench.committer.held = True
        waiting = [asyncio.ensure_future(controller.producer_ids.new()) for _ in range(3)]
        await turns()
        assert not any(one.done() for one in waiting)
        bench.disk.failing["datasync"] = errno.EIO
        bench.committer.release()
        assert [await one for one in waiting] == [ErrorCode.KAFKA_STORAGE_ERROR] * 3
        bench.disk.failing.clear()


# -- snapshots --------------------------------------------------------------------------------------------


def snapshots(bench: ControllerBench) -> list[str]:
    return sorted(entry.name for entry in bench.disk.entries(FOLDER) if entry.name.endswith(".checkpoint"))


async def test_runtime_snapshot_stands_for_the_log_before_it(bench: ControllerBench) -> None:
    """Snapshot and tail give the state that the whole log gave."""
    async with bench.running() as controller:
        await create(controller, "before", 3)
        await controller.take_snapshot()
        await create(controller, "after", 2)
        await controller.delete_topics(DeleteTopicsRequest(topics=[DeleteTopicState(name="before")]))
        expected = bench.publisher.image
    assert len(snapshots(bench)) == 2
    async with bench.running():
        image = bench.publisher.image
        assert image.topics == expected.topics
        assert image.features == expected.features


async def test_runtime_snapshots_when_enough_bytes_were_written(bench: ControllerBench) -> None:
    """And keeps two, however many were taken; the log is cut behind them."""
    bench.snapshots = SnapshotPolicy(bytes_between=500)
    async with bench.running() as controller:
        for i in range(40):
            await create(controller, f"t{i}", 2)
        await two_snapshots(bench)
        await controller.take_snapshot()
        assert len(snapshots(bench)) == 2
        assert bench.log_dir is not None
        assert bench.log_dir.logs["__cluster_metadata", 0].log_start_offset > 0
    async with bench.running():
        assert len(bench.publisher.image.topics) == 40


async def test_runtime_snapshots_bound_the_records_of_a_start(bench: ControllerBench) -> None:
    """Many small records count, too: a start never replays more than the bound."""
    async with bench.running() as controller:

        def many(_: View) -> Result[None]:
            return Result(
                None, (FeatureLevelRecord(name="kraft.version", feature_level=1),) * (RECORDS_MAX // 4)
            )

        for _ in range(5):
            await controller.write(many)
        await two_snapshots(bench)


async def test_runtime_snapshot_by_time(bench: ControllerBench) -> None:
    """New records do not wait for ever for a snapshot."""
    bench.snapshots = SnapshotPolicy(interval_ms=20)
    async with bench.running() as controller:
        await create(controller, "t")
        await two_snapshots(bench)


async def test_runtime_failed_snapshot_is_only_logged(
    bench: ControllerBench, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is still whole: no operation notices."""
    async with bench.running() as controller:
        bench.disk.failing["rename"] = errno.EIO
        await controller.take_snapshot()
        bench.disk.failing.clear()
        assert "snapshot.failed" in caplog.text
        assert await create(controller, "t") == 0


# -- topics made in the background ------------------------------------------------------------------------


async def test_runtime_creates_used_topics_in_the_background_once(bench: ControllerBench) -> None:
    """A storm of metadata requests for one new topic is one write."""
    async with bench.running() as controller:
        rounds = bench.committer.rounds
        for _ in range(50):
            controller.create_soon(["t", "u"])
        for _ in range(100):
            if "u" in bench.publisher.image.topics:
                break
            await asyncio.sleep(0)
        assert set(bench.publisher.image.topics) == {"t", "u"}
        assert bench.committer.rounds == rounds + 1


async def test_runtime_background_refusals_are_logged(
    bench: ControllerBench, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that cannot be, or a full cluster, leaves one line, not a traceback, and not one per retry."""
    async with bench.running() as controller:
        for _ in range(5):
            controller.create_soon(["x/y"])
            await turns(20)
        assert caplog.text.count("topic.auto_create_refused") == 1


async def test_runtime_unavailable_names_the_error(bench: ControllerBench) -> None:
    """Callers of `write` get the protocol error to answer."""
    controller = bench.open()
    with pytest.raises(ControllerUnavailable) as raised:
        await controller.write(lambda _: Result(None))
    assert raised.value.error is ErrorCode.NOT_CONTROLLER
    await controller.close()
