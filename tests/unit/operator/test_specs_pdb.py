"""When Kubernetes may evict a broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moldau_operator.resources.cluster import Cluster
from moldau_operator.seams.broker_admin import PartitionView, TopicView
from moldau_operator.specs.pdb import disruption_budget, eviction_problem

MakeCluster = Callable[..., Cluster]


@pytest.mark.parametrize(("evictions", "most"), [(True, 1), (False, 0)])
def test_one_budget_covers_all_pools(make_cluster: MakeCluster, evictions: bool, most: int) -> None:
    """One pod at a time in the whole cluster; a pod that does not serve never blocks a drain."""
    spec = disruption_budget(make_cluster(), evictions=evictions)["spec"]
    assert spec["maxUnavailable"] == most
    assert spec["selector"] == {"matchLabels": {"moldau.dev/cluster": "demo"}}
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    ("in_sync", "minimum", "refused"),
    [((1, 2, 3), 2, False), ((1, 2), 2, True), ((1, 2), 1, False), ((1, 2, 3), 3, True), ((), 1, True)],
)
def test_no_eviction_may_take_a_partition_under_its_minimum(
    in_sync: tuple[int, ...], minimum: int, refused: bool
) -> None:
    """One replica less must still be enough."""
    partition = PartitionView(leader=1, replicas=(1, 2, 3), in_sync=in_sync)
    topic = TopicView(name="orders", topic_id="x", partitions=1, replicas=3, placement=(partition,))
    words = eviction_problem([topic], {}, minimum, brokers=3)
    assert words.startswith("orders-0 has ") if refused else words == ""
    assert eviction_problem([topic], {"orders": 9}, 1, brokers=3) != ""


def test_a_single_copy_or_a_single_broker_does_not_block_a_drain() -> None:
    """Whoever keeps one copy has chosen the gap."""
    lone = TopicView(
        name="orders", topic_id="x", partitions=1, replicas=1, placement=(PartitionView(1, (1,), (1,)),)
    )
    behind = TopicView(
        name="orders", topic_id="x", partitions=1, replicas=2, placement=(PartitionView(1, (1, 2), (1,)),)
    )
    assert eviction_problem([lone], {}, 1, brokers=3) == ""
    assert eviction_problem([behind], {}, 1, brokers=3) != ""
    assert eviction_problem([behind], {}, 1, brokers=1) == ""
