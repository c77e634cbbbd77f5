"""DeleteTopics (key 20): delete topics by name or id.

Source: Kafka 4.3 protocol guide; v4 flexible, v6 topic ids.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    ZERO_UUID,
    Array,
    Int16,
    Int32,
    String,
    Struct,
    Uuid,
    field,
    message,
    struct,
)


@struct
class DeleteTopicState(Struct):
    """One topic, by name or by id."""

    name: String | None = None
    topic_id: Uuid = ZERO_UUID


@message(key=20, versions=(1, 6), flexible=4)
class DeleteTopicsRequest(Struct):
    """The topics: names to v5, `topics` after."""

    topics: Array[DeleteTopicState] = field(default=(), since=6)
    topic_names: Array[String] = field(default=(), until=5)
    timeout_ms: Int32 = 0


@struct
class DeletableTopicResult(Struct):
    """Whether one topic was deleted."""

    name: String | None = field(default="", nullable_since=6)
    topic_id: Uuid = field(default=ZERO_UUID, since=6)
    error_code: Int16 = 0
    error_message: String | None = field(default=None, since=5)


@message(key=20, versions=(1, 6), flexible=4)
class DeleteTopicsResponse(Struct):
    """What was deleted."""

    throttle_time_ms: Int32 = 0
    responses: Array[DeletableTopicResult] = ()
