"""CreateTopics, CreatePartitions and DeleteTopics together, every version through the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID
from moldau_broker.metadata.admin import ControllerAdmin
from moldau_broker.metadata.unavailable import unavailable_response
from moldau_broker.server.config import load_config
from moldau_broker.server.handlers import create_partitions, create_topics, delete_topics
from moldau_broker.testing.handlers import NodeBench, call, versions
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from moldau_broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicResult,
    CreateTopicsRequest,
)
from moldau_broker.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicState,
)
from moldau_broker.wire.schema import Struct


@pytest.fixture
async def node() -> AsyncIterator[NodeBench]:
    async with NodeBench().running() as node:
        yield node


async def create(
    node: NodeBench, *names: str, version: int = 7, validate_only: bool = False
) -> list[CreatableTopicResult]:
    configs = [CreatableTopicConfig(name="retention.ms", value="5")]
    topics = [
        CreatableTopic(name=name, num_partitions=2, replication_factor=1, configs=configs) for name in names
    ]
    request = CreateTopicsRequest(topics=topics, validate_only=validate_only)
    return list((await call(create_topics.HANDLER, node.broker, request, version)).topics)


async def delete(node: NodeBench, name: str, version: int) -> DeletableTopicResult:
    request = (
        DeleteTopicsRequest(topics=[DeleteTopicState(name=name)])
        if version >= 6
        else DeleteTopicsRequest(topic_names=[name])
    )
    (result,) = (await call(delete_topics.HANDLER, node.broker, request, version)).responses
    return result


@pytest.mark.parametrize("version", versions(create_topics.HANDLER))
async def test_create_topics_answers_what_its_version_holds(node: NodeBench, version: int) -> None:
    """Counts and settings since v5, topic ids since v7; the topic is there when the answer is."""
    good, bad = await create(node, "t", "x/y", version=version)
    assert (good.name, good.error_code, good.error_message) == ("t", 0, None)
    assert bad.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    image = node.bench.publisher.image.topics["t"]
    assert good.topic_id == (image.topic_id if version >= 7 else NULL_UUID)
    assert (good.num_partitions, good.replication_factor) == ((2, 1) if version >= 5 else (-1, -1))
    echoed = {config.name: (config.value, config.config_source) for config in good.configs or ()}
    assert echoed.get("retention.ms") == (("5", 1) if version >= 5 else None)
    assert good.topic_config_error_code == 0


@pytest.mark.parametrize("version", versions(create_topics.HANDLER))
async def test_create_topics_validate_only_creates_nothing(node: NodeBench, version: int) -> None:
    """Every version has the flag."""
    (result,) = await create(node, "t", version=version, validate_only=True)
    assert result.error_code == 0
    assert not node.bench.publisher.image.topics


@pytest.mark.parametrize("version", versions(create_partitions.HANDLER))
async def test_create_partitions_every_version(node: NodeBench, version: int) -> None:
    """Each topic named is answered, with words for what was refused."""
    await create(node, "t")
    topics = [
        CreatePartitionsTopic(name="t", count=5, assignments=None),
        CreatePartitionsTopic(name="nope", count=5, assignments=None),
    ]
    response = await call(
        create_partitions.HANDLER, node.broker, CreatePartitionsRequest(topics=topics), version
    )
    assert [(result.name, result.error_code) for result in response.results] == [("t", 0), ("nope", 3)]
    assert len(node.bench.publisher.image.topics["t"].partitions) == 5


@pytest.mark.parametrize("version", versions(delete_topics.HANDLER))
async def test_delete_topics_every_version(node: NodeBench, version: int) -> None:
    """By name in all of them; the error text is there since v5, the id since v6."""
    await create(node, "t")
    topic_id = node.bench.publisher.image.topics["t"].topic_id
    gone = await delete(node, "t", version)
    assert (gone.name, gone.error_code) == ("t", 0)
    assert gone.topic_id == (topic_id if version >= 6 else NULL_UUID)
    again = await delete(node, "t", version)
    assert again.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert bool(again.error_message) == (version >= 5)


@pytest.mark.parametrize(("version", "error"), [(2, 42), (3, 73), (6, 73)])
async def test_delete_topics_can_be_turned_off(version: int, error: int) -> None:
    """delete.topic.enable=false is TOPIC_DELETION_DISABLED, INVALID_REQUEST before v3 (KIP-322)."""
    async with NodeBench("delete.topic.enable=false").running() as node:
        await create(node, "t")
        assert (await delete(node, "t", version)).error_code == error
        assert "t" in node.bench.publisher.image.topics


class NoController(ControllerAdmin):
    """A node that is not the controller."""

    broker_epoch = -1

    async def ask(self, key: ApiKey, request: Struct, version: int | None = None) -> Struct:
        return unavailable_response(key, request, ErrorCode.NOT_CONTROLLER, "not me")

    def auto_topics_request(self, names: Iterable[str]) -> CreateTopicsRequest:
        raise NotImplementedError


async def test_admin_requests_without_a_controller_are_answered_item_by_item() -> None:
    """NOT_CONTROLLER for each topic: clients look for the controller and try again."""
    broker = SimpleNamespace(controller=NoController(1), settings=load_config())
    created = await call(
        create_topics.HANDLER,
        broker,
        CreateTopicsRequest(topics=[CreatableTopic(name="a"), CreatableTopic(name="b")]),
    )
    assert [(one.name, one.error_code, one.error_message) for one in created.topics] == [
        ("a", 41, "not me"),
        ("b", 41, "not me"),
    ]
    deleted = await call(
        delete_topics.HANDLER, broker, DeleteTopicsRequest(topics=[DeleteTopicState(topic_id=b"i" * 16)])
    )
    assert [(one.name, one.topic_id, one.error_code) for one in deleted.responses] == [(None, b"i" * 16, 41)]
    grown = await call(
        create_partitions.HANDLER,
        broker,
        CreatePartitionsRequest(topics=[CreatePartitionsTopic(name="a", count=2)]),
    )
    assert [(one.name, one.error_code) for one in grown.results] == [("a", 41)]
