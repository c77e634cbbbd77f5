"""One pass over an instance: its nodes first, then what lives on them."""

from __future__ import annotations

from dataclasses import dataclass, field

from moldau_broker.base.clock import Clock
from moldau_operator.errors import AdminError
from moldau_operator.local.memory import Memory
from moldau_operator.local.overview import Overview, look_around, remembered
from moldau_operator.plan.cluster_facts import ClusterFacts
from moldau_operator.reconcile.balance import BalanceReconciler
from moldau_operator.reconcile.cluster import ClusterReconciler
from moldau_operator.reconcile.consumergroup import GroupReconciler
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.throttled_moves import Throttle
from moldau_operator.reconcile.topic import TopicReconciler
from moldau_operator.resources import conditions
from moldau_operator.resources.balance_status import BalanceStatus
from moldau_operator.resources.bundle import Bundle
from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.conditions import Condition, ConditionType
from moldau_operator.resources.meta import Key
from moldau_operator.resources.status import ClusterStatus, GroupStatus, TopicStatus
from moldau_operator.seams.broker_admin import BrokerAdmin
from moldau_operator.seams.platform import NodeState, Platform


@dataclass(slots=True, kw_only=True)
class PassResult:
    """What a pass found and did.

    Attributes:
        actions: what was done, in words.
        pending: Clusters and Topics that need another pass without anybody changing anything.
        pending_groups: ConsumerGroups that do.
        moving: whether data is moved for balance, which takes its time and is nothing to wait for.
        stalled: what will not be done until the YAML changes, in words.
        trouble: why the brokers could not be asked, though one serves.
    """

    actions: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    pending: set[Key] = field(default_factory=set)
    pending_groups: set[Key] = field(default_factory=set)
    moving: bool = False
    stalled: list[str] = field(default_factory=list)
    conditions: tuple[Condition, ...] = ()
    overview: Overview = field(default_factory=Overview)
    balance: BalanceStatus | None = None
    trouble: str = ""

    @property
    def busy(self) -> bool:
        """Whether another pass is due soon."""
        return bool(self.actions or self.pending or self.pending_groups or self.moving)


class Reconciliation:
    """The three reconcilers of one instance."""

    def __init__(self, platform: Platform, admin: BrokerAdmin, memory: Memory, clock: Clock) -> None:
        self._platform = platform
        self._admin = admin
        self._memory = memory
        self._overview = remembered(memory)
        self._cluster = ClusterReconciler(platform, admin, memory, clock)
        self._topics = TopicReconciler(admin, memory, clock)
        self._groups = GroupReconciler(admin, memory, clock)
        self._balance = BalanceReconciler(admin, clock)

    async def run(self, bundle: Bundle) -> PassResult:
        """Look, plan and act once."""
        cluster = bundle.clusters[0]
        result = PassResult()
        await self._reconcile_cluster(bundle, result)
        serving = any(node.state is NodeState.SERVING for node in await self._platform.observe())
        if serving:
            try:
                await self._reconcile_contents(bundle, cluster, result)
                await self._reconcile_balance(cluster, result)
                quorum = self._cluster.seen.quorum
                self._overview = await look_around(self._admin, bundle, self._memory, quorum)
            except AdminError as error:
                result.trouble = str(error)
        result.overview = self._overview
        if not serving or result.trouble:
            result.overview = self._overview.unavailable()
            if not cluster.spec.pause:
                result.pending.update(topic.key for topic in bundle.topics)
        return result

    async def _reconcile_cluster(self, bundle: Bundle, result: PassResult) -> None:
        cluster = bundle.clusters[0]
        old = self._memory.statuses(ClusterStatus).get(cluster.key)
        report = await self._cluster.reconcile(cluster, old, bundle.topics)
        new = report.statuses[cluster.key]
        if old is not None and old.cluster_id and new.cluster_id != old.cluster_id:
            await self._memory.forget_topics()
        result.conditions = new.conditions
        result.actions += report.actions
        result.events += report.events
        result.pending |= report.pending
        result.stalled += _stalled(report.statuses)

    async def _reconcile_contents(self, bundle: Bundle, cluster: Cluster, result: PassResult) -> None:
        facts = ClusterFacts.of(cluster, self._cluster.seen.view)
        throttle = Throttle.of(cluster, self._cluster.seen.overrides)
        topics = await self._topics.reconcile(
            bundle.topics, self._memory.statuses(TopicStatus), facts, throttle
        )
        result.actions += topics.actions
        result.events += topics.events
        result.pending |= topics.pending
        result.stalled += _stalled(topics.statuses)
        groups = await self._groups.reconcile(
            bundle.groups, self._memory.statuses(GroupStatus), paused=cluster.spec.pause
        )
        result.actions += groups.actions
        result.events += groups.events
        result.pending_groups |= groups.pending
        result.stalled += _stalled(groups.statuses)

    async def _reconcile_balance(self, cluster: Cluster, result: PassResult) -> None:
        status = self._memory.statuses(ClusterStatus)[cluster.key]
        report = await self._balance.run(cluster, status, self._cluster.seen, self._memory)
        result.balance = report.balance
        result.actions += report.actions
        result.events += report.events
        result.moving = report.busy


def _stalled(
    statuses: dict[Key, ClusterStatus] | dict[Key, TopicStatus] | dict[Key, GroupStatus],
) -> list[str]:
    lines = []
    for key, status in statuses.items():
        found = conditions.find(status.conditions, ConditionType.STALLED)
        if found is not None:
            lines.append(f"{key}: {found.message}")
    return lines
