"""OffsetFetch (key 9): how far a group has read.

Source: Kafka 4.3 protocol guide; v8 asks for several groups at once and moves everything below `groups`,
v10 topic ids.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Boolean,
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
class OffsetFetchRequestTopics(Struct):
    """The partitions asked of one topic (from v8)."""

    topic_id: Uuid = field(default=ZERO_UUID, since=10)
    name: String = field(default="", until=9)
    partition_indexes: Array[Int32] = ()


@struct
class OffsetFetchRequestGroup(Struct):
    """One group to look up (from v8)."""

    group_id: String = ""
    member_id: String | None = field(default=None, since=9)
    member_epoch: Int32 = field(default=-1, since=9)
    topics: Array[OffsetFetchRequestTopics] | None = ()


@struct
class OffsetFetchRequestTopic(Struct):
    """The partitions asked of one topic (to v7)."""

    name: String = field(default="", until=7)
    partition_indexes: Array[Int32] = field(default=(), until=7)


@message(key=9, versions=(1, 10), flexible=6)
class OffsetFetchRequest(Struct):
    """Which offsets of which groups; null topics is all of them."""

    groups: Array[OffsetFetchRequestGroup] = field(default=(), since=8)
    group_id: String = field(default="", until=7)
    topics: Array[OffsetFetchRequestTopic] | None = field(default=(), until=7, nullable_since=2)
    require_stable: Boolean = field(default=False, since=7)


@struct
class OffsetFetchResponsePartitions(Struct):
    """One committed offset, -1 when there is none (from v8)."""

    partition_index: Int32 = 0
    committed_offset: Int64 = 0
    committed_leader_epoch: Int32 = -1
    metadata: String | None = ""
    error_code: Int16 = 0


@struct
class OffsetFetchResponseTopics(Struct):
    """The answers for one topic (from v8)."""

    topic_id: Uuid = field(default=ZERO_UUID, since=10)
    name: String = field(default="", until=9)
    partitions: Array[OffsetFetchResponsePartitions] = ()


@struct
class OffsetFetchResponseGroup(Struct):
    """The answers for one group (from v8)."""

    group_id: String = ""
    topics: Array[OffsetFetchResponseTopics] = ()
    error_code: Int16 = 0


@struct
class OffsetFetchResponsePartition(Struct):
    """One committed offset, -1 when there is none (to v7)."""

    partition_index: Int32 = field(default=0, until=7)
    committed_offset: Int64 = field(default=0, until=7)
    committed_leader_epoch: Int32 = field(default=-1, since=5, until=7)
    metadata: String | None = field(default="", until=7)
    error_code: Int16 = field(default=0, until=7)


@struct
class OffsetFetchResponseTopic(Struct):
    """The answers for one topic (to v7)."""

    name: String = field(default="", until=7)
    partitions: Array[OffsetFetchResponsePartition] = field(default=(), until=7)


@message(key=9, versions=(1, 10), flexible=6)
class OffsetFetchResponse(Struct):
    """The offsets, below `topics` to v7 and `groups` after."""

    throttle_time_ms: Int32 = field(default=0, since=3)
    groups: Array[OffsetFetchResponseGroup] = field(default=(), since=8)
    topics: Array[OffsetFetchResponseTopic] = field(default=(), until=7)
    error_code: Int16 = field(default=0, since=2, until=7)
