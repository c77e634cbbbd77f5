"""CreatePartitions (key 37): more partitions for topics.

Source: Kafka 4.3 protocol guide; v2 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Boolean, Int16, Int32, String, Struct, message, struct


@struct
class CreatePartitionsAssignment(Struct):
    """Where the replicas of one new partition shall be."""

    broker_ids: Array[Int32] = ()


@struct
class CreatePartitionsTopic(Struct):
    """One topic; `count` is the new total."""

    name: String = ""
    count: Int32 = 0
    assignments: Array[CreatePartitionsAssignment] | None = ()


@message(key=37, versions=(0, 3), flexible=2)
class CreatePartitionsRequest(Struct):
    """The topics and their new partition counts."""

    topics: Array[CreatePartitionsTopic] = ()
    timeout_ms: Int32 = 0
    validate_only: Boolean = False


@struct
class CreatePartitionsTopicResult(Struct):
    """Whether one topic was changed."""

    name: String = ""
    error_code: Int16 = 0
    error_message: String | None = None


@message(key=37, versions=(0, 3), flexible=2)
class CreatePartitionsResponse(Struct):
    """What was changed."""

    throttle_time_ms: Int32 = 0
    results: Array[CreatePartitionsTopicResult] = ()
