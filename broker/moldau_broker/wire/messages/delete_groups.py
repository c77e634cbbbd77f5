"""DeleteGroups (key 42): forget empty groups and their offsets.

Source: Kafka 4.3 protocol guide; v2 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, String, Struct, message, struct


@message(key=42, versions=(0, 2), flexible=2)
class DeleteGroupsRequest(Struct):
    """The groups to forget."""

    groups_names: Array[String] = ()


@struct
class DeletableGroupResult(Struct):
    """Whether one group was forgotten."""

    group_id: String = ""
    error_code: Int16 = 0


@message(key=42, versions=(0, 2), flexible=2)
class DeleteGroupsResponse(Struct):
    """What was forgotten."""

    throttle_time_ms: Int32 = 0
    results: Array[DeletableGroupResult] = ()
