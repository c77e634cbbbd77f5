"""AlterPartition (key 56): a leader changes the in-sync replicas of its partitions.

Source: Kafka 4.3 protocol guide; v3 names the epoch of every member (KIP-903).
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Int8,
    Int16,
    Int32,
    Int64,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@struct
class BrokerState(Struct):
    """An in-sync replica and the epoch of its broker."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = -1


@struct
class AlterPartitionRequestPartitionData(Struct):
    """The new in-sync replicas of one partition, compare-and-set on both epochs."""

    partition_index: Int32 = 0
    leader_epoch: Int32 = 0
    new_isr_with_epochs: Array[BrokerState] = field(default=(), since=3)
    new_isr: Array[Int32] = field(default=(), until=2)
    leader_recovery_state: Int8 = 0
    partition_epoch: Int32 = 0


@struct
class AlterPartitionRequestTopicData(Struct):
    """The changes of one topic."""

    topic_id: Uuid = ZERO_UUID
    partitions: Array[AlterPartitionRequestPartitionData] = ()


@message(key=56, versions=(2, 3), flexible=2)
class AlterPartitionRequest(Struct):
    """The changes a leader wants."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = -1
    topics: Array[AlterPartitionRequestTopicData] = ()


@struct
class AlterPartitionResponsePartitionData(Struct):
    """The partition as the controller has it now."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0
    isr: Array[Int32] = ()
    leader_recovery_state: Int8 = 0
    partition_epoch: Int32 = 0


@struct
class AlterPartitionResponseTopicData(Struct):
    """The answers for one topic."""

    topic_id: Uuid = ZERO_UUID
    partitions: Array[AlterPartitionResponsePartitionData] = ()


@message(key=56, versions=(2, 3), flexible=2)
class AlterPartitionResponse(Struct):
    """What is so now."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    topics: Array[AlterPartitionResponseTopicData] = ()
