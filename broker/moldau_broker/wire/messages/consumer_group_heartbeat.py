"""ConsumerGroupHeartbeat (key 68): joining, staying in and leaving a group of the newer protocol (KIP-848).

Source: Kafka 4.3 protocol guide; v1 adds subscriptions by regular expression and ids made by the client.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int16, Int32, String, Struct, Uuid, field, message, struct


@struct
class TopicPartitions(Struct):
    """Partitions of one topic."""

    topic_id: Uuid = bytes(16)
    partitions: Array[Int32] = ()


@message(key=68, versions=(0, 1), flexible=0)
class ConsumerGroupHeartbeatRequest(Struct):
    """A member's state; null where nothing changed since its last heartbeat."""

    group_id: String = ""
    member_id: String = ""
    member_epoch: Int32 = 0
    instance_id: String | None = None
    rack_id: String | None = None
    rebalance_timeout_ms: Int32 = -1
    subscribed_topic_names: Array[String] | None = None
    subscribed_topic_regex: String | None = field(default=None, since=1)
    server_assignor: String | None = None
    topic_partitions: Array[TopicPartitions] | None = None


@struct
class Assignment(Struct):
    """What a member may hold."""

    topic_partitions: Array[TopicPartitions] = ()


@message(key=68, versions=(0, 1), flexible=0)
class ConsumerGroupHeartbeatResponse(Struct):
    """The member's epoch and, where it changed, its assignment."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = None
    member_id: String | None = None
    member_epoch: Int32 = 0
    heartbeat_interval_ms: Int32 = 0
    assignment: Assignment | None = None
