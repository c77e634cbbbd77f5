"""OffsetCommit: served 2-10.

Behaviour: offsets of partitions that exist are stored with their topic's id and answered once they are durable; the
rest get UNKNOWN_TOPIC_OR_PARTITION. Version notes: v2-4 may choose an own retention; v6 leader epoch; v7 static
members; v10 names topics by id, and one that is not known gets UNKNOWN_TOPIC_ID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.coordinator.replies import mapped
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.broker import Broker

_TOPIC_IDS_SINCE = 10


def handle(
    broker: Broker, context: RequestContext, request: OffsetCommitRequest
) -> OffsetCommitResponse | Deferred[OffsetCommitResponse]:
    """Commit what exists; the answer keeps the request's order."""
    version = context.api_version
    image = broker.metadata.image
    known = [_known(image, topic, by_id=version >= _TOPIC_IDS_SINCE) for topic in request.topics]
    wanted = [topic for topic, _ in known if topic is not None and topic.partitions]
    if not wanted:
        return _merged(request, known, OffsetCommitResponse())
    answer = broker.groups.commit_offsets(replace(request, topics=wanted), version)
    if isinstance(answer, Deferred):
        return mapped(answer, lambda response: _merged(request, known, response))
    return _merged(request, known, answer)


_Known = tuple[OffsetCommitRequestTopic | None, ErrorCode]


def _known(image: MetadataImage, topic: OffsetCommitRequestTopic, *, by_id: bool) -> _Known:
    """The topic with name, id and the partitions that exist; or None and what all its partitions get."""
    found = image.topics_by_id.get(Uuid(topic.topic_id)) if by_id else image.topics.get(topic.name)
    if found is None:
        return None, ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    partitions = [
        partition for partition in topic.partitions if 0 <= partition.partition_index < len(found.partitions)
    ]
    return (
        OffsetCommitRequestTopic(topic_id=found.topic_id, name=found.name, partitions=partitions),
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    )


def _merged(
    request: OffsetCommitRequest, known: list[_Known], response: OffsetCommitResponse
) -> OffsetCommitResponse:
    """The coordinator's results, with an error for every partition that never reached it."""
    answered = iter(response.topics)
    topics = []
    for topic, (wanted, error) in zip(request.topics, known, strict=True):
        results: dict[int, int] = {}
        if wanted is not None and wanted.partitions:
            results = {done.partition_index: done.error_code for done in next(answered).partitions}
        topics.append(
            OffsetCommitResponseTopic(
                topic_id=topic.topic_id,
                name=topic.name,
                partitions=[
                    OffsetCommitResponsePartition(
                        partition_index=partition.partition_index,
                        error_code=results.get(partition.partition_index, error),
                    )
                    for partition in topic.partitions
                ],
            )
        )
    return OffsetCommitResponse(topics=topics)


HANDLER = Handler(api=ApiKey.OFFSET_COMMIT, versions=(2, 10), handle=handle)
