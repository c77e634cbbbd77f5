"""A Cluster to its nodes: ids, roles, the settings each runs with, and what makes a revision."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moldau_operator.resources.cluster import Cluster, Pool, Role, Rollout
from moldau_operator.specs.nodes import controllers_of, is_dynamic, pool_specs

MakeCluster = Callable[..., Cluster]
BROKER, CONTROLLER = Role.BROKER, Role.CONTROLLER


@pytest.mark.parametrize(("replicas", "controllers"), [(1, 1), (2, 2), (3, 3), (5, 5), (7, 5)])
def test_the_first_five_nodes_are_controllers_too(
    make_cluster: MakeCluster, replicas: int, controllers: int
) -> None:
    """Further ones are brokers alone; five voters survive the loss of two."""
    pools = pool_specs(make_cluster(replicas=replicas))
    (pool,) = pools
    assert [node.node_id for node in pool.nodes] == list(range(replicas))
    assert controllers_of(pools) == tuple(range(controllers))
    roles = [node.settings["process.roles"] for node in pool.nodes]
    assert roles == ["broker,controller"] * controllers + ["broker"] * (replicas - controllers)


def test_pools_count_together_and_keep_their_single_roles(make_cluster: MakeCluster) -> None:
    """Five combined nodes in all, in the order of ids; a pool that is controller alone stays that."""
    pools = pool_specs(
        make_cluster(
            pools=(
                Pool(name="b", node_id_base=100, replicas=4, rack="r2"),
                Pool(name="a", node_id_base=0, replicas=3, rack="r1"),
                Pool(name="c", node_id_base=200, replicas=1, roles=frozenset({CONTROLLER})),
            )
        )
    )
    assert controllers_of(pools) == (0, 1, 2, 100, 101, 200)
    racks = {node.node_id: node.settings.get("broker.rack") for pool in pools for node in pool.nodes}
    assert (racks[0], racks[103], racks[200]) == ("r1", "r2", None)


def test_every_node_carries_the_clusters_id_outside_its_revision(make_cluster: MakeCluster) -> None:
    """It is on the disk of a node that runs, so learning it restarts nobody."""
    ((before,),) = [pool.nodes for pool in pool_specs(make_cluster())]
    ((after,),) = [pool.nodes for pool in pool_specs(make_cluster(), "id-1")]
    assert "cluster.id" not in before.settings
    assert after.settings["cluster.id"] == "id-1"
    assert before.revision == after.revision


def test_a_setting_that_brokers_take_while_they_run_makes_no_new_revision(make_cluster: MakeCluster) -> None:
    """One that needs a restart does, and so does asking for a restart."""

    def revision(**options: object) -> str:
        return pool_specs(make_cluster(**options))[0].nodes[0].revision

    assert is_dynamic("log.retention.bytes")
    assert not is_dynamic("max.request.partition.size.limit")
    plain = revision()
    assert revision(config={"log.retention.bytes": "1000"}) == plain
    assert revision(config={"max.request.partition.size.limit": "9"}) != plain
    assert revision(rollout=Rollout(restarted_at="today")) != plain


def test_nodes_that_leave_stay_as_they_were(make_cluster: MakeCluster) -> None:
    """Same pool, same roles, same revision, until they are empty."""
    (before,) = pool_specs(make_cluster(replicas=7))
    (during,) = pool_specs(make_cluster(replicas=2), leaving=range(2, 7))
    assert during.nodes == before.nodes


def test_a_leaving_node_belongs_to_the_pool_below_its_id(make_cluster: MakeCluster) -> None:
    """Ids count up from the pool's base."""
    one = Pool(name="one", node_id_base=0, replicas=1)
    two = Pool(name="two", node_id_base=10, replicas=1, roles=frozenset({BROKER}))
    pools = pool_specs(make_cluster(pools=(one, two)), leaving=(3, 11))
    assert [(pool.name, [node.node_id for node in pool.nodes]) for pool in pools] == [
        ("one", [0, 3]),
        ("two", [10, 11]),
    ]
