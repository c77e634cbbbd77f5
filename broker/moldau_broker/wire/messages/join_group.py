"""JoinGroup (key 11): enter a classic group and wait for its next generation.

Source: Kafka 4.3 protocol guide; v4 gives new members an id first, v5 static members (KIP-345), v6
flexible, v9 skip-assignment.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    Array,
    Boolean,
    Bytes,
    Int16,
    Int32,
    String,
    Struct,
    field,
    message,
    struct,
)


@struct
class JoinGroupRequestProtocol(Struct):
    """One assignor the member speaks, with its subscription as opaque bytes."""

    name: String = ""
    metadata: Bytes = b""


@message(key=11, versions=(0, 9), flexible=6)
class JoinGroupRequest(Struct):
    """A member, its subscription under each protocol it speaks."""

    group_id: String = ""
    session_timeout_ms: Int32 = 0
    rebalance_timeout_ms: Int32 = field(default=-1, since=1)
    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=5)
    protocol_type: String = ""
    protocols: Array[JoinGroupRequestProtocol] = ()
    reason: String | None = field(default=None, since=8)


@struct
class JoinGroupResponseMember(Struct):
    """One member with the subscription that the chosen protocol reads."""

    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=5)
    metadata: Bytes = b""


@message(key=11, versions=(0, 9), flexible=6)
class JoinGroupResponse(Struct):
    """The generation; the leader alone learns its members."""

    throttle_time_ms: Int32 = field(default=0, since=2)
    error_code: Int16 = 0
    generation_id: Int32 = -1
    protocol_type: String | None = field(default=None, since=7)
    protocol_name: String | None = field(default="", nullable_since=7)
    leader: String = ""
    skip_assignment: Boolean = field(default=False, since=9)
    member_id: String = ""
    members: Array[JoinGroupResponseMember] = ()
