"""The records of `__consumer_offsets`.

A key is an int16 that says which record this is, then the key's body; a value is an int16 version, then the
body (`coordinator_framing`). A null value is a tombstone. Source: Kafka 4.3 group coordinator.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Bytes,
    Int32,
    Int64,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@message(key=2, versions=(0, 0), flexible=None)
class GroupMetadataKey(Struct):
    """Key of a classic group's state."""

    group: String = ""


@struct
class MemberMetadata(Struct):
    """One member with its subscription and assignment."""

    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=3)
    client_id: String = ""
    client_host: String = ""
    rebalance_timeout: Int32 = field(default=-1, since=1)
    session_timeout: Int32 = 0
    subscription: Bytes = b""
    assignment: Bytes = b""


@message(key=2, versions=(0, 4), flexible=4)
class GroupMetadataValue(Struct):
    """A classic group: generation, protocol, leader and members."""

    protocol_type: String = ""
    generation: Int32 = 0
    protocol: String | None = ""
    leader: String | None = ""
    current_state_timestamp: Int64 = field(default=-1, since=2)
    members: Array[MemberMetadata] = ()


@message(key=1, versions=(0, 0), flexible=None)
class OffsetCommitKey(Struct):
    """Key of one committed offset."""

    group: String = ""
    topic: String = ""
    partition: Int32 = 0


@message(key=1, versions=(0, 4), flexible=4)
class OffsetCommitValue(Struct):
    """One committed offset."""

    offset: Int64 = 0
    leader_epoch: Int32 = field(default=-1, since=3)
    metadata: String = ""
    commit_timestamp: Int64 = 0
    expire_timestamp: Int64 = field(default=-1, since=1, until=1)
    topic_id: Uuid = field(default=ZERO_UUID, since=4, tag=0)


@message(key=0, versions=(0, 0), flexible=None)
class LegacyOffsetCommitKey(Struct):
    """Key of one committed offset, as very old brokers wrote it; read only."""

    group: String = ""
    topic: String = ""
    partition: Int32 = 0


@message(key=0, versions=(0, 0), flexible=None)
class LegacyOffsetCommitValue(Struct):
    """One committed offset, as very old brokers wrote it; read only."""

    offset: Int64 = 0
    metadata: String = ""
    commit_timestamp: Int64 = 0
