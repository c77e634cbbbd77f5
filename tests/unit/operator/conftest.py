"""Resources for the tests of plans and reconcilers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moldau_operator.resources.cluster import Cluster, ClusterSpec, Pool
from moldau_operator.resources.consumergroup import ConsumerGroup, ConsumerGroupSpec
from moldau_operator.resources.meta import Metadata
from moldau_operator.resources.topic import Topic, TopicSpec


def _metadata(name: str, options: dict[str, Any]) -> Metadata:
    return Metadata(
        name=name,
        generation=options.pop("generation", 1),
        uid=options.pop("uid", name),
        created_at=options.pop("created_at", ""),
    )


@pytest.fixture
def make_topic() -> Callable[..., Topic]:
    """`make_topic("orders", partitions=6)`; generation, uid and created_at go to the metadata."""

    def make(name: str = "orders", **options: Any) -> Topic:
        metadata = _metadata(name, options)
        return Topic(metadata=metadata, spec=TopicSpec(**{"cluster": "demo", "topic_name": name, **options}))

    return make


@pytest.fixture
def make_group() -> Callable[..., ConsumerGroup]:
    """`make_group("billing", max_lag=MaxLag(records=10))`."""

    def make(name: str = "billing", **options: Any) -> ConsumerGroup:
        metadata = _metadata(name, options)
        spec = ConsumerGroupSpec(**{"cluster": "demo", "group_id": name, **options})
        return ConsumerGroup(metadata=metadata, spec=spec)

    return make


@pytest.fixture
def make_cluster() -> Callable[..., Cluster]:
    """`make_cluster(replicas=3, config={...})`: one pool of combined nodes unless pools are given."""

    def make(replicas: int = 1, **options: Any) -> Cluster:
        metadata = _metadata("demo", options)
        pools = options.pop("pools", (Pool(name="kafka", node_id_base=0, replicas=replicas),))
        return Cluster(metadata=metadata, spec=ClusterSpec(pools=pools, **options))

    return make
