"""What consumers of a classic group tell each other through the coordinator, as bytes. Pure.

Source: ConsumerProtocolSubscription and ConsumerProtocolAssignment; each is preceded by its version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from moldau_broker.client.partitions import TopicPartition, by_topic
from moldau_broker.wire import codec
from moldau_broker.wire.errors import WireError
from moldau_broker.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from moldau_broker.wire.messages.consumer_protocol import TopicPartition as AssignedTopic
from moldau_broker.wire.schema import Struct

S = TypeVar("S", bound=Struct)

PROTOCOL_TYPE: Final = "consumer"
VERSION_WRITTEN: Final = 0
"""Enough for an eager assignor without racks or owned partitions, and every member can read it."""
VERSION_READ_MAX: Final = 3


def write_subscription(topics: Iterable[str]) -> bytes:
    """What a joining member sends."""
    return _write(ConsumerProtocolSubscription(topics=sorted(topics)))


def read_subscription(data: bytes) -> tuple[str, ...]:
    """The topics a member wants; nothing if the bytes are not a subscription."""
    subscription = _read(ConsumerProtocolSubscription, data)
    return () if subscription is None else tuple(subscription.topics)


def write_assignment(partitions: Iterable[TopicPartition]) -> bytes:
    """What the leader sends for a member."""
    topics = [AssignedTopic(topic=name, partitions=numbers) for name, numbers in by_topic(partitions).items()]
    return _write(ConsumerProtocolAssignment(assigned_partitions=topics))


def read_assignment(data: bytes) -> tuple[TopicPartition, ...]:
    """A member's partitions; nothing if it has none or the bytes are not an assignment."""
    assignment = _read(ConsumerProtocolAssignment, data)
    if assignment is None:
        return ()
    return tuple(
        sorted(TopicPartition(t.topic, p) for t in assignment.assigned_partitions for p in t.partitions)
    )


def _write(value: Struct) -> bytes:
    return VERSION_WRITTEN.to_bytes(2, "big") + codec.encode(value, VERSION_WRITTEN)


def _read(cls: type[S], data: bytes) -> S | None:
    version = int.from_bytes(data[:2], "big", signed=True)
    if len(data) < 2 or version < 0:
        return None
    try:
        return codec.decode(cls, min(version, VERSION_READ_MAX), data, 2)[0]
    except WireError:
        return None
