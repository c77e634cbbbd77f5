"""AllocateProducerIds (key 67): a block of producer ids for a broker.

Source: Kafka 4.3 protocol guide; KIP-730.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Int16, Int32, Int64, Struct, message


@message(key=67, versions=(0, 0), flexible=0)
class AllocateProducerIdsRequest(Struct):
    """The broker and its epoch."""

    broker_id: Int32 = 0
    broker_epoch: Int64 = -1


@message(key=67, versions=(0, 0), flexible=0)
class AllocateProducerIdsResponse(Struct):
    """The first id of the block and its length."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    producer_id_start: Int64 = 0
    producer_id_len: Int32 = 0
