"""ElectLeaders (key 43): move leadership to the preferred replica, or to any that lives.

Source: Kafka 4.3 protocol guide; v1 election type (KIP-460), v2 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int8, Int16, Int32, String, Struct, field, message, struct


@struct
class TopicPartitions(Struct):
    """The partitions of one topic."""

    topic: String = ""
    partitions: Array[Int32] = ()


@message(key=43, versions=(0, 2), flexible=2)
class ElectLeadersRequest(Struct):
    """The partitions; null is all. Type 0 is preferred, 1 unclean."""

    election_type: Int8 = field(default=0, since=1)
    topic_partitions: Array[TopicPartitions] | None = ()
    timeout_ms: Int32 = 60000


@struct
class PartitionResult(Struct):
    """The answer for one partition."""

    partition_id: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""


@struct
class ReplicaElectionResult(Struct):
    """The answers for one topic."""

    topic: String = ""
    partition_result: Array[PartitionResult] = ()


@message(key=43, versions=(0, 2), flexible=2)
class ElectLeadersResponse(Struct):
    """What was elected."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = field(default=0, since=1)
    replica_election_results: Array[ReplicaElectionResult] = ()
