"""DescribeQuorum (key 55): leader, voters and observers of the metadata quorum.

Source: Kafka 4.3 protocol guide; v1 fetch times, v2 directory ids and endpoints.
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
    UInt16,
    Uuid,
    field,
    message,
    struct,
)


@struct
class DescribeQuorumRequestPartitionData(Struct):
    """One partition."""

    partition_index: Int32 = 0


@struct
class DescribeQuorumRequestTopicData(Struct):
    """The partitions of one topic."""

    topic_name: String = ""
    partitions: Array[DescribeQuorumRequestPartitionData] = ()


@message(key=55, versions=(0, 2), flexible=0)
class DescribeQuorumRequest(Struct):
    """The partitions asked for."""

    topics: Array[DescribeQuorumRequestTopicData] = ()


@struct
class ReplicaState(Struct):
    """How far one replica has come."""

    replica_id: Int32 = 0
    replica_directory_id: Uuid = field(default=ZERO_UUID, since=2)
    log_end_offset: Int64 = 0
    last_fetch_timestamp: Int64 = field(default=-1, since=1)
    last_caught_up_timestamp: Int64 = field(default=-1, since=1)


@struct
class DescribeQuorumResponsePartitionData(Struct):
    """The quorum of one partition."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = field(default="", since=2)
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0
    high_watermark: Int64 = 0
    current_voters: Array[ReplicaState] = ()
    observers: Array[ReplicaState] = ()


@struct
class DescribeQuorumResponseTopicData(Struct):
    """The answers for one topic."""

    topic_name: String = ""
    partitions: Array[DescribeQuorumResponsePartitionData] = ()


@struct
class Listener(Struct):
    """One listener of a voter."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0


@struct
class Node(Struct):
    """A voter and its listeners."""

    node_id: Int32 = 0
    listeners: Array[Listener] = ()


@message(key=55, versions=(0, 2), flexible=0)
class DescribeQuorumResponse(Struct):
    """The quorum."""

    error_code: Int16 = 0
    error_message: String | None = field(default="", since=2)
    topics: Array[DescribeQuorumResponseTopicData] = ()
    nodes: Array[Node] = field(default=(), since=2)
