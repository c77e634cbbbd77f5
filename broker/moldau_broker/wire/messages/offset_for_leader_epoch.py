"""OffsetForLeaderEpoch (key 23): where the log of a leader epoch ends.

Source: Kafka 4.3 protocol guide; v4 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, Int64, String, Struct, field, message, struct


@struct
class OffsetForLeaderPartition(Struct):
    """One epoch of one partition."""

    partition: Int32 = 0
    current_leader_epoch: Int32 = -1
    leader_epoch: Int32 = 0


@struct
class OffsetForLeaderTopic(Struct):
    """The partitions of one topic."""

    topic: String = ""
    partitions: Array[OffsetForLeaderPartition] = ()


@message(key=23, versions=(2, 4), flexible=4)
class OffsetForLeaderEpochRequest(Struct):
    """The epochs asked for."""

    replica_id: Int32 = field(default=-2, since=3)
    topics: Array[OffsetForLeaderTopic] = ()


@struct
class EpochEndOffset(Struct):
    """The largest epoch not above the one asked for, and where it ends."""

    error_code: Int16 = 0
    partition: Int32 = 0
    leader_epoch: Int32 = -1
    end_offset: Int64 = -1


@struct
class OffsetForLeaderTopicResult(Struct):
    """The answers for one topic."""

    topic: String = ""
    partitions: Array[EpochEndOffset] = ()


@message(key=23, versions=(2, 4), flexible=4)
class OffsetForLeaderEpochResponse(Struct):
    """The ends."""

    throttle_time_ms: Int32 = 0
    topics: Array[OffsetForLeaderTopicResult] = ()
