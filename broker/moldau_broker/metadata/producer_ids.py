"""Producer ids: blocks are cut from the metadata log, ids are handed out from a block. Pure.

A block belongs to one incarnation of one broker; what is left of it when the broker stops is never used
again, so an id is unique for the life of the cluster.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.metadata.fencing import check_broker_epoch
from moldau_broker.metadata.operation import Refusal, Result, View
from moldau_broker.wire.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from moldau_broker.wire.messages.metadata_records import ProducerIdsRecord

BLOCK_IDS: Final = 1000
"""Ids of a block, as in Kafka (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`)."""


class ProducerIdBlock:
    """Ids from `next_id` to below `end_id`."""

    __slots__ = ("end_id", "next_id")

    def __init__(self, next_id: int = 0, end_id: int = 0) -> None:
        self.next_id = next_id
        self.end_id = end_id

    def take(self) -> int | None:
        """The next id, None when the block is used up."""
        if self.next_id >= self.end_id:
            return None
        taken = self.next_id
        self.next_id += 1
        return taken


def allocate_producer_ids(view: View, broker_id: int, broker_epoch: int) -> Result[ProducerIdBlock | Refusal]:
    """Cut the next block for this incarnation of a broker."""
    refusal = check_broker_epoch(view.image, broker_id, broker_epoch)
    if refusal is not None:
        return Result(refusal)
    first = view.image.producer_ids
    block = ProducerIdBlock(first, first + BLOCK_IDS)
    record = ProducerIdsRecord(broker_id=broker_id, broker_epoch=broker_epoch, next_producer_id=block.end_id)
    return Result(block, (record,))


def allocate(view: View, request: AllocateProducerIdsRequest) -> Result[AllocateProducerIdsResponse]:
    """AllocateProducerIds."""
    block, written = allocate_producer_ids(view, request.broker_id, request.broker_epoch)
    if isinstance(block, Refusal):
        return Result(AllocateProducerIdsResponse(error_code=block.error))
    return Result(
        AllocateProducerIdsResponse(
            producer_id_start=block.next_id, producer_id_len=block.end_id - block.next_id
        ),
        written,
    )
