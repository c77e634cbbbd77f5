"""Control records of logs and snapshots, and the state file of the quorum.

A control record's key is `ControlRecordTypeSchema` behind an int16 version. Types: 0 abort, 1 commit, 2
leader change, 3 snapshot header, 4 snapshot footer, 5 kraft version, 6 voters. Source: Kafka 4.3, KIP-595,
KIP-630, KIP-853.
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
class LeaderChangeVoter(Struct):
    """A voter, by id and directory."""

    voter_id: Int32 = 0
    voter_directory_id: Uuid = field(default=ZERO_UUID, since=1)


@message(versions=(0, 1), flexible=0)
class LeaderChangeMessage(Struct):
    """First record of a leader's epoch."""

    version: Int16 = 0
    leader_id: Int32 = 0
    voters: Array[LeaderChangeVoter] = ()
    granting_voters: Array[LeaderChangeVoter] = ()


@struct
class Endpoint(Struct):
    """One endpoint of a voter."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0


@struct
class KRaftVersionFeature(Struct):
    """The kraft.version levels a voter can run."""

    min_supported_version: Int16 = 0
    max_supported_version: Int16 = 0


@struct
class Voter(Struct):
    """One voter."""

    voter_id: Int32 = 0
    voter_directory_id: Uuid = ZERO_UUID
    endpoints: Array[Endpoint] = ()
    kraft_version_feature: KRaftVersionFeature = KRaftVersionFeature()


@message(versions=(0, 0), flexible=0)
class VotersRecord(Struct):
    """The voters of the quorum (kraft.version 1)."""

    version: Int16 = 0
    voters: Array[Voter] = ()


@message(versions=(0, 0), flexible=0)
class KRaftVersionRecord(Struct):
    """The kraft.version the quorum runs."""

    version: Int16 = 0
    kraft_version: Int16 = 0


@message(versions=(0, 0), flexible=0)
class SnapshotHeaderRecord(Struct):
    """First record of a snapshot."""

    version: Int16 = 0
    last_contained_log_timestamp: Int64 = 0


@message(versions=(0, 0), flexible=0)
class SnapshotFooterRecord(Struct):
    """Last record of a snapshot."""

    version: Int16 = 0


@struct
class QuorumStateVoter(Struct):
    """A voter, by id."""

    voter_id: Int32 = 0


@message(versions=(0, 1), flexible=0)
class QuorumState(Struct):
    """The quorum-state file; on disk it is one line of JSON, not these bytes."""

    cluster_id: String = field(default="", until=0)
    leader_id: Int32 = -1
    leader_epoch: Int32 = -1
    voted_id: Int32 = -1
    voted_directory_id: Uuid = field(default=ZERO_UUID, since=1)
    applied_offset: Int64 = field(default=0, until=0)
    current_voters: Array[QuorumStateVoter] | None = field(default=(), until=0)


@message(versions=(0, 0), flexible=None)
class EndTxnMarker(Struct):
    """The value of a commit or abort marker, behind an int16 version."""

    coordinator_epoch: Int32 = 0


@message(versions=(0, 0), flexible=None)
class ControlRecordTypeSchema(Struct):
    """The key of every control record."""

    type: Int16 = 0
