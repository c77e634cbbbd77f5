"""LeaveGroup (key 13): members leave a classic group at once.

Source: Kafka 4.3 protocol guide; v3 several members by instance id, v4 flexible, v5 reasons (KIP-800).
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, String, Struct, field, message, struct


@struct
class MemberIdentity(Struct):
    """One leaving member."""

    member_id: String = ""
    group_instance_id: String | None = None
    reason: String | None = field(default=None, since=5)


@message(key=13, versions=(0, 5), flexible=4)
class LeaveGroupRequest(Struct):
    """Who leaves: one member id to v2, a list after."""

    group_id: String = ""
    members: Array[MemberIdentity] = field(default=(), since=3)
    member_id: String = field(default="", until=2)


@struct
class MemberResponse(Struct):
    """Whether one member has left."""

    member_id: String = ""
    group_instance_id: String | None = ""
    error_code: Int16 = 0


@message(key=13, versions=(0, 5), flexible=4)
class LeaveGroupResponse(Struct):
    """Whether they have left."""

    throttle_time_ms: Int32 = field(default=0, since=1)
    error_code: Int16 = 0
    members: Array[MemberResponse] = field(default=(), since=3)
