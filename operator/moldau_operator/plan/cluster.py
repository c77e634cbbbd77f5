"""(Cluster, its status, the nodes as they are) to actions, each with its reason. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from moldau_operator.names import counted
from moldau_operator.resources import conditions
from moldau_operator.resources.cluster import Cluster, Role
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.seams.platform import (
    ClusterAction,
    EnsurePool,
    NodeSpec,
    NodeState,
    ObservedNode,
    PlatformLimits,
    PoolSpec,
    RestartNode,
)
from moldau_operator.specs.nodes import differences, pool_specs


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
            message=f"no longer has pool {', '.join(gone)}, and draining a pool comes with replication: put it back",
        )
    return None


def plan_cluster(
    cluster: Cluster,
    status: ClusterStatus,
    nodes: Sequence[ObservedNode],
    limits: PlatformLimits,
    controller_id: int | None = None,
) -> ClusterPlan:
    """What brings the nodes to the resource.

    Args:
        controller_id: the active controller, restarted last; None when unknown.
    """
    status = replace(status, observed_generation=cluster.metadata.generation)
    refusal = refuse(cluster, status, limits)
    if refusal is not None:
        found = conditions.stalled(refusal.reason, f"{refusal.path} {refusal.message}")
        return ClusterPlan(actions=(), status=replace(status, conditions=found))
    if cluster.spec.pause:
        found = conditions.reconciling(Reason.PAUSED, "spec.pause is set; nothing is changed")
        return ClusterPlan(actions=(), status=replace(status, conditions=found))
    by_id = {node.node_id: node for node in nodes}
    actions: list[ClusterAction] = []
    wanted: list[NodeSpec] = []
    for pool in pool_specs(cluster):
        wanted.extend(pool.nodes)
        reason = _pool_difference(pool, by_id)
        if reason:
            actions.append(EnsurePool(pool=pool, reason=reason))
    if not actions:
        actions.extend(_next_restart(wanted, by_id, controller_id))
    status = replace(
        status,
        conditions=(*_health(wanted, by_id, actions), *_warnings(cluster)),
        node_id_bases={pool.name: pool.node_id_base for pool in cluster.spec.pools},
    )
    return ClusterPlan(actions=tuple(actions), status=status)


def _pool_difference(pool: PoolSpec, by_id: dict[int, ObservedNode]) -> str:
    """How a pool differs from what the platform was told, in words; empty when it does not."""
    for node in pool.nodes:
        observed = by_id.get(node.node_id)
        if observed is None:
            return f"node {node.node_id} is declared and not running yet"
        if observed.wanted != node.revision:
            return differences(observed.settings, node.settings)
    return ""


def _next_restart(
    wanted: Sequence[NodeSpec], by_id: dict[int, ObservedNode], controller_id: int | None
) -> list[ClusterAction]:
    """The one node that may be restarted now: never while another one is not serving, the controller last."""
    outdated = [
        by_id[node.node_id] for node in wanted if by_id[node.node_id].running not in {None, node.revision}
    ]
    if not outdated:
        return []
    node = min(
        outdated, key=lambda one: (one.state is NodeState.SERVING, one.node_id == controller_id, one.node_id)
    )
    others = (by_id[spec.node_id] for spec in wanted if spec.node_id != node.node_id)
    if any(other.state is not NodeState.SERVING for other in others):
        return []
    return [RestartNode(node_id=node.node_id, reason="its settings changed")]


def _health(
    wanted: Sequence[NodeSpec], by_id: dict[int, ObservedNode], actions: Sequence[ClusterAction]
) -> tuple[Condition, ...]:
    present = [by_id[node.node_id] for node in wanted if node.node_id in by_id]
    hopeless = [node for node in present if node.hopeless]
    if hopeless:
        return conditions.stalled(Reason.NODE_DOWN, _say(hopeless))
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
        node.node_id for node, spec in zip(present, wanted, strict=True) if node.running != spec.revision
    ]
    if outdated:
        return conditions.reconciling(Reason.ROLLING, f"{counted(len(outdated), 'node')} left to restart")
    return conditions.ready(message=f"{counted(len(present), 'node')} serving")


def _say(nodes: Sequence[ObservedNode]) -> str:
    return "; ".join(
        f"node {node.node_id} is {node.state}" + (f": {node.message}" if node.message else "")
        for node in nodes
    )


def _warnings(cluster: Cluster) -> tuple[Condition, ...]:
    controllers = sum(pool.replicas for pool in cluster.spec.pools if Role.CONTROLLER in pool.roles)
    if controllers % 2 == 0:
        words = (
            f"{controllers} controllers survive no more failures than {controllers - 1}: use an odd number"
        )
        return (conditions.flag(ConditionType.WARNING, True, Reason.EVEN_QUORUM, words),)
    return ()
