"""ListOffsets (key 2): the offset of a timestamp, or of the log's ends.

Source: Kafka 4.3 protocol guide; special timestamps: -1 latest, -2 earliest, -3 of the newest timestamp, -4
earliest local, -5 latest tiered, -6 pending upload.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int8, Int16, Int32, Int64, String, Struct, field, message, struct


@struct
class ListOffsetsPartition(Struct):
    """One look-up."""

    partition_index: Int32 = 0
    current_leader_epoch: Int32 = field(default=-1, since=4)
    timestamp: Int64 = 0


@struct
class ListOffsetsTopic(Struct):
    """The partitions asked of one topic."""

    name: String = ""
    partitions: Array[ListOffsetsPartition] = ()


@message(key=2, versions=(1, 11), flexible=6)
class ListOffsetsRequest(Struct):
    """The timestamps to look up."""

    replica_id: Int32 = 0
    isolation_level: Int8 = field(default=0, since=2)
    topics: Array[ListOffsetsTopic] = ()
    timeout_ms: Int32 = field(default=0, since=10)


@struct
class ListOffsetsPartitionResponse(Struct):
    """The first record at or after the timestamp; offset -1 when there is none."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    timestamp: Int64 = -1
    offset: Int64 = -1
    leader_epoch: Int32 = field(default=-1, since=4)


@struct
class ListOffsetsTopicResponse(Struct):
    """The answers for one topic."""

    name: String = ""
    partitions: Array[ListOffsetsPartitionResponse] = ()


@message(key=2, versions=(1, 11), flexible=6)
class ListOffsetsResponse(Struct):
    """The offsets found."""

    throttle_time_ms: Int32 = field(default=0, since=2)
    topics: Array[ListOffsetsTopicResponse] = ()
