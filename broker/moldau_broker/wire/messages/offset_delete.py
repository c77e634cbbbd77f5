"""OffsetDelete (key 47): forget committed offsets of a group.

Source: Kafka 4.3 protocol guide.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, String, Struct, message, struct


@struct
class OffsetDeleteRequestPartition(Struct):
    """One partition."""

    partition_index: Int32 = 0


@struct
class OffsetDeleteRequestTopic(Struct):
    """The partitions of one topic."""

    name: String = ""
    partitions: Array[OffsetDeleteRequestPartition] = ()


@message(key=47, versions=(0, 0), flexible=None)
class OffsetDeleteRequest(Struct):
    """The group and the partitions."""

    group_id: String = ""
    topics: Array[OffsetDeleteRequestTopic] = ()


@struct
class OffsetDeleteResponsePartition(Struct):
    """Whether one offset was forgotten."""

    partition_index: Int32 = 0
    error_code: Int16 = 0


@struct
class OffsetDeleteResponseTopic(Struct):
    """The answers for one topic."""

    name: String = ""
    partitions: Array[OffsetDeleteResponsePartition] = ()


@message(key=47, versions=(0, 0), flexible=None)
class OffsetDeleteResponse(Struct):
    """What was forgotten."""

    error_code: Int16 = 0
    throttle_time_ms: Int32 = 0
    topics: Array[OffsetDeleteResponseTopic] = ()
