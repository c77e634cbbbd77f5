"""OffsetCommit (key 8): remember how far a group has read.

Source: Kafka 4.3 protocol guide; v8 flexible, v10 topic ids.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Int16,
    Int32,
    Int64,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@struct
class OffsetCommitRequestPartition(Struct):
    """One offset: the next record to read."""

    partition_index: Int32 = 0
    committed_offset: Int64 = 0
    committed_leader_epoch: Int32 = field(default=-1, since=6)
    committed_metadata: String | None = ""


@struct
class OffsetCommitRequestTopic(Struct):
    """The offsets for one topic."""

    topic_id: Uuid = field(default=ZERO_UUID, since=10)
    name: String = field(default="", until=9)
    partitions: Array[OffsetCommitRequestPartition] = ()


@message(key=8, versions=(2, 10), flexible=8)
class OffsetCommitRequest(Struct):
    """A member's (or a simple consumer's: generation -1, empty member id) offsets."""

    group_id: String = ""
    generation_id_or_member_epoch: Int32 = -1
    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=7)
    retention_time_ms: Int64 = field(default=-1, until=4)
    topics: Array[OffsetCommitRequestTopic] = ()


@struct
class OffsetCommitResponsePartition(Struct):
    """Whether one offset was kept."""

    partition_index: Int32 = 0
    error_code: Int16 = 0


@struct
class OffsetCommitResponseTopic(Struct):
    """The answers for one topic."""

    topic_id: Uuid = field(default=ZERO_UUID, since=10)
    name: String = field(default="", until=9)
    partitions: Array[OffsetCommitResponsePartition] = ()


@message(key=8, versions=(2, 10), flexible=8)
class OffsetCommitResponse(Struct):
    """Which offsets were kept."""

    throttle_time_ms: Int32 = field(default=0, since=3)
    topics: Array[OffsetCommitResponseTopic] = ()
