"""RemoveRaftVoter (key 81): a voter leaves the metadata quorum.

Source: Kafka 4.3 protocol guide; KIP-853.
"""

from __future__ import annotations

from moldau_broker.wire.schema import ZERO_UUID, Int16, Int32, String, Struct, Uuid, message


@message(key=81, versions=(0, 0), flexible=0)
class RemoveRaftVoterRequest(Struct):
    """The voter."""

    cluster_id: String | None = ""
    voter_id: Int32 = 0
    voter_directory_id: Uuid = ZERO_UUID


@message(key=81, versions=(0, 0), flexible=0)
class RemoveRaftVoterResponse(Struct):
    """Whether it is gone."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""
