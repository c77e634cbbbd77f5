"""DescribeGroups (key 15): state and members of classic groups.

Source: Kafka 4.3 protocol guide; v5 flexible, v6 GROUP_ID_NOT_FOUND.
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


@message(key=15, versions=(0, 6), flexible=5)
class DescribeGroupsRequest(Struct):
    """The groups asked for."""

    groups: Array[String] = ()
    include_authorized_operations: Boolean = field(default=False, since=3)


@struct
class DescribedGroupMember(Struct):
    """One member of a group."""

    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=4)
    client_id: String = ""
    client_host: String = ""
    member_metadata: Bytes = b""
    member_assignment: Bytes = b""


@struct
class DescribedGroup(Struct):
    """One group."""

    error_code: Int16 = 0
    error_message: String | None = field(default=None, since=6)
    group_id: String = ""
    group_state: String = ""
    protocol_type: String = ""
    protocol_data: String = ""
    members: Array[DescribedGroupMember] = ()
    authorized_operations: Int32 = field(default=-(2**31), since=3)


@message(key=15, versions=(0, 6), flexible=5)
class DescribeGroupsResponse(Struct):
    """The groups."""

    throttle_time_ms: Int32 = field(default=0, since=1)
    groups: Array[DescribedGroup] = ()
