"""DescribeTopicPartitions (key 75): topics and partitions, page by page.

Source: Kafka 4.3 protocol guide; KIP-966.
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
    message,
    struct,
)


@struct
class TopicRequest(Struct):
    """One topic."""

    name: String = ""


@struct
class Cursor(Struct):
    """Where a page begins."""

    topic_name: String = ""
    partition_index: Int32 = 0


@message(key=75, versions=(0, 0), flexible=0)
class DescribeTopicPartitionsRequest(Struct):
    """The topics, and where to go on."""

    topics: Array[TopicRequest] = ()
    response_partition_limit: Int32 = 2000
    cursor: Cursor | None = None


@struct
class DescribeTopicPartitionsResponsePartition(Struct):
    """One partition, with the eligible leader replicas."""

    error_code: Int16 = 0
    partition_index: Int32 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = -1
    replica_nodes: Array[Int32] = ()
    isr_nodes: Array[Int32] = ()
    eligible_leader_replicas: Array[Int32] | None = None
    last_known_elr: Array[Int32] | None = None
    offline_replicas: Array[Int32] = ()


@struct
class DescribeTopicPartitionsResponseTopic(Struct):
    """One topic."""

    error_code: Int16 = 0
    name: String | None = ""
    topic_id: Uuid = ZERO_UUID
    is_internal: Boolean = False
    partitions: Array[DescribeTopicPartitionsResponsePartition] = ()
    topic_authorized_operations: Int32 = -(2**31)


@message(key=75, versions=(0, 0), flexible=0)
class DescribeTopicPartitionsResponse(Struct):
    """A page; `next_cursor` is null on the last."""

    throttle_time_ms: Int32 = 0
    topics: Array[DescribeTopicPartitionsResponseTopic] = ()
    next_cursor: Cursor | None = None
