"""What consumers say to each other through their group, behind an int16 version.

The broker keeps these bytes opaque but for reading a subscription's topics (Kafka does the same for its
metrics and for offset expiry). Source: Kafka 4.3, KIP-429 (owned partitions), KIP-881 (rack).
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Bytes, Int32, String, Struct, field, message, struct


@struct
class TopicPartition(Struct):
    """Partitions of one topic."""

    topic: String = ""
    partitions: Array[Int32] = ()


@message(versions=(0, 3), flexible=None)
class ConsumerProtocolSubscription(Struct):
    """The topics a member wants, and the partitions it holds."""

    topics: Array[String] = ()
    user_data: Bytes | None = None
    owned_partitions: Array[TopicPartition] = field(default=(), since=1)
    generation_id: Int32 = field(default=-1, since=2)
    rack_id: String | None = field(default=None, since=3)


@message(versions=(0, 3), flexible=None)
class ConsumerProtocolAssignment(Struct):
    """The partitions a member shall read."""

    assigned_partitions: Array[TopicPartition] = ()
    user_data: Bytes | None = None
