"""brokers/{brokerId}/drain: every replica moved off a broker, so that it can be taken away.

A broker that is drained is cordoned first, by a dynamic setting of its own that Kafka has too: until the drain is
cancelled or the broker is unregistered it gets no new replicas, and leads only what nobody else in sync can.

The moves are planned from the image this broker has and asked of the controller as an ordinary reassignment: it checks
them once more, and `kafka-reassign-partitions` shows and cancels them as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.drain import Move, drain_broker
from moldau_broker.metadata.image import CORDONED, MetadataImage, ResourceType
from moldau_broker.metadata.operation import ControllerSettings, View
from moldau_broker.server.admin_api.answers import Refused
from moldau_broker.server.admin_api.may_stop import broker_named
from moldau_broker.server.admin_api.replicas import hosted
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.node import AdminNode
    from moldau_broker.server.admin_api.routing import Call

_SET, _DELETE = 0, 1
"""`OpType` of IncrementalAlterConfigs (KIP-339)."""

Moves = Iterable[tuple[str, int, Sequence[int] | None]]
"""(topic, partition, the replicas it shall have, or None to cancel a move)."""


async def respond_begin(node: AdminNode, call: Call) -> Any:
    """Begin, or go on with what is left."""
    call.query.done()
    call.no_body()
    broker_id = broker_named(node, call)
    _plan(node, broker_id)  # refused before anything changes
    await _cordon(node, broker_id, "*")
    await _reassign(node, _plan(node, broker_id))  # what was created meanwhile goes too
    return await _progress(node, broker_id)


def _plan(node: AdminNode, broker_id: int) -> Sequence[Move]:
    config = node.broker.settings
    settings = ControllerSettings(node.broker.node_id, config.topics, config.groups, config.explicit)
    image = node.broker.metadata.image
    # Chance and offsets play no part in it: nothing is created.
    plan = drain_broker(View(image, image.offset + 1, settings, Random(0)), broker_id).response  # noqa: S311
    if plan.refused is not None:
        raise Refused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, plan.refused)
    return plan.begun


async def _cordon(node: AdminNode, broker_id: int, value: str | None) -> None:
    """Set or (None) take away what keeps new replicas and leaderships from the broker."""
    if node.broker.metadata.image.is_cordoned(broker_id) == (value is not None):
        return
    change = AlterableConfig(name=CORDONED, config_operation=_DELETE if value is None else _SET, value=value)
    request = IncrementalAlterConfigsRequest(
        resources=[
            AlterConfigsResource(
                resource_type=ResourceType.BROKER, resource_name=str(broker_id), configs=[change]
            )
        ]
    )
    answer = await node.ask_controller(ApiKey.INCREMENTAL_ALTER_CONFIGS, request)
    assert isinstance(answer, IncrementalAlterConfigsResponse)
    for one in answer.responses:
        _raise_for(one.error_code, one.error_message)


async def respond_progress(node: AdminNode, call: Call) -> Any:
    """How far it is."""
    call.query.done()
    call.no_body()
    return await _progress(node, broker_named(node, call))


async def respond_cancel(node: AdminNode, call: Call) -> Any:
    """Give up the moves under way; the broker may get replicas again."""
    call.query.done()
    call.no_body()
    broker_id = broker_named(node, call)
    await _cordon(node, broker_id, None)
    moving = [(topic, index, None) for topic, index in _moving_off(node.broker.metadata.image, broker_id)]
    await _reassign(node, moving)
    return await _progress(node, broker_id)


async def _reassign(node: AdminNode, moves: Moves) -> None:
    by_topic: dict[str, list[ReassignablePartition]] = {}
    for topic, index, replicas in moves:
        by_topic.setdefault(topic, []).append(
            ReassignablePartition(
                partition_index=index, replicas=None if replicas is None else list(replicas)
            )
        )
    if not by_topic:
        return
    request = AlterPartitionReassignmentsRequest(
        topics=[
            ReassignableTopic(name=topic, partitions=partitions) for topic, partitions in by_topic.items()
        ]
    )
    answer = await node.ask_controller(ApiKey.ALTER_PARTITION_REASSIGNMENTS, request)
    assert isinstance(answer, AlterPartitionReassignmentsResponse)
    _raise_for(answer.error_code, answer.error_message)
    for one in answer.responses:
        for partition in one.partitions:
            # A move that has ended meanwhile, and a topic deleted meanwhile, are no failure.
            if partition.error_code not in _OVER:
                name = f"{one.name}-{partition.partition_index}"
                _raise_for(partition.error_code, f"{name}: {partition.error_message}")


_OVER = (
    ErrorCode.NONE,
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
)


def _raise_for(raw: int, message: str | None) -> None:
    if raw != ErrorCode.NONE:
        code = ErrorCode(raw)
        raise Refused(code, message or code.name)


async def _progress(node: AdminNode, broker_id: int) -> dict[str, Any]:
    """Sizes first, the image after them: a replica that leaves in between is counted in neither."""
    sizes = await _sizes(node, broker_id)
    image = node.broker.metadata.image
    left = {
        (topic.name, index)
        for topic in image.topics.values()
        for index, partition in enumerate(topic.partitions)
        if broker_id in partition.replicas
    }
    moving = list(_moving_off(image, broker_id))
    progress: dict[str, Any] = {
        "brokerId": broker_id,
        "draining": bool(moving),
        "replicasLeft": len(left),
        "replicasMoving": len(moving),
    }
    if sizes is not None or not left:
        progress["bytesLeft"] = sum(size for place, size in (sizes or {}).items() if place in left)
    return progress


def _moving_off(image: MetadataImage, broker_id: int) -> Iterable[tuple[str, int]]:
    return (
        (topic.name, index)
        for topic in image.topics.values()
        for index, partition in enumerate(topic.partitions)
        if broker_id in partition.removing
    )


async def _sizes(node: AdminNode, broker_id: int) -> dict[tuple[str, int], int] | None:
    """How large the broker's replicas are, None where it cannot be asked: it may be dead, and drained for that."""
    if broker_id == node.broker.node_id:
        replicas = hosted(node)
    else:
        try:
            replicas = (await node.peers.get(broker_id, "replicas"))["replicas"]
        except Refused:
            return None
    return {(item["topic"], item["partition"]): item["sizeBytes"] for item in replicas}
