"""Produce (key 0): one batch for each of several partitions, and where each landed.

Source: Kafka 4.3 protocol guide; v9 flexible, v10 leader hints (KIP-951), v12 implicit transaction
membership (KIP-890), v13 topic ids.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Int16,
    Int32,
    Int64,
    Records,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@struct
class PartitionProduceData(Struct):
    """Exactly one batch for one partition."""

    index: Int32 = 0
    records: Records | None = None


@struct
class TopicProduceData(Struct):
    """The batches for one topic."""

    topic_id: Uuid = field(default=ZERO_UUID, since=13)
    name: String = field(default="", until=12)
    partition_data: Array[PartitionProduceData] = ()


@message(key=0, versions=(3, 13), flexible=9)
class ProduceRequest(Struct):
    """Batches to append; `acks` is -1 (all in sync), 1 (leader) or 0 (no answer at all)."""

    transactional_id: String | None = None
    acks: Int16 = 0
    timeout_ms: Int32 = 0
    topic_data: Array[TopicProduceData] = ()


@struct
class BatchIndexAndErrorMessage(Struct):
    """One record at fault inside a refused batch (KIP-467)."""

    batch_index: Int32 = 0
    batch_index_error_message: String | None = None


@struct
class LeaderIdAndEpoch(Struct):
    """The leader to turn to instead (KIP-951)."""

    leader_id: Int32 = -1
    leader_epoch: Int32 = -1


@struct
class PartitionProduceResponse(Struct):
    """The base offset given to the batch; the append time is -1 under CreateTime."""

    index: Int32 = 0
    error_code: Int16 = 0
    base_offset: Int64 = 0
    log_append_time_ms: Int64 = -1
    log_start_offset: Int64 = field(default=-1, since=5)
    record_errors: Array[BatchIndexAndErrorMessage] = field(default=(), since=8)
    error_message: String | None = field(default=None, since=8)
    current_leader: LeaderIdAndEpoch = field(default=LeaderIdAndEpoch(), since=10, tag=0)


@struct
class TopicProduceResponse(Struct):
    """The answers for one topic."""

    topic_id: Uuid = field(default=ZERO_UUID, since=13)
    name: String = field(default="", until=12)
    partition_responses: Array[PartitionProduceResponse] = ()


@struct
class NodeEndpoint(Struct):
    """Where a leader named above listens."""

    node_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    rack: String | None = None


@message(key=0, versions=(3, 13), flexible=9)
class ProduceResponse(Struct):
    """Where each batch landed, or why it did not."""

    responses: Array[TopicProduceResponse] = ()
    throttle_time_ms: Int32 = 0
    node_endpoints: Array[NodeEndpoint] = field(default=(), since=10, tag=0)
