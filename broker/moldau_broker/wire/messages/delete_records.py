"""DeleteRecords (key 21): move the start of logs up.

Source: Kafka 4.3 protocol guide; v2 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, Int64, String, Struct, message, struct


@struct
class DeleteRecordsPartition(Struct):
    """The offset to delete before; -1 is the high watermark."""

    partition_index: Int32 = 0
    offset: Int64 = 0


@struct
class DeleteRecordsTopic(Struct):
    """The partitions of one topic."""

    name: String = ""
    partitions: Array[DeleteRecordsPartition] = ()


@message(key=21, versions=(0, 2), flexible=2)
class DeleteRecordsRequest(Struct):
    """The new starts."""

    topics: Array[DeleteRecordsTopic] = ()
    timeout_ms: Int32 = 0


@struct
class DeleteRecordsPartitionResult(Struct):
    """The low watermark of one partition."""

    partition_index: Int32 = 0
    low_watermark: Int64 = 0
    error_code: Int16 = 0


@struct
class DeleteRecordsTopicResult(Struct):
    """The answers for one topic."""

    name: String = ""
    partitions: Array[DeleteRecordsPartitionResult] = ()


@message(key=21, versions=(0, 2), flexible=2)
class DeleteRecordsResponse(Struct):
    """The starts as they are now."""

    throttle_time_ms: Int32 = 0
    topics: Array[DeleteRecordsTopicResult] = ()
