"""UpdateRaftVoter (key 82): a voter has new endpoints or runs new versions.

Source: Kafka 4.3 protocol guide; KIP-853.
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
class Listener(Struct):
    """One listener of the voter."""

    name: String = ""
    host: String = ""
    port: UInt16 = 0


@struct
class KRaftVersionFeature(Struct):
    """The kraft.version levels it can run."""

    min_supported_version: Int16 = 0
    max_supported_version: Int16 = 0


@message(key=82, versions=(0, 0), flexible=0)
class UpdateRaftVoterRequest(Struct):
    """The voter as it is now."""

    cluster_id: String | None = ""
    current_leader_epoch: Int32 = 0
    voter_id: Int32 = 0
    voter_directory_id: Uuid = ZERO_UUID
    listeners: Array[Listener] = ()
    kraft_version_feature: KRaftVersionFeature = KRaftVersionFeature()


@struct
class CurrentLeader(Struct):
    """The leader to turn to instead."""

    leader_id: Int32 = -1
    leader_epoch: Int32 = -1
    host: String = ""
    port: Int32 = 0


@message(key=82, versions=(0, 0), flexible=0)
class UpdateRaftVoterResponse(Struct):
    """Whether it is noted."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    current_leader: CurrentLeader = field(default=CurrentLeader(), tag=0)
