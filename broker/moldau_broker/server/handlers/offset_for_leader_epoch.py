"""OffsetForLeaderEpoch: served 2-4.

Behaviour: where the log ends the largest epoch not above the one asked for (KIP-101, KIP-279); (-1, -1) where
there is none. Version notes: v2 fencing by current leader epoch (KIP-320), v3 replica id, v4 flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: OffsetForLeaderEpochRequest
) -> OffsetForLeaderEpochResponse:
    """Look every partition's epoch up."""
    del context
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=[_answer(broker, topic.topic, asked) for asked in topic.partitions],
            )
            for topic in request.topics
        ]
    )


def _answer(broker: Broker, topic: str, asked: OffsetForLeaderPartition) -> EpochEndOffset:
    partition = broker.replicas.partition(topic, asked.partition)
    if partition is None:
        missing = broker.replicas.missing_error(topic, asked.partition)
        return EpochEndOffset(error_code=missing, partition=asked.partition)
    error = partition.leadership_error(asked.current_leader_epoch)
    if error is not ErrorCode.NONE:
        return EpochEndOffset(error_code=error, partition=asked.partition)
    epoch, end_offset = partition.log.end_offset_for(asked.leader_epoch)
    return EpochEndOffset(partition=asked.partition, leader_epoch=epoch, end_offset=end_offset)


HANDLER = Handler(api=ApiKey.OFFSET_FOR_LEADER_EPOCH, versions=(2, 4), handle=handle)
