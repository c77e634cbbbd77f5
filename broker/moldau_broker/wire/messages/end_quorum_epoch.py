"""EndQuorumEpoch (key 54): a leader of the metadata quorum resigns.

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
class ReplicaInfo(Struct):
    """A preferred successor."""

    candidate_id: Int32 = 0
    candidate_directory_id: Uuid = ZERO_UUID


@struct
class EndQuorumEpochRequestPartitionData(Struct):
    """The resignation for one partition."""

    partition_index: Int32 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0
    preferred_candidates: Array[ReplicaInfo] = field(default=(), since=1)
    preferred_successors: Array[Int32] = field(default=(), until=0)


@struct
class EndQuorumEpochRequestTopicData(Struct):
    """The partitions of one topic."""

    topic_name: String = ""
    partitions: Array[EndQuorumEpochRequestPartitionData] = ()


@struct
class LeaderEndpoint(Struct):
    """Where the resigning leader listens."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0


@message(key=54, versions=(0, 1), flexible=1)
class EndQuorumEpochRequest(Struct):
    """The epoch that ends and who should follow, best first."""

    cluster_id: String | None = None
    topics: Array[EndQuorumEpochRequestTopicData] = ()
    leader_endpoints: Array[LeaderEndpoint] = field(default=(), since=1)


@struct
class EndQuorumEpochResponsePartitionData(Struct):
    """The leader the voter knows."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0


@struct
class EndQuorumEpochResponseTopicData(Struct):
    """The answers for one topic."""

    topic_name: String = ""
    partitions: Array[EndQuorumEpochResponsePartitionData] = ()


@struct
class NodeEndpoint(Struct):
    """Where a leader named above listens."""

    node_id: Int32 = 0
    host: String = ""
    port: UInt16 = 0


@message(key=54, versions=(0, 1), flexible=1)
class EndQuorumEpochResponse(Struct):
    """Whether the voter agrees."""

    error_code: Int16 = 0
    topics: Array[EndQuorumEpochResponseTopicData] = ()
    node_endpoints: Array[NodeEndpoint] = field(default=(), since=1, tag=0)
