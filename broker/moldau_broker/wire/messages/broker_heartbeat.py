"""BrokerHeartbeat (key 63): a broker is alive; learns whether it is fenced.

Source: Kafka 4.3 protocol guide; KIP-631; v1 offline directories, v2 cordoned directories.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Boolean, Int16, Int32, Int64, Struct, Uuid, field, message


@message(key=63, versions=(0, 2), flexible=0)
class BrokerHeartbeatRequest(Struct):
    """How far the broker has read the metadata, and what it wants."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = -1
    current_metadata_offset: Int64 = 0
    want_fence: Boolean = False
    want_shut_down: Boolean = False
    offline_log_dirs: Array[Uuid] = field(default=(), since=1, tag=0)
    cordoned_log_dirs: Array[Uuid] | None = field(default=None, since=2, tag=1)


@message(key=63, versions=(0, 2), flexible=0)
class BrokerHeartbeatResponse(Struct):
    """What the controller makes of it."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    is_caught_up: Boolean = False
    is_fenced: Boolean = True
    should_shut_down: Boolean = False
