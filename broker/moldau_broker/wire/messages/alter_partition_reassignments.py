"""AlterPartitionReassignments (key 45): move replicas, or stop moving them.

Source: Kafka 4.3 protocol guide; v1 may forbid a change of the replication factor.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Boolean, Int16, Int32, String, Struct, field, message, struct


@struct
class ReassignablePartition(Struct):
    """The replicas one partition shall have; null cancels a move."""

    partition_index: Int32 = 0
    replicas: Array[Int32] | None = None


@struct
class ReassignableTopic(Struct):
    """The moves of one topic."""

    name: String = ""
    partitions: Array[ReassignablePartition] = ()


@message(key=45, versions=(0, 1), flexible=0)
class AlterPartitionReassignmentsRequest(Struct):
    """The moves."""

    timeout_ms: Int32 = 60000
    allow_replication_factor_change: Boolean = field(default=True, since=1)
    topics: Array[ReassignableTopic] = ()


@struct
class ReassignablePartitionResponse(Struct):
    """Whether one move has begun."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""


@struct
class ReassignableTopicResponse(Struct):
    """The answers for one topic."""

    name: String = ""
    partitions: Array[ReassignablePartitionResponse] = ()


@message(key=45, versions=(0, 1), flexible=0)
class AlterPartitionReassignmentsResponse(Struct):
    """What has begun."""

    throttle_time_ms: Int32 = 0
    allow_replication_factor_change: Boolean = field(default=True, since=1)
    error_code: Int16 = 0
    error_message: String | None = ""
    responses: Array[ReassignableTopicResponse] = ()
