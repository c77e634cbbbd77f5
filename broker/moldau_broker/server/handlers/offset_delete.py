"""OffsetDelete: served 0 (KIP-496).

Behaviour: forgets committed offsets of topics nobody in the group reads; GROUP_SUBSCRIBED_TO_TOPIC and
UNKNOWN_TOPIC_OR_PARTITION are per partition, an error of the group stands alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.replies import mapped
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: OffsetDeleteRequest
) -> OffsetDeleteResponse | Deferred[OffsetDeleteResponse]:
    """Delete what exists; the answer keeps the request's order."""
    image = broker.metadata.image
    known = [
        replace(
            topic,
            partitions=[
                partition
                for partition in topic.partitions
                if image.partition(topic.name, partition.partition_index) is not None
            ],
        )
        for topic in request.topics
    ]
    answer = broker.groups.delete_offsets(replace(request, topics=known))
    if isinstance(answer, Deferred):
        return mapped(answer, lambda response: _merged(request, response))
    return _merged(request, answer)


def _merged(request: OffsetDeleteRequest, response: OffsetDeleteResponse) -> OffsetDeleteResponse:
    if response.error_code:
        return response
    topics = []
    for asked, answered in zip(request.topics, response.topics, strict=True):
        results = {done.partition_index: done.error_code for done in answered.partitions}
        topics.append(
            OffsetDeleteResponseTopic(
                name=asked.name,
                partitions=[
                    OffsetDeleteResponsePartition(
                        partition_index=partition.partition_index,
                        error_code=results.get(
                            partition.partition_index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                        ),
                    )
                    for partition in asked.partitions
                ],
            )
        )
    return OffsetDeleteResponse(topics=topics)


HANDLER = Handler(api=ApiKey.OFFSET_DELETE, versions=(0, 0), handle=handle)
