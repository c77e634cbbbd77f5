"""BeginQuorumEpoch (key 53): a new leader of the metadata quorum makes itself known.

Source: Kafka 4.3 protocol guide; KIP-595; v1 directory ids (KIP-853).
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Int16,
    Int32,
    String,
    Struct,
    UInt16,
    Uuid,
    field,
    message,
    struct,
)


@struct
class BeginQuorumEpochRequestPartitionData(Struct):
    """The leader of one partition."""

    partition_index: Int32 = 0
    voter_directory_id: Uuid = field(default=ZERO_UUID, since=1)
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0


@struct
class BeginQuorumEpochRequestTopicData(Struct):
    """The partitions of one topic."""

    topic_name: String = ""
    partitions: Array[BeginQuorumEpochRequestPartitionData] = ()


@struct
class LeaderEndpoint(Struct):
    """Where the new leader listens."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0


@message(key=53, versions=(0, 1), flexible=1)
class BeginQuorumEpochRequest(Struct):
    """The leader and its epoch."""

    cluster_id: String | None = None
    voter_id: Int32 = field(default=-1, since=1)
    topics: Array[BeginQuorumEpochRequestTopicData] = ()
    leader_endpoints: Array[LeaderEndpoint] = field(default=(), since=1)


@struct
class BeginQuorumEpochResponsePartitionData(Struct):
    """The leader the voter knows."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0


@struct
class BeginQuorumEpochResponseTopicData(Struct):
    """The answers for one topic."""

    topic_name: String = ""
    partitions: Array[BeginQuorumEpochResponsePartitionData] = ()


@struct
class NodeEndpoint(Struct):
    """Where a leader named above listens."""

    node_id: Int32 = 0
    host: String = ""
    port: UInt16 = 0


@message(key=53, versions=(0, 1), flexible=1)
class BeginQuorumEpochResponse(Struct):
    """Whether the voter agrees."""

    error_code: Int16 = 0
    topics: Array[BeginQuorumEpochResponseTopicData] = ()
    node_endpoints: Array[NodeEndpoint] = field(default=(), since=1, tag=0)
