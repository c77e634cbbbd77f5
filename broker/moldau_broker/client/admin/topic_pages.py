"""Topics page by page: to decode all partitions of a large cluster at once would hold the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from moldau_broker.client.cluster import Cluster
from moldau_broker.client.metadata import TopicInfo, read_topic
from moldau_broker.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    TopicRequest,
)

PAGE: Final = 1_000
"""Partitions of a page: decoding them takes some milliseconds."""


async def topic_pages(
    cluster: Cluster, names: Iterable[str] | None = None, *, partitions: int = PAGE
) -> AsyncIterator[list[TopicInfo]]:
    """These topics (None: all of them) by name, so many partitions at a time.

    A topic of more partitions than a page has left goes on in the next page, under its name. Each page is the cluster
    as it is then; what is made or deleted meanwhile may be missing.

    Raises:
        VersionUnsupported: the broker is older than Kafka 3.8 and knows no pages.
        ClientError: another page could not be had.
    """
    wanted = [] if names is None else [TopicRequest(name=name) for name in names]
    cursor: Cursor | None = None
    while names is None or wanted:
        request = DescribeTopicPartitionsRequest(
            topics=wanted, response_partition_limit=partitions, cursor=cursor
        )
        answer = await cluster.ask_patiently(request, DescribeTopicPartitionsResponse)
        yield [read_topic(topic) for topic in answer.topics if topic.name is not None]
        cursor = answer.next_cursor
        if cursor is None:
            return
