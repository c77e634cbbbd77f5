"""Where a topic's partitions should live at another replication factor: the operator's planner, asked by hand."""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin import nodes, topics
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import RequestFailed
from moldau_broker.client.metadata import NO_LEADER, TopicInfo
from moldau_broker.client.partitions import TopicPartition
from moldau_operator.plan.replicas import choose_replicas, replica_counts, spread_leaders
from moldau_operator.seams.broker_admin import PartitionView


async def plan_replicas(cluster: Cluster, name: str, factor: int) -> dict[TopicPartition, tuple[int, ...]]:
    """The brokers of every partition that has to change; the first is its preferred leader.

    Raises:
        RequestFailed: there is no such topic, or there are too few brokers.
    """
    topic = settle(await topics.describe_topics(cluster, [name]))[name]
    everything = await topics.list_topics(cluster)
    homes = {node.id: node.rack for node in (await nodes.describe_cluster(cluster)).nodes}
    if factor > len(homes):
        words = f"{factor} replicas need {factor} brokers, and {len(homes)} are up"
        raise RequestFailed(ErrorCode.INVALID_REPLICATION_FACTOR, f"topic {name}", words)
    load = replica_counts([_placement(one) for one in everything])
    placement = _placement(topic)
    chosen = spread_leaders(placement, choose_replicas(placement, factor, homes, load))
    return {TopicPartition(name, number): replicas for number, replicas in chosen.items()}


def _placement(topic: TopicInfo) -> tuple[PartitionView, ...]:
    return tuple(
        PartitionView(one.leader if one.leader != NO_LEADER else None, one.replicas, one.isr)
        for one in topic.partitions
    )
