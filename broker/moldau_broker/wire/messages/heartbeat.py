"""Heartbeat (key 12): a classic member is alive; learns of a rebalance.

Source: Kafka 4.3 protocol guide; v3 static members, v4 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Int16, Int32, String, Struct, field, message


@message(key=12, versions=(0, 4), flexible=4)
class HeartbeatRequest(Struct):
    """Who is alive, in which generation."""

    group_id: String = ""
    generation_id: Int32 = 0
    member_id: String = ""
    group_instance_id: String | None = field(default=None, since=3)


@message(key=12, versions=(0, 4), flexible=4)
class HeartbeatResponse(Struct):
    """REBALANCE_IN_PROGRESS says: join again."""

    throttle_time_ms: Int32 = field(default=0, since=1)
    error_code: Int16 = 0
