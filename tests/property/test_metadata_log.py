"""Controller state = replay of its log = replay of snapshot + tail, whatever was done and however it was stopped.

Reference: the invariant of the same words in the list of cluster invariants; a write is records + a reply,
and only replay changes state.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.machine import MetadataMachine
from moldau_broker.metadata.records import decode, encode
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.metadata.runtime import ControllerRuntime
from moldau_broker.metadata.snapshot_records import snapshot_records
from moldau_broker.raft.store import RaftStore
from moldau_broker.testing.controller import ControllerBench
from moldau_broker.wire.messages import incremental_alter_configs as configs
from moldau_broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from moldau_broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from moldau_broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState

NAMES = [f"t{i}" for i in range(4)]
names = st.sampled_from(NAMES)

operations = st.one_of(
    st.tuples(st.just("create"), names, st.integers(1, 5), st.booleans()),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("grow"), names, st.integers(1, 8)),
    st.tuples(
        st.just("set"), names, st.sampled_from(["retention.ms", "segment.bytes"]), st.integers(2**20, 2**21)
    ),
    st.tuples(st.just("unset"), names, st.sampled_from(["retention.ms", "segment.bytes"])),
    st.tuples(st.just("broker"), st.sampled_from(["", "1"]), st.integers(1000, 2000)),
    st.tuples(st.just("ids"), st.integers(1, 1500)),
    st.tuples(st.just("snapshot")),
)
lives = st.lists(
    st.tuples(
        st.lists(operations, max_size=12), st.sampled_from(["stop", "kill", "power cut"]), st.integers(0, 999)
    ),
    min_size=1,
    max_size=4,
)


@dataclass
class Model:
    """What clients were told."""

    topics: dict[str, int] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)


async def perform(controller: ControllerRuntime, model: Model, operation: tuple) -> None:
    """Do it, and note in the model what the answer says was done."""
    match operation:
        case ("create", name, count, with_setting):
            some = [CreatableTopicConfig(name="retention.ms", value="7")] if with_setting else []
            topic = CreatableTopic(name=name, num_partitions=count, replication_factor=1, configs=some)
            (result,) = (await controller.create_topics(CreateTopicsRequest(topics=[topic]))).topics
            assert (result.error_code == 0) == (name not in model.topics)
            if result.error_code == 0:
                model.topics[name] = count
                model.settings[name] = {"retention.ms": "7"} if with_setting else {}
        case ("delete", name):
            request = DeleteTopicsRequest(topics=[DeleteTopicState(name=name)])
            (gone,) = (await controller.delete_topics(request)).responses
            assert (gone.error_code == 0) == (name in model.topics)
            model.topics.pop(name, None)
            model.settings.pop(name, None)
        case ("grow", name, count):
            request = CreatePartitionsRequest(
                topics=[CreatePartitionsTopic(name=name, count=count, assignments=None)]
            )
            (grown,) = (await controller.create_partitions(request)).results
            assert (grown.error_code == 0) == (count > model.topics.get(name, 99))
            if grown.error_code == 0:
                model.topics[name] = count
        case ("set", name, key, value):
            if await change(controller, 2, name, key, 0, str(value)) == 0:
                model.settings[name][key] = str(value)
        case ("unset", name, key):
            if await change(controller, 2, name, key, 1, None) == 0:
                model.settings[name].pop(key, None)
        case ("broker", name, value):
            assert await change(controller, 4, name, "log.retention.ms", 0, str(value)) == 0
        case ("ids", count):
            for _ in range(count):
                taken = controller.producer_ids.take() or await controller.producer_ids.new()
                assert not isinstance(taken, ErrorCode)
                assert taken not in model.ids
                model.ids.add(taken)
        case ("snapshot",):
            await controller.take_snapshot()


async def change(
    controller: ControllerRuntime, kind: int, name: str, key: str, how: int, value: str | None
) -> int:
    one = configs.AlterableConfig(name=key, config_operation=how, value=value)
    resource = configs.AlterConfigsResource(resource_type=kind, resource_name=name, configs=[one])
    request = configs.IncrementalAlterConfigsRequest(resources=[resource])
    (result,) = (await controller.incremental_alter_configs(request)).responses
    return result.error_code


def replayed_from_disk(bench: ControllerBench, *, use_snapshot: bool) -> MetadataImage | None:
    """The committed state as the files alone tell it; None if the log's beginning is cut off."""
    assert bench.log_dir is not None
    log = bench.log_dir.logs["__cluster_metadata", 0]
    store = RaftStore(bench.disk, log)
    machine = MetadataMachine(bench.cluster_id, store.read)
    if use_snapshot and store.snapshot is not None:
        machine.load(store.snapshot.id, store.snapshot.content)
    elif log.log_start_offset > 0:
        return None
    machine.commit(log.durable_offset)
    return machine.committed


def check(bench: ControllerBench, model: Model) -> None:
    image = bench.publisher.image
    for use_snapshot in (True, False):
        replayed = replayed_from_disk(bench, use_snapshot=use_snapshot)
        assert replayed is None or replayed == image
    assert {name: len(topic.partitions) for name, topic in image.topics.items()} == model.topics
    assert {name: dict(image.config(2, name)) for name in model.topics} == model.settings
    assert image.producer_ids > max(model.ids, default=-1)
    assert image.topics_by_id == {topic.topic_id: topic for topic in image.topics.values()}


async def live(histories: list[tuple[list[tuple], str, int]]) -> None:
    bench, model = ControllerBench(), Model()
    for history, end, seed in histories:
        async with bench.running(clean=end == "stop") as controller:
            check(bench, model)
            for operation in history:
                await perform(controller, model, operation)
                check(bench, model)
        if end == "power cut":
            bench.disk.crash(Random(seed))
    async with bench.running():
        check(bench, model)


@given(lives)
def test_metadata_state_is_replay_of_log_is_replay_of_snapshot_and_tail(
    histories: list[tuple[list[tuple], str, int]],
) -> None:
    """After every operation and every kind of restart; and nothing that was answered is ever missing."""
    asyncio.run(live(histories))


@given(lives)
def test_metadata_image_survives_its_snapshot_records(histories: list[tuple[list[tuple], str, int]]) -> None:
    """An image written as records, encoded and decoded, is the same image."""

    async def last_image() -> MetadataImage:
        bench, model = ControllerBench(), Model()
        async with bench.running() as controller:
            for history, _, _ in histories:
                for operation in history:
                    await perform(controller, model, operation)
            return bench.publisher.image

    image = asyncio.run(last_image())
    replay = ImageReplay(MetadataImage(image.cluster_id))
    for record in snapshot_records(image):
        replay.replay(decode(encode(record)))
    replay.set_kraft_version(1)
    assert replay.image(image.offset, image.epoch) == image
