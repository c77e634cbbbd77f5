"""ListGroups (key 16): the groups this broker coordinates.

Source: Kafka 4.3 protocol guide; v3 flexible, v4 state filter (KIP-518), v5 type filter.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, String, Struct, field, message, struct


@message(key=16, versions=(0, 5), flexible=3)
class ListGroupsRequest(Struct):
    """The states and types wanted; empty is all."""

    states_filter: Array[String] = field(default=(), since=4)
    types_filter: Array[String] = field(default=(), since=5)


@struct
class ListedGroup(Struct):
    """One group."""

    group_id: String = ""
    protocol_type: String = ""
    group_state: String = field(default="", since=4)
    group_type: String = field(default="", since=5)


@message(key=16, versions=(0, 5), flexible=3)
class ListGroupsResponse(Struct):
    """The groups."""

    throttle_time_ms: Int32 = field(default=0, since=1)
    error_code: Int16 = 0
    groups: Array[ListedGroup] = ()
