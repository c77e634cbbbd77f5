"""Metadata (key 3): brokers, controller, topics and who leads each partition.

Source: Kafka 4.3 protocol guide; v0 has no null list, v4 the auto-create flag, v9 flexible, v10 topic ids,
v13 a top-level error.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Boolean,
    Int16,
    Int32,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@struct
class MetadataRequestTopic(Struct):
    """One topic, by name or (v12) by id."""

    topic_id: Uuid = field(default=ZERO_UUID, since=10)
    name: String | None = field(default="", nullable_since=10)


@message(key=3, versions=(0, 13), flexible=9)
class MetadataRequest(Struct):
    """Which topics to describe; null is all of them (in v0 the empty list is)."""

    topics: Array[MetadataRequestTopic] | None = field(default=(), nullable_since=1)
    allow_auto_topic_creation: Boolean = field(default=True, since=4)
    include_cluster_authorized_operations: Boolean = field(default=False, since=8, until=10)
    include_topic_authorized_operations: Boolean = field(default=False, since=8)


@struct
class MetadataResponseBroker(Struct):
    """A live broker and its endpoint on the listener that was asked."""

    node_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    rack: String | None = field(default=None, since=1)


@struct
class MetadataResponsePartition(Struct):
    """Leader, replicas and in-sync replicas of one partition."""

    error_code: Int16 = 0
    partition_index: Int32 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = field(default=-1, since=7)
    replica_nodes: Array[Int32] = ()
    isr_nodes: Array[Int32] = ()
    offline_replicas: Array[Int32] = field(default=(), since=5)


@struct
class MetadataResponseTopic(Struct):
    """One topic, or why it cannot be described."""

    error_code: Int16 = 0
    name: String | None = field(default="", nullable_since=12)
    topic_id: Uuid = field(default=ZERO_UUID, since=10)
    is_internal: Boolean = field(default=False, since=1)
    partitions: Array[MetadataResponsePartition] = ()
    topic_authorized_operations: Int32 = field(default=-(2**31), since=8)


@message(key=3, versions=(0, 13), flexible=9)
class MetadataResponse(Struct):
    """The cluster as this broker knows it."""

    throttle_time_ms: Int32 = field(default=0, since=3)
    brokers: Array[MetadataResponseBroker] = ()
    cluster_id: String | None = field(default=None, since=2)
    controller_id: Int32 = field(default=-1, since=1)
    topics: Array[MetadataResponseTopic] = ()
    error_code: Int16 = field(default=0, since=13)
    cluster_authorized_operations: Int32 = field(default=-(2**31), since=8, until=10)
