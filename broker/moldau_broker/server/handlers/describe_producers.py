"""DescribeProducers: served 0 (KIP-664).

Behaviour: the producers a partition remembers, with epoch, last sequence and last timestamp; no transaction can
be open, so its start offset is always -1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DescribeProducersRequest
) -> DescribeProducersResponse:
    """List the active producers of every partition asked for."""
    del context
    return DescribeProducersResponse(
        topics=[
            TopicResponse(
                name=topic.name,
                partitions=[_describe(broker, topic.name, index) for index in topic.partition_indexes],
            )
            for topic in request.topics
        ]
    )


def _describe(broker: Broker, topic: str, index: int) -> PartitionResponse:
    partition = broker.replicas.partition(topic, index)
    if partition is None:
        return PartitionResponse(
            partition_index=index, error_code=broker.replicas.missing_error(topic, index)
        )
    error = partition.leadership_error(-1)
    if error is not ErrorCode.NONE:
        return PartitionResponse(partition_index=index, error_code=error)
    return PartitionResponse(
        partition_index=index,
        active_producers=[
            ProducerState(
                producer_id=entry.producer_id,
                producer_epoch=entry.epoch,
                last_sequence=entry.last_sequence,
                last_timestamp=entry.last_timestamp,
                coordinator_epoch=entry.coordinator_epoch,
                current_txn_start_offset=-1,
            )
            for entry in partition.log.producers
        ],
    )


HANDLER = Handler(api=ApiKey.DESCRIBE_PRODUCERS, versions=(0, 0), handle=handle)
