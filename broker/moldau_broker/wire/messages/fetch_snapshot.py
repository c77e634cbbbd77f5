"""FetchSnapshot (key 59): a piece of a metadata snapshot.

Source: Kafka 4.3 protocol guide; KIP-630; v1 directory ids.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    EMPTY_RECORDS,
    ZERO_UUID,
    Array,
    Int16,
    Int32,
    Int64,
    Records,
    String,
    Struct,
    UInt16,
    Uuid,
    field,
    message,
    struct,
)


@struct
class SnapshotId(Struct):
    """A snapshot: the offset and epoch it ends at."""

    end_offset: Int64 = 0
    epoch: Int32 = 0


@struct
class FetchSnapshotRequestPartitionSnapshot(Struct):
    """The snapshot of one partition."""

    partition: Int32 = 0
    current_leader_epoch: Int32 = 0
    snapshot_id: SnapshotId = SnapshotId()
    position: Int64 = 0
    replica_directory_id: Uuid = field(default=ZERO_UUID, since=1, tag=0)


@struct
class FetchSnapshotRequestTopicSnapshot(Struct):
    """The snapshots of one topic."""

    name: String = ""
    partitions: Array[FetchSnapshotRequestPartitionSnapshot] = ()


@message(key=59, versions=(0, 1), flexible=0)
class FetchSnapshotRequest(Struct):
    """Which snapshot, from which byte."""

    replica_id: Int32 = -1
    max_bytes: Int32 = 2**31 - 1
    topics: Array[FetchSnapshotRequestTopicSnapshot] = ()
    cluster_id: String | None = field(default=None, tag=0)


@struct
class LeaderIdAndEpoch(Struct):
    """The leader of the quorum."""

    leader_id: Int32 = 0
    leader_epoch: Int32 = 0


@struct
class FetchSnapshotResponsePartitionSnapshot(Struct):
    """A piece, which may end inside a batch."""

    index: Int32 = 0
    error_code: Int16 = 0
    snapshot_id: SnapshotId = SnapshotId()
    size: Int64 = 0
    position: Int64 = 0
    unaligned_records: Records = EMPTY_RECORDS
    current_leader: LeaderIdAndEpoch = field(default=LeaderIdAndEpoch(), tag=0)


@struct
class FetchSnapshotResponseTopicSnapshot(Struct):
    """The answers for one topic."""

    name: String = ""
    partitions: Array[FetchSnapshotResponsePartitionSnapshot] = ()


@struct
class NodeEndpoint(Struct):
    """Where a leader named above listens."""

    node_id: Int32 = 0
    host: String = ""
    port: UInt16 = 0


@message(key=59, versions=(0, 1), flexible=0)
class FetchSnapshotResponse(Struct):
    """The pieces."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    topics: Array[FetchSnapshotResponseTopicSnapshot] = ()
    node_endpoints: Array[NodeEndpoint] = field(default=(), since=1, tag=0)
