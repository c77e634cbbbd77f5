"""Pieces of PromQL that the dashboards share. Pure.

Every query is narrowed by the choices on top of a dashboard. Their "All" is `.*`, which a label that is not there
matches too: the dashboards work without Kubernetes and its scrape-time labels.
"""

from __future__ import annotations

from typing import Final

from dashboards.grafana import Variable

BY_CLUSTER: Final = 'namespace=~"$namespace",kafka_cluster=~"$cluster"'
BY_NAMESPACE: Final = 'namespace=~"$namespace"'

ALL_TOPICS: Final = 'topic=""'
"""Kafka's traffic metrics have a series for each topic and one, without the label, for all of them."""

EACH_TOPIC: Final = 'topic!="",topic=~"$topic"'

NAMESPACE: Final = Variable("namespace", "Namespace", "label_values(moldau_build_info, namespace)")
CLUSTER: Final = Variable(
    "cluster", "Cluster", 'label_values(moldau_build_info{namespace=~"$namespace"}, kafka_cluster)'
)
TOPIC: Final = Variable("topic", "Topic", f"label_values(kafka_topic_partitions{{{BY_CLUSTER}}}, topic)")
GROUP: Final = Variable(
    "group", "Group", f"label_values(kafka_consumergroup_members{{{BY_CLUSTER}}}, consumergroup)"
)


def of(name: str, *more: str) -> str:
    """A metric, narrowed by the choices and by `more` matchers."""
    return f"{name}{{{','.join((BY_CLUSTER, *more))}}}"


def rate(name: str, *more: str) -> str:
    """Growth per second of a counter."""
    return f"rate({of(name, *more)}[$__rate_interval])"


def of_brokers(expr: str) -> str:
    """Keeps brokers only: their process metrics have the names that every process has."""
    return f"({expr}) and on (instance, job) {of('moldau_build_info')}"


def quantile(share: float, name: str, by: str, *more: str) -> str:
    """A quantile of a histogram; NaN, where nothing was counted, is left out."""
    buckets = f"sum by (le, {by}) ({rate(name + '_bucket', *more)})"
    return f"histogram_quantile({share}, {buckets}) >= 0"


def total(name: str, *more: str) -> str:
    """Growth per second of a counter, over all its series."""
    return f"sum({rate(name, *more)})"


def by(labels: str, expr: str, function: str = "sum") -> str:
    """Aggregated by labels."""
    return f"{function} by ({labels}) ({expr})"


def top(count: int, expr: str) -> str:
    """The largest."""
    return f"topk({count}, {expr})"
