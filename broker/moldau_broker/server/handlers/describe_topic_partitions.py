"""DescribeTopicPartitions: served 0.

Behaviour: topics by name in ascending order, each once, with their eligible leader replicas; no names are
all topics. A page ends after response_partition_limit partitions (at least 1, at most
max.request.partition.size.limit) and `next_cursor` says where the next one begins (KIP-966). A cursor's
topic may have been deleted meanwhile: among all topics the page then begins with the next one, among named
topics it is INVALID_REQUEST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topics import INTERNAL_TOPICS
from moldau_broker.metadata.image import TopicImage
from moldau_broker.metadata.topic_names import name_problem
from moldau_broker.metadata.views import ListenerView
from moldau_broker.server.handlers.authorized import ALL_TOPIC_OPERATIONS
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DescribeTopicPartitionsRequest
) -> DescribeTopicPartitionsResponse:
    """One page."""
    view = broker.metadata.view(context.listener)
    named = {topic.name for topic in request.topics}
    cursor = request.cursor
    if cursor is not None and (cursor.partition_index < 0 or (named and cursor.topic_name not in named)):
        return DescribeTopicPartitionsResponse(
            topics=[
                DescribeTopicPartitionsResponseTopic(error_code=ErrorCode.INVALID_REQUEST, name=name)
                for name in sorted(named)
            ]
        )
    limit = min(max(request.response_partition_limit, 1), broker.settings.topics.partitions_per_answer_max)
    return _page(view, sorted(named or view.image.topics), limit, cursor)


def _page(
    view: ListenerView, names: list[str], limit: int, cursor: Cursor | None
) -> DescribeTopicPartitionsResponse:
    described: list[DescribeTopicPartitionsResponseTopic] = []
    room = limit
    for name in names:
        first = 0
        if cursor is not None:
            if name < cursor.topic_name:
                continue
            if name == cursor.topic_name:
                first = cursor.partition_index
        if room == 0:
            return DescribeTopicPartitionsResponse(
                topics=described, next_cursor=Cursor(topic_name=name, partition_index=first)
            )
        topic = view.image.topics.get(name)
        if topic is None:
            described.append(_unknown(name))
            continue
        last = min(len(topic.partitions), first + room)
        described.append(_topic(view, topic, first, last))
        room -= max(last - first, 0)
        if last < len(topic.partitions):
            return DescribeTopicPartitionsResponse(
                topics=described, next_cursor=Cursor(topic_name=name, partition_index=last)
            )
    return DescribeTopicPartitionsResponse(topics=described)


def _unknown(name: str) -> DescribeTopicPartitionsResponseTopic:
    bad = name_problem(name) is not None
    return DescribeTopicPartitionsResponseTopic(
        error_code=ErrorCode.INVALID_TOPIC_EXCEPTION if bad else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        name=name,
        is_internal=name in INTERNAL_TOPICS,
        topic_authorized_operations=ALL_TOPIC_OPERATIONS,
    )


def _topic(
    view: ListenerView, topic: TopicImage, first: int, last: int
) -> DescribeTopicPartitionsResponseTopic:
    partitions = []
    for index in range(first, last):
        partition = topic.partitions[index]
        error, leader, offline = view.reach(partition)
        partitions.append(
            DescribeTopicPartitionsResponsePartition(
                error_code=error,
                partition_index=index,
                leader_id=leader,
                leader_epoch=partition.leader_epoch,
                replica_nodes=partition.replicas,
                isr_nodes=partition.isr,
                eligible_leader_replicas=partition.elr,
                last_known_elr=partition.last_known_elr,
                offline_replicas=offline,
            )
        )
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name in INTERNAL_TOPICS,
        partitions=partitions,
        topic_authorized_operations=ALL_TOPIC_OPERATIONS,
    )


HANDLER = Handler(api=ApiKey.DESCRIBE_TOPIC_PARTITIONS, versions=(0, 0), handle=handle)
