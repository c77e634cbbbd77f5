"""AddRaftVoter (key 80): a new voter for the metadata quorum.

Source: Kafka 4.3 protocol guide; KIP-853.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Boolean,
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


@message(key=80, versions=(0, 1), flexible=0)
class AddRaftVoterRequest(Struct):
    """The new voter."""

    cluster_id: String | None = ""
    timeout_ms: Int32 = 0
    voter_id: Int32 = 0
    voter_directory_id: Uuid = ZERO_UUID
    listeners: Array[Listener] = ()
    ack_when_committed: Boolean = field(default=True, since=1)


@message(key=80, versions=(0, 1), flexible=0)
class AddRaftVoterResponse(Struct):
    """Whether it votes now."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""
