"""CreateTopics (key 19): new topics.

Source: Kafka 4.3 protocol guide; v5 flexible and echoes the settings, v7 topic ids.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Boolean,
    Int8,
    Int16,
    Int32,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@struct
class CreatableReplicaAssignment(Struct):
    """Where the replicas of one partition shall be."""

    partition_index: Int32 = 0
    broker_ids: Array[Int32] = ()


@struct
class CreatableTopicConfig(Struct):
    """One setting."""

    name: String = ""
    value: String | None = ""


@struct
class CreatableTopic(Struct):
    """One topic; -1 partitions or replicas are the broker's default."""

    name: String = ""
    num_partitions: Int32 = 0
    replication_factor: Int16 = 0
    assignments: Array[CreatableReplicaAssignment] = ()
    configs: Array[CreatableTopicConfig] = ()


@message(key=19, versions=(2, 7), flexible=5)
class CreateTopicsRequest(Struct):
    """The topics to create, or with `validate_only` to check."""

    topics: Array[CreatableTopic] = ()
    timeout_ms: Int32 = 60000
    validate_only: Boolean = False


@struct
class CreatableTopicConfigs(Struct):
    """One setting as the new topic has it."""

    name: String = ""
    value: String | None = ""
    read_only: Boolean = False
    config_source: Int8 = -1
    is_sensitive: Boolean = False


@struct
class CreatableTopicResult(Struct):
    """One topic as created, or why not."""

    name: String = ""
    topic_id: Uuid = field(default=ZERO_UUID, since=7)
    error_code: Int16 = 0
    error_message: String | None = ""
    num_partitions: Int32 = field(default=-1, since=5)
    replication_factor: Int16 = field(default=-1, since=5)
    configs: Array[CreatableTopicConfigs] | None = field(default=(), since=5)
    topic_config_error_code: Int16 = field(default=0, since=5, tag=0)


@message(key=19, versions=(2, 7), flexible=5)
class CreateTopicsResponse(Struct):
    """What was created."""

    throttle_time_ms: Int32 = 0
    topics: Array[CreatableTopicResult] = ()
