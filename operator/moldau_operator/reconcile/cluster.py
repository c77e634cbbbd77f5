"""Cluster: look at the nodes, plan, write the status down, apply."""

from __future__ import annotations

from dataclasses import replace

from moldau_broker.base.clock import Clock
from moldau_operator.errors import AdminError, PlatformError
from moldau_operator.plan.cluster import plan_cluster
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.report import Report, record
from moldau_operator.resources import conditions
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.conditions import Reason
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.seams.broker_admin import BrokerAdmin, ClusterView
from moldau_operator.seams.platform import NodeState, ObservedNode, Platform
from moldau_operator.seams.status_store import StatusStore


class ClusterReconciler:
    """Brings the nodes of one cluster to its resource, one pass at a time."""

    def __init__(self, platform: Platform, admin: BrokerAdmin, store: StatusStore, clock: Clock) -> None:
        self._platform = platform
        self._admin = admin
        self._store = store
        self._clock = clock

    async def reconcile(self, cluster: Cluster, old: ClusterStatus | None) -> Report[ClusterStatus]:
        """One pass. What the platform cannot do becomes a condition, not an exception.

        Raises:
            PlatformError: the platform cannot be asked at all.
        """
        report: Report[ClusterStatus] = Report()
        key = cluster.key
        nodes = await self._platform.observe()
        view = await self._describe(nodes)
        plan = plan_cluster(
            cluster,
            old or ClusterStatus(),
            nodes,
            self._platform.limits,
            view.controller_id if view is not None else None,
        )
        status = plan.status
        if view is not None and view.cluster_id != status.cluster_id:
            if status.cluster_id:
                words = f"its id changed from {status.cluster_id} to {view.cluster_id}: the data was replaced"
                report.events.append(Event(subject=key, message=words, warning=True))
            status = replace(status, cluster_id=view.cluster_id)
        status = record(report, key, old, status, self._clock.wall_ms())
        if status != old:
            await self._store.save({key: status})
        if not conditions.is_settled(status.conditions):
            report.pending.add(key)
        for action in plan.actions:
            try:
                await self._platform.apply(action)
            except PlatformError as error:
                failed = replace(status, conditions=conditions.reconciling(Reason.RETRYING, str(error)))
                await self._store.save({key: record(report, key, status, failed, self._clock.wall_ms())})
                break
            report.did(key, str(action))
        return report

    async def _describe(self, nodes: tuple[ObservedNode, ...]) -> ClusterView | None:
        if not any(node.state is NodeState.SERVING for node in nodes):
            return None
        try:
            return await self._admin.describe_cluster()
        except AdminError:
            return None  # the nodes' own states say what is wrong; the next pass asks again
