"""The brokers themselves: who is there, and what lies on their disks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """The cluster's id, its controller as announced, and the live brokers by id."""

    cluster_id: str
    controller: int
    nodes: tuple[Node, ...]
    fenced: frozenset[int] = frozenset()
    """Ids of registered brokers that do not serve; they are not among `nodes`."""


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


BROKERS: Final = 1
CONTROLLERS: Final = 2
"""Endpoint types of DescribeCluster (KIP-919)."""


async def describe_cluster(cluster: Cluster) -> ClusterDescription:
    """Who is in the cluster now."""
    return await cluster.retry(
        lambda: _describe(cluster, DescribeClusterRequest(include_fenced_brokers=True))
    )


async def describe_controllers(cluster: Cluster) -> ClusterDescription:
    """The controllers, asked of one of them: `cluster` was given controllers' addresses to begin with (KIP-919)."""
    return await cluster.retry(lambda: _describe(cluster, DescribeClusterRequest(endpoint_type=CONTROLLERS)))


async def _describe(cluster: Cluster, request: DescribeClusterRequest) -> ClusterDescription:
    answer = await cluster.ask(request, DescribeClusterResponse)
    raise_for(answer.error_code, "the cluster", answer.error_message)
    nodes = sorted(
        (Node(b.broker_id, b.host, b.port, b.rack) for b in answer.brokers if not b.is_fenced),
        key=lambda n: n.id,
    )
    fenced = frozenset(b.broker_id for b in answer.brokers if b.is_fenced)
    return ClusterDescription(answer.cluster_id, answer.controller_id, tuple(nodes), fenced)


async def unregister_broker(cluster: Cluster, node: int) -> None:
    """Forget a broker that is gone for good; it must hold no replicas and not be running.

    Raises:
        RequestFailed: there is no such broker (BROKER_ID_NOT_REGISTERED).
    """
    answer = await cluster.ask_patiently(UnregisterBrokerRequest(broker_id=node), UnregisterBrokerResponse)
    raise_for(answer.error_code, f"broker {node}", answer.error_message)


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
