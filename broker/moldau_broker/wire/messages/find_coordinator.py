"""FindCoordinator (key 10): which broker answers for a group or transactional id.

Source: Kafka 4.3 protocol guide; v3 flexible, v4 several keys at once.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int8, Int16, Int32, String, Struct, field, message, struct


@message(key=10, versions=(0, 6), flexible=3)
class FindCoordinatorRequest(Struct):
    """The keys; `key_type` is 0 group, 1 transaction, 2 share group."""

    key: String = field(default="", until=3)
    key_type: Int8 = field(default=0, since=1)
    coordinator_keys: Array[String] = field(default=(), since=4)


@struct
class Coordinator(Struct):
    """The coordinator of one key."""

    key: String = ""
    node_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""


@message(key=10, versions=(0, 6), flexible=3)
class FindCoordinatorResponse(Struct):
    """The coordinators: in the top fields to v3, in `coordinators` after."""

    throttle_time_ms: Int32 = field(default=0, since=1)
    coordinators: Array[Coordinator] = field(default=(), since=4)
    error_code: Int16 = field(default=0, until=3)
    error_message: String | None = field(default="", since=1, until=3)
    node_id: Int32 = field(default=0, until=3)
    host: String = field(default="", until=3)
    port: Int32 = field(default=0, until=3)
