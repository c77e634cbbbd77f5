"""Fetch (key 1): batches from an offset on, for consumers and for follower replicas.

Source: Kafka 4.3 protocol guide; v7 sessions (KIP-227), v12 flexible and diverging epochs, v13 topic ids,
v15 replica state, v18 the follower's high watermark.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Int8,
    Int16,
    Int32,
    Int64,
    Records,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)

READ_OFFSET_TAG = 10_000
"""Not Kafka's, which takes no notice of it: where a follower goes on reading while it syncs what it got (ADR 0020)."""


@struct
class FetchPartition(Struct):
    """From where to read one partition, and at most how much."""

    partition: Int32 = 0
    current_leader_epoch: Int32 = field(default=-1, since=9)
    fetch_offset: Int64 = 0
    last_fetched_epoch: Int32 = field(default=-1, since=12)
    log_start_offset: Int64 = field(default=-1, since=5)
    partition_max_bytes: Int32 = 0
    replica_directory_id: Uuid = field(default=ZERO_UUID, since=17, tag=0)
    high_watermark: Int64 = field(default=2**63 - 1, since=18, tag=1)
    read_offset: Int64 = field(default=-1, since=12, tag=READ_OFFSET_TAG)


@struct
class FetchTopic(Struct):
    """The partitions wanted of one topic."""

    topic_id: Uuid = field(default=ZERO_UUID, since=13)
    topic: String = field(default="", until=12)
    partitions: Array[FetchPartition] = ()


@struct
class ForgottenTopic(Struct):
    """Partitions to drop from the session."""

    topic_id: Uuid = field(default=ZERO_UUID, since=13)
    topic: String = field(default="", until=12)
    partitions: Array[Int32] = ()


@struct
class ReplicaState(Struct):
    """Which replica asks; -1 is a consumer."""

    replica_id: Int32 = -1
    replica_epoch: Int64 = -1


@message(key=1, versions=(4, 18), flexible=12)
class FetchRequest(Struct):
    """What to read, and how long to wait for `min_bytes` of it."""

    replica_id: Int32 = field(default=-1, until=14)
    max_wait_ms: Int32 = 0
    min_bytes: Int32 = 0
    max_bytes: Int32 = 2**31 - 1
    isolation_level: Int8 = 0
    session_id: Int32 = field(default=0, since=7)
    session_epoch: Int32 = field(default=-1, since=7)
    topics: Array[FetchTopic] = ()
    forgotten_topics_data: Array[ForgottenTopic] = field(default=(), since=7)
    rack_id: String = field(default="", since=11)
    cluster_id: String | None = field(default=None, since=12, tag=0)
    replica_state: ReplicaState = field(default=ReplicaState(), since=15, tag=1)


@struct
class AbortedTransaction(Struct):
    """An aborted transaction whose records the reader must drop."""

    producer_id: Int64 = 0
    first_offset: Int64 = 0


@struct
class EpochEndOffset(Struct):
    """Where the reader's log parts from the leader's."""

    epoch: Int32 = -1
    end_offset: Int64 = -1


@struct
class LeaderIdAndEpoch(Struct):
    """The leader to turn to instead (KIP-951)."""

    leader_id: Int32 = -1
    leader_epoch: Int32 = -1


@struct
class SnapshotId(Struct):
    """The snapshot to fetch first: the offset lies below the log."""

    end_offset: Int64 = -1
    epoch: Int32 = -1


@struct
class PartitionData(Struct):
    """Whole batches from the one that holds the fetch offset on, and the offsets that bound them."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    high_watermark: Int64 = 0
    last_stable_offset: Int64 = -1
    log_start_offset: Int64 = field(default=-1, since=5)
    aborted_transactions: Array[AbortedTransaction] | None = ()
    preferred_read_replica: Int32 = field(default=-1, since=11)
    records: Records | None = None
    diverging_epoch: EpochEndOffset = field(default=EpochEndOffset(), since=12, tag=0)
    current_leader: LeaderIdAndEpoch = field(default=LeaderIdAndEpoch(), since=12, tag=1)
    snapshot_id: SnapshotId = field(default=SnapshotId(), since=12, tag=2)


@struct
class FetchableTopicResponse(Struct):
    """The answers for one topic."""

    topic_id: Uuid = field(default=ZERO_UUID, since=13)
    topic: String = field(default="", until=12)
    partitions: Array[PartitionData] = ()


@struct
class NodeEndpoint(Struct):
    """Where a leader named above listens."""

    node_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    rack: String | None = None


@message(key=1, versions=(4, 18), flexible=12)
class FetchResponse(Struct):
    """What was there. Within a session only partitions with news are named."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = field(default=0, since=7)
    session_id: Int32 = field(default=0, since=7)
    responses: Array[FetchableTopicResponse] = ()
    node_endpoints: Array[NodeEndpoint] = field(default=(), since=16, tag=0)
