"""InitProducerId (key 22): an id and epoch for an idempotent or transactional producer.

Source: Kafka 4.3 protocol guide; v2 flexible, v3 epoch bump by the client; v6 is not stable and not served.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Boolean, Int16, Int32, Int64, String, Struct, field, message


@message(key=22, versions=(0, 6), flexible=2)
class InitProducerIdRequest(Struct):
    """A transactional id, or null for a merely idempotent producer."""

    transactional_id: String | None = ""
    transaction_timeout_ms: Int32 = 0
    producer_id: Int64 = field(default=-1, since=3)
    producer_epoch: Int16 = field(default=-1, since=3)
    enable2_pc: Boolean = field(default=False, since=6)
    keep_prepared_txn: Boolean = field(default=False, since=6)


@message(key=22, versions=(0, 6), flexible=2)
class InitProducerIdResponse(Struct):
    """The producer id and epoch."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    producer_id: Int64 = -1
    producer_epoch: Int16 = 0
    ongoing_txn_producer_id: Int64 = field(default=-1, since=6)
    ongoing_txn_producer_epoch: Int16 = field(default=-1, since=6)
