"""Cluster: look at nodes and brokers, plan, write the status down, apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import SystemRandom
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_broker.base.ids import format_uuid, random_uuid
from moldau_operator.errors import AdminError, PlatformError
from moldau_operator.plan.actions import (
    AlterBrokers,
    BrokerAction,
    MoveReplicas,
    RemoveVoter,
    UnregisterBroker,
)
from moldau_operator.plan.cluster import ClusterAction, ClusterPlan, choose_cluster_id, plan_cluster
from moldau_operator.plan.departure import ClusterSeen
from moldau_operator.plan.rollout import blocked, stamped
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.report import Report, record, rfc3339
from moldau_operator.reconcile.throttled_moves import Throttle, move_throttled
from moldau_operator.resources import conditions
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.conditions import Reason
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.resources.topic import Topic
from moldau_operator.seams.broker_admin import BrokerAdmin, Obstacle, Partition
from moldau_operator.seams.platform import (
    EnsurePool,
    NodeState,
    ObservedNode,
    Platform,
    RestartNode,
    RetireNode,
)
from moldau_operator.seams.status_store import StatusStore

_VOTERS_WITHOUT_SPARE: Final = 2


def mint_cluster_id() -> str:
    """A new cluster's id, in Kafka's text form."""
    return format_uuid(random_uuid(SystemRandom()))


class ClusterReconciler:
    """Brings the nodes of one cluster to its resource, one pass at a time."""

    def __init__(
        self,
        platform: Platform,
        admin: BrokerAdmin,
        store: StatusStore,
        clock: Clock,
        mint: Callable[[], str] = mint_cluster_id,
    ) -> None:
        self._platform = platform
        self._admin = admin
        self._store = store
        self._clock = clock
        self._mint = mint
        self.seen = ClusterSeen()
        """What the brokers said in the last pass."""

    async def reconcile(
        self, cluster: Cluster, old: ClusterStatus | None, topics: Sequence[Topic] = ()
    ) -> Report[ClusterStatus]:
        """One pass. What the platform or the brokers cannot do becomes a condition, not an exception.

        Args:
            topics: the cluster's Topic resources: a node may wait for a replication factor to be lowered.

        Raises:
            PlatformError: the platform cannot be asked at all.
        """
        report: Report[ClusterStatus] = Report()
        key = cluster.key
        nodes = await self._platform.observe()
        volumes = await self._platform.volumes()
        known = old or ClusterStatus()
        cluster_id = choose_cluster_id(known.cluster_id, volumes, self._mint(), set_up=bool(nodes))
        members = tuple(sorted({*known.node_ids, *volumes}))
        self.seen = seen = await self._look(cluster, replace(known, node_ids=members), nodes, topics)
        if seen.view is not None:
            cluster_id = seen.view.cluster_id
        if known.cluster_id not in {"", cluster_id}:
            words = f"its id changed from {known.cluster_id} to {cluster_id}: the data was replaced"
            report.events.append(Event(subject=key, message=words, warning=True))
        plan = plan_cluster(
            cluster,
            replace(known, cluster_id=cluster_id, node_ids=members),
            nodes,
            self._platform.limits,
            seen,
        )
        plan = await self._ask_leave(plan, known, alone=len(nodes) == 1)
        remarks = self._platform.remarks
        rollout = stamped(plan.status.rollout, rfc3339(self._clock.wall_ms()))
        planned = replace(plan.status, conditions=(*plan.status.conditions, *remarks), rollout=rollout)
        status = record(report, key, old, planned, self._clock.wall_ms())
        if status != old:
            await self._store.save({key: status})
        if not conditions.is_settled(status.conditions):
            report.pending.add(key)
        throttle = Throttle.of(cluster, seen.overrides)
        for action in plan.actions:
            problem = await self._apply(action, throttle)
            if problem:
                waiting = conditions.progress(Reason.RETRYING, problem, status.conditions)
                failed = replace(status, conditions=waiting)
                await self._store.save({key: record(report, key, status, failed, self._clock.wall_ms())})
                report.pending.add(key)
                break
            report.did(key, str(action))
        return report

    async def _look(
        self,
        cluster: Cluster,
        status: ClusterStatus,
        nodes: Sequence[ObservedNode],
        topics: Sequence[Topic],
    ) -> ClusterSeen:
        """What the brokers say. Where they cannot be asked, the nodes' own states say what is wrong."""
        if not any(node.state is NodeState.SERVING for node in nodes):
            return ClusterSeen()
        seen = ClusterSeen(
            wanted_replicas={
                topic.spec.topic_name: topic.spec.replicas
                for topic in topics
                if topic.spec.replicas is not None
            }
        )
        declared = {node for pool in cluster.spec.pools for node in pool.node_ids}
        leaving = [node for node in status.node_ids if node not in declared]
        try:
            seen = replace(seen, view=await self._admin.describe_cluster())
            seen = replace(seen, overrides=await self._admin.broker_overrides())
            strangers = set(seen.view.fenced_ids if seen.view else ()) - set(status.node_ids)
            if leaving or strangers:
                seen = replace(
                    seen,
                    topics=await self._admin.list_topics(),
                    moves=await self._admin.list_moves(),
                    sizes=await self._admin.replica_bytes(),
                )
            seen = replace(seen, quorum=await self._admin.describe_quorum())
        except AdminError:
            return replace(seen, quorum=None)  # the next pass asks again
        return seen

    async def _ask_leave(self, plan: ClusterPlan, old: ClusterStatus, *, alone: bool) -> ClusterPlan:
        """The plan without a restart that the brokers do not allow now: it says what it waits for instead."""
        kept: list[ClusterAction] = []
        status = plan.status
        for action in plan.actions:
            words = "" if alone or not isinstance(action, RestartNode) else await self._obstacle(action)
            if words and status.rollout is not None and isinstance(action, RestartNode):
                waiting = conditions.progress(Reason.ROLLING, words, status.conditions)
                rollout = replace(status.rollout, current=None)
                status = replace(
                    status,
                    conditions=waiting,
                    rollout=blocked(rollout, action.node_id, words, old.rollout),
                )
            else:
                kept.append(action)
        return replace(plan, actions=tuple(kept), status=status)

    async def _obstacle(self, action: RestartNode) -> str:
        """Why a node must not be restarted now, in words."""
        try:
            obstacles = await self._worth_waiting(await self._admin.may_stop(action.node_id))
        except AdminError as error:
            return f"node {action.node_id} waits with its restart: {error}"
        more = f" and {len(obstacles) - 1} more" if len(obstacles) > 1 else ""
        return (
            f"node {action.node_id} waits with its restart: {obstacles[0].words}{more}" if obstacles else ""
        )

    async def _apply(self, action: ClusterAction, throttle: Throttle) -> str:
        """Carry out an action; gives why it could not be, in words."""
        try:
            if isinstance(action, EnsurePool | RestartNode | RetireNode):
                await self._platform.apply(action)
                return ""
            failed = await self._ask(action, throttle)
        except (PlatformError, AdminError) as error:
            return str(error)
        return "" if failed is None else f"cannot {action}: {failed}"

    async def _worth_waiting(self, obstacles: Sequence[Obstacle]) -> list[Obstacle]:
        """Those that time removes: a partition of one replica never has another one in sync, nor two voters a spare."""
        if not obstacles:
            return []
        topics = await self._admin.list_topics()
        single = {
            Partition(topic.name, number)
            for topic in topics.values()
            for number, one in enumerate(topic.placement)
            if len(one.replicas) == 1
        }
        few = self.seen.quorum is not None and len(self.seen.quorum.voters) <= _VOTERS_WITHOUT_SPARE
        return [
            one
            for one in obstacles
            if (one.partition not in single if one.partition is not None else not few)
        ]

    async def _ask(self, action: BrokerAction, throttle: Throttle) -> AdminError | None:
        match action:
            case AlterBrokers():
                return await self._admin.alter_brokers(action.change)
            case MoveReplicas():
                outcomes = await move_throttled(self._admin, action.targets, throttle)
                return next((error for error in outcomes.values() if error is not None), None)
            case RemoveVoter():
                return await self._admin.remove_voter(action.voter)
            case UnregisterBroker():
                return await self._admin.unregister(action.broker_id)
