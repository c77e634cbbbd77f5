"""(Cluster, its status, the nodes as they are) to actions, each with its reason. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from moldau_operator.names import counted
from moldau_operator.plan.actions import AlterBrokers, BrokerAction
from moldau_operator.plan.broker_settings import plan_broker_settings
from moldau_operator.plan.departure import ClusterSeen, Departure, Stay, plan_departure, plan_forgotten
from moldau_operator.plan.rollout import describe_rollout, outdated_nodes
from moldau_operator.resources import conditions
from moldau_operator.resources.cluster import Cluster, Role
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.seams.broker_admin import ClusterView
from moldau_operator.seams.platform import (
    EnsurePool,
    NodeSpec,
    NodeState,
    ObservedNode,
    PlatformAction,
    PlatformLimits,
    PoolSpec,
    RestartNode,
    RetireNode,
)
from moldau_operator.specs.nodes import controllers_of, differences, is_dynamic, pool_specs

ClusterAction = PlatformAction | BrokerAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A part of the spec that will not be carried out: which field, and why in words."""

    path: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What to do now, and the status to write down."""

    actions: tuple[ClusterAction, ...]
    status: ClusterStatus


def refuse(cluster: Cluster, status: ClusterStatus, limits: PlatformLimits) -> Refusal | None:
    """Why this platform will not run this spec; None when it will. A refused spec touches no running node."""
    spec = cluster.spec
    if spec.replicas > limits.nodes_max:
        return Refusal(
            path="spec.pools" if len(spec.pools) > 1 else "spec.replicas",
            reason=Reason.NOT_SUPPORTED,
            message=f"is {spec.replicas}, but {limits.nodes_reason}: set replicas: {limits.nodes_max}",
        )
    for pool in spec.pools:
        before = status.node_id_bases.get(pool.name)
        if before is not None and before != pool.node_id_base:
            return Refusal(
                path="spec.pools",
                reason=Reason.IMMUTABLE,
                message=f"moves pool {pool.name} from nodeIdBase {before} to {pool.node_id_base}, which can never "
                "change because the volumes carry it: set it back",
            )
    gone = sorted(status.node_id_bases.keys() - {pool.name for pool in spec.pools})
    if gone:
        return Refusal(
            path="spec.pools",
            reason=Reason.NOT_SUPPORTED,
            message=f"no longer has pool {', '.join(gone)}: put it back and lower its replicas, which drains it",
        )
    return None


def choose_cluster_id(known: str, volumes: Mapping[int, str], fresh: str, *, set_up: bool) -> str:
    """The id of the cluster: never a new one while there is data.

    Args:
        known: the id remembered so far.
        volumes: the ids that data was found to belong to, by node.
        fresh: for a cluster without any data.
        set_up: whether nodes were told to run already, which may not have formatted their disks yet.
    """
    found = [volumes[node] for node in sorted(volumes)]
    if found:
        return known if known in found else found[0]
    return known if known and set_up else fresh


def plan_cluster(
    cluster: Cluster,
    status: ClusterStatus,
    nodes: Sequence[ObservedNode],
    limits: PlatformLimits,
    seen: ClusterSeen | None = None,
) -> ClusterPlan:
    """What brings the nodes to the resource.

    Args:
        status: its `node_ids` are members until they have been emptied, declared or not.
        seen: what the brokers say.
    """
    seen = seen or ClusterSeen()
    status = replace(status, observed_generation=cluster.metadata.generation)
    refusal = refuse(cluster, status, limits)
    if refusal is not None:
        found = conditions.stalled(refusal.reason, f"{refusal.path} {refusal.message}")
        return ClusterPlan(actions=(), status=replace(status, conditions=found))
    if cluster.spec.pause:
        found = conditions.reconciling(Reason.PAUSED, "spec.pause is set; nothing is changed")
        return ClusterPlan(actions=(), status=replace(status, conditions=found))
    declared = {node for pool in cluster.spec.pools for node in pool.node_ids}
    leaving = sorted(set(status.node_ids) - declared)
    by_id = {node.node_id: node for node in nodes}
    pools = pool_specs(cluster, status.cluster_id, leaving)
    wanted = [node for pool in pools for node in pool.nodes]
    status = replace(
        status,
        node_id_bases={pool.name: pool.node_id_base for pool in cluster.spec.pools},
        node_ids=tuple(sorted(node.node_id for node in wanted)),
    )
    actions: list[ClusterAction] = [
        EnsurePool(pool=pool, reason=reason, controllers=controllers_of(pools))
        for pool in pools
        if (reason := _pool_difference(pool, by_id))
    ]
    departure = Departure()
    if not actions:
        more, status = _settings(cluster, status, nodes, seen)
        actions += more
        actions += plan_forgotten(frozenset(status.node_ids), seen)
    if not actions and leaving:
        departure = plan_departure(leaving, _staying(cluster), seen)
        actions += departure.actions
        removed = {action.node_id for action in actions if isinstance(action, RetireNode)}
        status = replace(status, node_ids=tuple(node for node in status.node_ids if node not in removed))
    if not actions and not departure.waiting:
        staying = [node for node in wanted if node.node_id in declared]
        actions += _next_restart(staying, by_id, seen.view)
    found = (*_health(wanted, declared, by_id, actions, departure, seen), *_warnings(pools, leaving, nodes))
    rollout = describe_rollout(
        [node for node in wanted if node.node_id in declared],
        by_id,
        [action for action in actions if isinstance(action, RestartNode)],
        departure.waiting or "; ".join(map(str, actions)),
        status.rollout,
    )
    return ClusterPlan(actions=tuple(actions), status=replace(status, conditions=found, rollout=rollout))


def _settings(
    cluster: Cluster, status: ClusterStatus, nodes: Sequence[ObservedNode], seen: ClusterSeen
) -> tuple[list[ClusterAction], ClusterStatus]:
    """Settings that running brokers take as they are."""
    if seen.overrides is None:
        return [], status
    files = [node.started_with for node in nodes if node.running is not None]
    plan = plan_broker_settings(cluster.spec.config, seen.overrides, files, status.broker_settings)
    status = replace(status, broker_settings=plan.managed)
    return ([AlterBrokers(change=plan.change, reason=plan.reason)] if plan.change else []), status


def _staying(cluster: Cluster) -> list[Stay]:
    """The declared brokers, with what limits them."""
    return [
        Stay(id=node, rack=pool.rack, capacity=int(pool.storage.size.amount) if pool.storage.size else None)
        for pool in cluster.spec.pools
        if Role.BROKER in pool.roles
        for node in pool.node_ids
    ]


def _pool_difference(pool: PoolSpec, by_id: dict[int, ObservedNode]) -> str:
    """How a pool differs from what the platform was told, in words; empty when it does not."""
    for node in pool.nodes:
        observed = by_id.get(node.node_id)
        if observed is None:
            return f"node {node.node_id} is declared and not running yet"
        if observed.wanted != node.revision or observed.settings != node.settings:
            return differences(observed.settings, node.settings)
        if observed.drift:
            return observed.drift
    return ""


def _next_restart(
    wanted: Sequence[NodeSpec], by_id: dict[int, ObservedNode], view: ClusterView | None
) -> list[ClusterAction]:
    """The one node that may be restarted now: never while another one is not serving, the controller last."""
    controller_id = view.controller_id if view is not None else None
    fenced = view.fenced_ids if view is not None else ()
    outdated = [by_id[node] for node in outdated_nodes(wanted, by_id)]
    if not outdated or any(node.state is NodeState.DRAINING for node in outdated):
        return []  # the last restart is still under way
    node = min(
        outdated, key=lambda one: (one.state is NodeState.SERVING, one.node_id == controller_id, one.node_id)
    )
    others = [by_id[spec.node_id] for spec in wanted if spec.node_id != node.node_id]
    if any(other.state is not NodeState.SERVING or other.node_id in fenced for other in others):
        return []
    (spec,) = (one for one in wanted if one.node_id == node.node_id)
    fixed = [
        {name: value for name, value in one.items() if name != "cluster.id" and not is_dynamic(name)}
        for one in (node.started_with, spec.settings)
    ]
    return [RestartNode(node_id=node.node_id, reason=node.restart_for or differences(*fixed))]


def _health(
    wanted: Sequence[NodeSpec],
    declared: Collection[int],
    by_id: dict[int, ObservedNode],
    actions: Sequence[ClusterAction],
    departure: Departure,
    seen: ClusterSeen,
) -> tuple[Condition, ...]:
    present = [by_id[node.node_id] for node in wanted if node.node_id in by_id]
    hopeless = [node for node in present if node.hopeless]
    if hopeless:
        return conditions.stalled(Reason.NODE_DOWN, _say(hopeless))
    if departure.refusal:
        return conditions.stalled(Reason.INVALID_SPEC, f"spec.replicas: {departure.refusal}")
    if departure.waiting:
        return conditions.reconciling(Reason.DRAINING, departure.waiting)
    if actions:
        restarts = any(isinstance(action, RestartNode) for action in actions)
        return conditions.reconciling(
            Reason.ROLLING if restarts else Reason.APPLYING, "; ".join(map(str, actions))
        )
    down = [node for node in present if node.state in {NodeState.DOWN, NodeState.DRAINING}]
    if down:
        return conditions.reconciling(Reason.NODE_DOWN, _say(down))
    waiting = [node for node in present if node.state is not NodeState.SERVING]
    if waiting:
        return conditions.reconciling(Reason.STARTING, _say(waiting))
    outdated = [
        node.node_id
        for node, spec in zip(present, wanted, strict=True)
        if node.running != spec.revision and node.node_id in declared
    ]
    if outdated:
        return conditions.reconciling(Reason.ROLLING, f"{counted(len(outdated), 'node')} left to restart")
    outside = _outside(wanted, seen)
    if outside:
        return conditions.reconciling(Reason.STARTING, outside)
    return conditions.ready(message=f"{counted(len(present), 'node')} serving")


def _outside(wanted: Sequence[NodeSpec], seen: ClusterSeen) -> str:
    """Which nodes run and have not joined the cluster yet, in words."""
    if seen.view is not None:
        missing = [
            node.node_id
            for node in wanted
            if Role.BROKER in node.roles and node.node_id not in seen.view.broker_ids
        ]
        if missing:
            return f"node {', '.join(map(str, missing))} runs, and is not taken into the cluster yet"
    if seen.quorum is not None:
        missing = [
            node.node_id
            for node in wanted
            if Role.CONTROLLER in node.roles and seen.quorum.voter(node.node_id) is None
        ]
        if missing:
            return f"node {', '.join(map(str, missing))} is no voter of the quorum yet"
    return ""


def _say(nodes: Sequence[ObservedNode]) -> str:
    return "; ".join(
        f"node {node.node_id} is {node.state}" + (f": {node.message}" if node.message else "")
        for node in nodes
    )


def _warnings(
    pools: Sequence[PoolSpec], leaving: Collection[int], nodes: Sequence[ObservedNode]
) -> tuple[Condition, ...]:
    """One condition for all that works and still should be looked at; its reason is the first one's."""
    found: list[tuple[Reason, str]] = []
    controllers = len(set(controllers_of(pools)) - set(leaving))
    if controllers % 2 == 0:
        words = (
            f"{controllers} controllers survive no more failures than {controllers - 1}: use an odd number"
        )
        found.append((Reason.EVEN_QUORUM, words))
    volumes = sorted({node.volume_problem for node in nodes if node.volume_problem})
    found += [(Reason.STORAGE_REFUSED, words) for words in volumes]
    if not found:
        return ()
    words = "; ".join(words for _, words in found)
    return (conditions.flag(ConditionType.WARNING, True, found[0][0], words),)
