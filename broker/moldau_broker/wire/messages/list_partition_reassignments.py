"""ListPartitionReassignments (key 46): the moves under way.

Source: Kafka 4.3 protocol guide.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, String, Struct, message, struct


@struct
class ListPartitionReassignmentsTopics(Struct):
    """The partitions of one topic."""

    name: String = ""
    partition_indexes: Array[Int32] = ()


@message(key=46, versions=(0, 0), flexible=0)
class ListPartitionReassignmentsRequest(Struct):
    """The partitions asked for; null is all."""

    timeout_ms: Int32 = 60000
    topics: Array[ListPartitionReassignmentsTopics] | None = None


@struct
class OngoingPartitionReassignment(Struct):
    """The move of one partition."""

    partition_index: Int32 = 0
    replicas: Array[Int32] = ()
    adding_replicas: Array[Int32] = ()
    removing_replicas: Array[Int32] = ()


@struct
class OngoingTopicReassignment(Struct):
    """The moves of one topic."""

    name: String = ""
    partitions: Array[OngoingPartitionReassignment] = ()


@message(key=46, versions=(0, 0), flexible=0)
class ListPartitionReassignmentsResponse(Struct):
    """The moves."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""
    topics: Array[OngoingTopicReassignment] = ()
