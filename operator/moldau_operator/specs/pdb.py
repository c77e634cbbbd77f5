"""A Cluster to its PodDisruptionBudget: one eviction at a time, and none while it would hurt. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moldau_operator.resources.cluster import Cluster
from moldau_operator.seams.broker_admin import TopicView
from moldau_operator.specs.objects import Manifest, manifest, selector, set_name


def disruption_budget(cluster: Cluster, *, evictions: bool) -> Manifest:
    """Whether Kubernetes may evict one pod, of all pools together."""
    spec = {
        "maxUnavailable": 1 if evictions else 0,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # one that does not serve protects nothing; a drain must go on
        "selector": {"matchLabels": selector(cluster)},
    }
    name = set_name(cluster.metadata.name, "kafka")
    return manifest("policy/v1", "PodDisruptionBudget", name, cluster, {"spec": spec})


def eviction_problem(
    topics: Iterable[TopicView], minimum_of: Mapping[str, int], minimum: int, brokers: int
) -> str:
    """Why no broker may be evicted now, in words; empty when any one of them may.

    Partitions of a single replica are not looked at: whoever keeps one copy has chosen the gap.

    Args:
        minimum_of: min.insync.replicas of topics that have their own.
        minimum: of all others.
        brokers: how many there are; a cluster of one is evicted with a gap, or never drained.
    """
    if brokers == 1:
        return ""
    for topic in topics:
        least = minimum_of.get(topic.name, minimum)
        for number, partition in enumerate(topic.placement):
            if len(partition.replicas) > 1 and len(partition.in_sync) <= least:
                return (
                    f"{topic.name}-{number} has {len(partition.in_sync)} replicas in sync of "
                    f"{len(partition.replicas)}, and needs {least}"
                )
    return ""
