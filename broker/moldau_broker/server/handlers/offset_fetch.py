"""OffsetFetch: served 1-10.

Behaviour: committed offsets; -1 without an error where there is none, also for a group nobody knows. Version notes:
v1 has no error above the partitions; v2 null topics mean all; v7 `require_stable` (KIP-447); v8 several groups, each
with its error; v10 names topics by id, and one that is not known gets UNKNOWN_TOPIC_ID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.coordinator.offsets import NO_OFFSET
from moldau_broker.coordinator.replies import gathered, mapped
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.metadata.image import MetadataImage
    from moldau_broker.server.broker import Broker

_GROUP_ERROR_SINCE = 2
_GROUPS_SINCE = 8
_TOPIC_IDS_SINCE = 10


def handle(
    broker: Broker, context: RequestContext, request: OffsetFetchRequest
) -> Deferred[OffsetFetchResponse]:
    """Ask for each group; v1-7 is the same for one group, told in another form."""
    version = context.api_version
    if version >= _GROUPS_SINCE:
        replies = [
            _fetch(broker, asked, version, require_stable=request.require_stable) for asked in request.groups
        ]
        return mapped(gathered(replies), lambda groups: OffsetFetchResponse(groups=groups))
    topics = None
    if request.topics is not None:
        topics = [
            OffsetFetchRequestTopics(name=topic.name, partition_indexes=topic.partition_indexes)
            for topic in request.topics
        ]
    asked = OffsetFetchRequestGroup(group_id=request.group_id, topics=topics)
    reply = _fetch(broker, asked, version, require_stable=request.require_stable)
    return mapped(reply, lambda group: _single(asked, group, version))


def _fetch(
    broker: Broker, asked: OffsetFetchRequestGroup, version: int, *, require_stable: bool
) -> Deferred[OffsetFetchResponseGroup]:
    if version < _TOPIC_IDS_SINCE:
        return broker.groups.fetch_offsets(asked, require_stable=require_stable)
    image = broker.metadata.image
    if asked.topics is None:
        return mapped(
            broker.groups.fetch_offsets(asked, require_stable=require_stable),
            lambda group: _with_ids(image, group),
        )
    named = [_named(image, topic) for topic in asked.topics]
    known = [topic for topic in named if topic.name]
    unknown = [_unknown(topic) for topic in named if not topic.name]
    return mapped(
        broker.groups.fetch_offsets(replace(asked, topics=known), require_stable=require_stable),
        lambda group: group if group.error_code else replace(group, topics=[*group.topics, *unknown]),
    )


def _named(image: MetadataImage, topic: OffsetFetchRequestTopics) -> OffsetFetchRequestTopics:
    found = image.topics_by_id.get(Uuid(topic.topic_id))
    return replace(topic, name=found.name if found is not None else "")


def _unknown(topic: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics:
    return OffsetFetchResponseTopics(
        topic_id=topic.topic_id,
        partitions=[
            OffsetFetchResponsePartitions(
                partition_index=index, committed_offset=NO_OFFSET, error_code=ErrorCode.UNKNOWN_TOPIC_ID
            )
            for index in topic.partition_indexes
        ],
    )


def _with_ids(image: MetadataImage, group: OffsetFetchResponseGroup) -> OffsetFetchResponseGroup:
    """All topics of a group, by id; what has no id any more cannot be told."""
    topics = []
    for topic in group.topics:
        found = image.topics.get(topic.name)
        if found is not None and found.topic_id != NULL_UUID:
            topics.append(replace(topic, topic_id=found.topic_id))
    return replace(group, topics=topics)


def _single(
    asked: OffsetFetchRequestGroup, group: OffsetFetchResponseGroup, version: int
) -> OffsetFetchResponse:
    """The form of v1-7; v1 has nowhere to say an error but at each partition."""
    if group.error_code and version < _GROUP_ERROR_SINCE:
        return OffsetFetchResponse(
            topics=[
                OffsetFetchResponseTopic(
                    name=topic.name,
                    partitions=[
                        OffsetFetchResponsePartition(
                            partition_index=index, committed_offset=NO_OFFSET, error_code=group.error_code
                        )
                        for index in topic.partition_indexes
                    ],
                )
                for topic in asked.topics or ()
            ]
        )
    return OffsetFetchResponse(
        error_code=group.error_code,
        topics=[
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetFetchResponsePartition(
                        partition_index=found.partition_index,
                        committed_offset=found.committed_offset,
                        committed_leader_epoch=found.committed_leader_epoch,
                        metadata=found.metadata,
                        error_code=found.error_code,
                    )
                    for found in topic.partitions
                ],
            )
            for topic in group.topics
        ],
    )


HANDLER = Handler(api=ApiKey.OFFSET_FETCH, versions=(1, 10), handle=handle)
