"""SyncGroup (key 14): the leader hands in the assignment, everyone gets a share of it.

Source: Kafka 4.3 protocol guide; v3 static members, v4 flexible, v5 names the protocol.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Bytes, Int16, Int32, String, Struct, field, message, struct


@struct
class SyncGroupRequestAssignment(Struct):
    """What one member shall read, as opaque bytes."""

    member_id: String = ""
    assignment: Bytes = b""


@message(key=14, versions=(0, 5), flexible=4)
class SyncGroupRequest(Struct):
    """The assignments from the leader; nothing from the others."""

    group_id: String = ""
    generation_id: Int32 = 0
    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=3)
    protocol_type: String | None = field(default=None, since=5)
    protocol_name: String | None = field(default=None, since=5)
    assignments: Array[SyncGroupRequestAssignment] = ()


@message(key=14, versions=(0, 5), flexible=4)
class SyncGroupResponse(Struct):
    """What this member shall read."""

    throttle_time_ms: Int32 = field(default=0, since=1)
    error_code: Int16 = 0
    protocol_type: String | None = field(default=None, since=5)
    protocol_name: String | None = field(default=None, since=5)
    assignment: Bytes = b""
