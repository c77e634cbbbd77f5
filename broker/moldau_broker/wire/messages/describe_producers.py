"""DescribeProducers (key 61): the producers with state in a partition.

Source: Kafka 4.3 protocol guide; KIP-664.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, Int64, String, Struct, message, struct


@struct
class TopicRequest(Struct):
    """The partitions of one topic."""

    name: String = ""
    partition_indexes: Array[Int32] = ()


@message(key=61, versions=(0, 0), flexible=0)
class DescribeProducersRequest(Struct):
    """The partitions asked for."""

    topics: Array[TopicRequest] = ()


@struct
class ProducerState(Struct):
    """One producer's last batch and open transaction."""

    producer_id: Int64 = 0
    producer_epoch: Int32 = 0
    last_sequence: Int32 = -1
    last_timestamp: Int64 = -1
    coordinator_epoch: Int32 = 0
    current_txn_start_offset: Int64 = -1


@struct
class PartitionResponse(Struct):
    """The producers of one partition."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = None
    active_producers: Array[ProducerState] = ()


@struct
class TopicResponse(Struct):
    """The answers for one topic."""

    name: String = ""
    partitions: Array[PartitionResponse] = ()


@message(key=61, versions=(0, 0), flexible=0)
class DescribeProducersResponse(Struct):
    """The producers."""

    throttle_time_ms: Int32 = 0
    topics: Array[TopicResponse] = ()
