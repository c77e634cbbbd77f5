"""The brokers themselves: who is there, and what lies on their disks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, raise_for
from moldau_broker.client.metadata import Node
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from moldau_broker.wire.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """The cluster's id, its controller as announced, and the live brokers by id."""

    cluster_id: str
    controller: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ReplicaOnDisk:
    """One replica in a log directory. `lag` counts records behind; `future` is a copy being moved in."""

    size_bytes: int
    lag: int
    future: bool


@dataclass(frozen=True, slots=True)
class LogDirectory:
    """One log directory. The disk's bytes are -1 where the broker does not say."""

    path: str
    total_bytes: int
    usable_bytes: int
    replicas: dict[TopicPartition, ReplicaOnDisk]
    error: ClientError | None


async def describe_cluster(cluster: Cluster) -> ClusterDescription:
    """Who is in the cluster now."""

    async def ask() -> ClusterDescription:
        answer = await cluster.ask(DescribeClusterRequest(), DescribeClusterResponse)
        raise_for(answer.error_code, "the cluster", answer.error_message)
        nodes = sorted(
            (Node(b.broker_id, b.host, b.port, b.rack) for b in answer.brokers), key=lambda n: n.id
        )
        return ClusterDescription(answer.cluster_id, answer.controller_id, tuple(nodes))

    return await cluster.retry(ask)


async def describe_log_dirs(
    cluster: Cluster,
    nodes: Iterable[int] | None = None,
    topics: dict[str, list[int]] | None = None,
) -> dict[int, list[LogDirectory] | ClientError]:
    """The log directories of these brokers (None: all), one attempt each.

    Args:
        cluster: whom to ask.
        nodes: broker ids.
        topics: only the replicas of these partitions; None is all there are.
    """
    request = DescribeLogDirsRequest(
        topics=None
        if topics is None
        else [
            DescribableLogDirTopic(topic=name, partitions=partitions) for name, partitions in topics.items()
        ]
    )

    async def ask(node: int) -> list[LogDirectory] | ClientError:
        try:
            answer = await cluster.ask(request, DescribeLogDirsResponse, node=node)
            raise_for(answer.error_code, f"the log directories of broker {node}")
        except ClientError as error:
            return error
        return [
            LogDirectory(
                path=result.log_dir,
                total_bytes=result.total_bytes,
                usable_bytes=result.usable_bytes,
                replicas={
                    TopicPartition(topic.name, p.partition_index): ReplicaOnDisk(
                        p.partition_size, p.offset_lag, p.is_future_key
                    )
                    for topic in result.topics
                    for p in topic.partitions
                },
                error=outcome(result.error_code, f"log directory {result.log_dir} of broker {node}"),
            )
            for result in answer.results
        ]

    ids = sorted(cluster.metadata.nodes) if nodes is None else sorted(set(nodes))
    return dict(zip(ids, await asyncio.gather(*map(ask, ids)), strict=True))
