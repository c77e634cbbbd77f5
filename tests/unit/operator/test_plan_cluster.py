"""Cluster plans: what is set up, what is restarted and in which order, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from moldau_operator.plan.cluster import ClusterPlan, choose_cluster_id, plan_cluster, refuse
from moldau_operator.plan.departure import ClusterSeen
from moldau_operator.resources.cluster import Cluster, Pool, Role, Rollout
from moldau_operator.resources.conditions import ConditionType, Reason, find, is_true
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.seams.broker_admin import ClusterView
from moldau_operator.seams.platform import EnsurePool, NodeState, ObservedNode, PlatformLimits, RestartNode
from moldau_operator.specs.nodes import pool_specs

LIMITS = PlatformLimits(nodes_max=100, nodes_reason="there is no more room")
MakeCluster = Callable[..., Cluster]


def running(cluster: Cluster) -> list[ObservedNode]:
    """The nodes of a cluster that is as declared."""
    return [
        ObservedNode(
            node_id=node.node_id,
            pool=pool.name,
            wanted=node.revision,
            running=node.revision,
            settings=node.settings,
            started_with=node.settings,
            state=NodeState.SERVING,
        )
        for pool in pool_specs(cluster)
        for node in pool.nodes
    ]


def plan(
    cluster: Cluster, nodes: Sequence[ObservedNode], controller_id: int | None = None, **status: object
) -> ClusterPlan:
    view = ClusterView(cluster_id="c", controller_id=controller_id, broker_ids=(0, 1, 2))
    return plan_cluster(cluster, ClusterStatus(**status), nodes, LIMITS, ClusterSeen(view=view))  # type: ignore[arg-type]


def ready(found: ClusterPlan) -> tuple[Reason, str]:
    condition = find(found.status.conditions, ConditionType.READY)
    assert condition is not None
    return condition.reason, condition.message


def test_nodes_that_are_not_there_are_set_up(make_cluster: MakeCluster) -> None:
    """One action per pool, with the reason."""
    found = plan(make_cluster(replicas=3), [])
    (action,) = found.actions
    assert isinstance(action, EnsurePool)
    assert [node.node_id for node in action.pool.nodes] == [0, 1, 2]
    assert action.reason == "node 0 is declared and not running yet"


def test_a_cluster_as_declared_needs_nothing(make_cluster: MakeCluster) -> None:
    """Zero actions, Ready, and the bases of node ids remembered."""
    cluster = make_cluster(replicas=3)
    found = plan(cluster, running(cluster))
    assert found.actions == ()
    assert is_true(found.status.conditions, ConditionType.READY)
    assert found.status.node_id_bases == {"kafka": 0}


def test_a_changed_setting_reaches_the_platform_with_its_difference(make_cluster: MakeCluster) -> None:
    """The reason names the first setting that differs."""
    nodes = running(make_cluster(config={"num.partitions": "1"}))
    (action,) = plan(make_cluster(config={"num.partitions": "6"}), nodes).actions
    assert str(action) == "set up pool kafka: num.partitions 1 -> 6"


def test_a_request_to_restart_makes_a_new_revision(make_cluster: MakeCluster) -> None:
    """Same settings, new spec.rollout.restartedAt."""
    nodes = running(make_cluster())
    (action,) = plan(make_cluster(rollout=Rollout(restarted_at="2026-01-01")), nodes).actions
    assert "a restart was asked for" in str(action)


class TestRolling:
    """Restarts of nodes that run an older revision."""

    @pytest.fixture
    def cluster(self, make_cluster: MakeCluster) -> Cluster:
        """Three nodes."""
        return make_cluster(replicas=3)

    def outdated(self, cluster: Cluster) -> list[ObservedNode]:
        return [replace(node, running="old") for node in running(cluster)]

    def test_one_node_at_a_time_the_controller_last(self, cluster: Cluster) -> None:
        """Followers first, then the active controller."""
        nodes = self.outdated(cluster)
        order = []
        while actions := plan(cluster, nodes, controller_id=0).actions:
            (action,) = actions
            assert isinstance(action, RestartNode)
            order.append(action.node_id)
            nodes[action.node_id] = replace(nodes[action.node_id], running=nodes[action.node_id].wanted)
        assert order == [1, 2, 0]

    def test_no_restart_while_another_node_is_not_serving(self, cluster: Cluster) -> None:
        """It waits, and says for which."""
        nodes = self.outdated(cluster)
        nodes[2] = replace(nodes[2], state=NodeState.RECOVERING, running=nodes[2].wanted)
        found = plan(cluster, nodes)
        assert found.actions == ()
        assert ready(found) == (Reason.STARTING, "node 2 is recovering")

    def test_a_restart_under_way_is_not_begun_again(self, cluster: Cluster) -> None:
        """Stopping in good order takes a while."""
        nodes = self.outdated(cluster)
        nodes[1] = replace(nodes[1], state=NodeState.DRAINING)
        assert plan(cluster, nodes).actions == ()

    def test_nodes_that_leave_are_not_restarted(self, cluster: Cluster, make_cluster: MakeCluster) -> None:
        """They stop for good soon; the others wait until they have."""
        found = plan(make_cluster(replicas=2), self.outdated(cluster), node_ids=(0, 1, 2))
        assert found.actions == ()
        assert ready(found) == (Reason.DRAINING, "node 2 leaves once the brokers can be asked")

    def test_a_node_that_is_not_serving_is_replaced_first(self, cluster: Cluster) -> None:
        """Its restart takes nothing away that was there."""
        nodes = self.outdated(cluster)
        nodes[0] = replace(nodes[0], state=NodeState.STARTING)
        (action,) = plan(cluster, nodes, controller_id=0).actions
        assert isinstance(action, RestartNode)
        assert action.node_id == 0

    def test_nothing_restarts_before_the_platform_knows_the_change(self, make_cluster: MakeCluster) -> None:
        """Setting up comes first; both in one pass would restart into the old settings."""
        nodes = self.outdated(make_cluster(replicas=3))
        changed = make_cluster(replicas=3, config={"num.partitions": "6"})
        assert [type(action) for action in plan(changed, nodes).actions] == [EnsurePool]


def test_a_node_that_is_down_is_left_to_the_platform(make_cluster: MakeCluster) -> None:
    """It starts by itself; the plan only says so."""
    cluster = make_cluster()
    (node,) = running(cluster)
    down = replace(node, state=NodeState.DOWN, running=None, message="was killed by signal 9")
    found = plan(cluster, [down])
    assert found.actions == ()
    assert ready(found) == (Reason.NODE_DOWN, "node 0 is down: was killed by signal 9")


def test_a_hopeless_node_stalls_the_cluster(make_cluster: MakeCluster) -> None:
    """A person has to look; the message says at what."""
    cluster = make_cluster()
    (node,) = running(cluster)
    down = replace(node, state=NodeState.DOWN, running=None, message="exit status 2", hopeless=True)
    found = plan(cluster, [down])
    assert is_true(found.status.conditions, ConditionType.STALLED)
    assert ready(found) == (Reason.NODE_DOWN, "node 0 is down: exit status 2")


def test_more_nodes_than_the_platform_runs_are_refused(make_cluster: MakeCluster) -> None:
    """In words, with the field, and without touching what runs."""
    limits = PlatformLimits(nodes_max=1, nodes_reason="more than one node comes with replication")
    refusal = refuse(make_cluster(replicas=3), ClusterStatus(), limits)
    assert refusal is not None
    assert refusal.path == "spec.replicas"
    assert refusal.message == "is 3, but more than one node comes with replication: set replicas: 1"
    found = plan_cluster(make_cluster(replicas=3), ClusterStatus(), running(make_cluster()), limits)
    assert found.actions == ()
    assert is_true(found.status.conditions, ConditionType.STALLED)


def test_node_ids_cannot_move_and_pools_cannot_vanish(make_cluster: MakeCluster) -> None:
    """The volumes carry the ids; taking a pool away is a drain."""
    status = ClusterStatus(node_id_bases={"a": 0, "b": 10})
    moved = make_cluster(
        pools=(Pool(name="a", node_id_base=5, replicas=1), Pool(name="b", node_id_base=10, replicas=1))
    )
    gone = make_cluster(pools=(Pool(name="a", node_id_base=0, replicas=1),))
    first, second = refuse(moved, status, LIMITS), refuse(gone, status, LIMITS)
    assert first is not None
    assert second is not None
    assert first.reason is Reason.IMMUTABLE
    assert "from nodeIdBase 0 to 5" in first.message
    assert second.reason is Reason.NOT_SUPPORTED
    assert "no longer has pool b" in second.message


def test_an_even_number_of_controllers_is_a_warning(make_cluster: MakeCluster) -> None:
    """It survives no more than one fewer."""
    warning = find(plan(make_cluster(replicas=4), []).status.conditions, ConditionType.WARNING)
    assert warning is not None
    assert warning.message == "4 controllers survive no more failures than 3: use an odd number"
    brokers = Pool(name="b", node_id_base=10, replicas=4, roles=frozenset({Role.BROKER}))
    odd = make_cluster(pools=(Pool(name="a", node_id_base=0, replicas=3), brokers))
    assert find(plan(odd, []).status.conditions, ConditionType.WARNING) is None


def test_a_paused_cluster_changes_nothing(make_cluster: MakeCluster) -> None:
    """Not even what is missing."""
    found = plan(make_cluster(pause=True), [])
    assert (found.actions, ready(found)[0]) == ((), Reason.PAUSED)


def test_a_nodes_settings_follow_from_the_resource(make_cluster: MakeCluster) -> None:
    """Config, id, roles and rack; the same input always gives the same revision."""
    pool = Pool(name="a", node_id_base=7, replicas=1, rack="r1")
    cluster = make_cluster(pools=(pool,), config={"num.partitions": "6"})
    (node,) = pool_specs(cluster)[0].nodes
    assert node.settings == {
        "num.partitions": "6",
        "node.id": "7",
        "process.roles": "broker,controller",
        "broker.rack": "r1",
    }
    assert node.revision == pool_specs(cluster)[0].nodes[0].revision


@pytest.mark.parametrize(
    ("known", "volumes", "set_up", "chosen"),
    [
        ("", {}, False, "new"),
        ("a", {}, False, "new"),
        ("a", {}, True, "a"),
        ("", {1: "a"}, False, "a"),
        ("a", {0: "b", 1: "a"}, True, "a"),
        ("a", {1: "c", 0: "b"}, True, "b"),
    ],
)
def test_a_clusters_id_is_that_of_its_data(
    known: str, volumes: dict[int, str], set_up: bool, chosen: str
) -> None:
    """New only where there is no data and nobody was told an id: a lost memory makes no new cluster."""
    assert choose_cluster_id(known, volumes, "new", set_up=set_up) == chosen


def test_a_fenced_broker_stops_the_roll(make_cluster: MakeCluster) -> None:
    """It answers, but leads and counts for nothing yet."""
    cluster = make_cluster(replicas=3)
    nodes = [replace(node, running="old") for node in running(cluster)]
    view = ClusterView(cluster_id="c", controller_id=0, broker_ids=(0, 1), fenced_ids=(2,))
    found = plan_cluster(cluster, ClusterStatus(), nodes, LIMITS, ClusterSeen(view=view))
    assert found.actions == ()


def test_an_even_number_of_controllers_is_warned_of(make_cluster: MakeCluster) -> None:
    """Beyond five, more nodes are no more controllers."""
    for replicas, warned in ((1, False), (2, True), (3, False), (4, True), (6, False)):
        found = plan(make_cluster(replicas=replicas), [])
        assert is_true(found.status.conditions, ConditionType.WARNING) is warned
