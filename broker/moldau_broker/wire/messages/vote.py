"""Vote (key 52): a candidate asks for votes in the metadata quorum.

Source: Kafka 4.3 protocol guide; KIP-595; v2 pre-vote (KIP-996).
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
    UInt16,
    Uuid,
    field,
    message,
    struct,
)


@struct
class VoteRequestPartitionData(Struct):
    """The candidacy for one partition."""

    partition_index: Int32 = 0
    replica_epoch: Int32 = 0
    replica_id: Int32 = 0
    replica_directory_id: Uuid = field(default=ZERO_UUID, since=1)
    voter_directory_id: Uuid = field(default=ZERO_UUID, since=1)
    last_offset_epoch: Int32 = 0
    last_offset: Int64 = 0
    pre_vote: Boolean = field(default=False, since=2)


@struct
class VoteRequestTopicData(Struct):
    """The partitions of one topic."""

    topic_name: String = ""
    partitions: Array[VoteRequestPartitionData] = ()


@message(key=52, versions=(0, 2), flexible=0)
class VoteRequest(Struct):
    """The candidate's epoch and the end of its log."""

    cluster_id: String | None = None
    voter_id: Int32 = field(default=-1, since=1)
    topics: Array[VoteRequestTopicData] = ()


@struct
class VoteResponsePartitionData(Struct):
    """Whether the vote was given, and who leads."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = 0
    vote_granted: Boolean = False


@struct
class VoteResponseTopicData(Struct):
    """The answers for one topic."""

    topic_name: String = ""
    partitions: Array[VoteResponsePartitionData] = ()


@struct
class NodeEndpoint(Struct):
    """Where a leader named above listens."""

    node_id: Int32 = 0
    host: String = ""
    port: UInt16 = 0


@message(key=52, versions=(0, 2), flexible=0)
class VoteResponse(Struct):
    """The votes."""

    error_code: Int16 = 0
    topics: Array[VoteResponseTopicData] = ()
    node_endpoints: Array[NodeEndpoint] = field(default=(), since=1, tag=0)
