"""Balance: look at every partition, judge, plan elsewhere than in the event loop, act, and say how even the cluster is.

What is remembered beyond the status (since when something has been off) is lost with the process, and then something
has to be off for a while again before it is acted on. A plan that moves data is in the status, so it is not lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from moldau_broker.base.clock import Clock
from moldau_operator.adapters.off_loop import in_thread, off_loop
from moldau_operator.errors import AdminError, OperatorError
from moldau_operator.names import counted
from moldau_operator.plan.balance import BalanceAsk, BalancePlan, plan_balance, say_proof
from moldau_operator.plan.balance_pace import Look, PaceState, Pacing, Verdict, decided, judge
from moldau_operator.plan.cluster_facts import declared_homes
from moldau_operator.plan.departure import ClusterSeen
from moldau_operator.plan.leadership import LeadershipPlan
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.plan_life import say_plan
from moldau_operator.plan.survey import Observed, survey
from moldau_operator.reconcile.balance_moves import MovesKeeper, Scene
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.throttled_moves import Throttle, release_throttles
from moldau_operator.resources.balance_status import BalanceStatus, PlanState, PlanStatus
from moldau_operator.resources.cluster import BalanceMode, Cluster
from moldau_operator.resources.status import ClusterStatus
from moldau_operator.seams.broker_admin import BrokerAdmin, ClusterView, Partition, PartitionLoad
from moldau_operator.seams.status_store import StatusStore

BATCH: Final = 500
"""Partitions whose order of replicas is changed with one request."""
LOADS_MS: Final = 15_000
SIZES_MS: Final = 60_000
"""How old loads and sizes may be: averages over minutes do not move in seconds, and every broker is asked."""


class Planner(Protocol):
    """Runs a plan where it holds nobody up."""

    def __call__(
        self,
        work: Callable[[Sequence[SeenPartition], BalanceAsk], BalancePlan],
        items: Sequence[SeenPartition],
        ask: BalanceAsk,
    ) -> Awaitable[BalancePlan]:
        """The plan."""
        ...


@dataclass(slots=True, kw_only=True)
class BalanceReport:
    """What a pass came to; `busy` while data is moved."""

    balance: BalanceStatus | None
    actions: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    busy: bool = False


class BalanceReconciler:
    """Keeps one cluster even, one pass at a time."""

    def __init__(
        self,
        admin: BrokerAdmin,
        clock: Clock,
        pacing: Pacing | None = None,
        planner: Planner = off_loop,
    ) -> None:
        self._admin = admin
        self._clock = clock
        self._pacing = pacing or Pacing()
        self._planner = planner
        self._moves = MovesKeeper(admin)
        self._pace = PaceState()
        self._looked_ms: int | None = None
        self._looked_for: object = None
        self._loads: tuple[int, Mapping[Partition, PartitionLoad]] | None = None
        self._sizes: tuple[int, Mapping[Partition, int]] | None = None
        self._known: tuple[object, LeadershipPlan] | None = None

    async def run(
        self, cluster: Cluster, status: ClusterStatus, seen: ClusterSeen, store: StatusStore
    ) -> BalanceReport:
        """One pass, and what came of it kept in the Cluster's status.

        Args:
            status: of the cluster, as this pass has left it.
            seen: what the brokers have told in this pass.

        Raises:
            AdminError: throttles that nothing needs any more could not be taken back; the next pass tries again.
        """
        report = await self.reconcile(cluster, status, seen.view, seen.overrides)
        if report.balance != status.balance:
            try:
                await store.save({cluster.key: replace(status, balance=report.balance)})
            except OperatorError:
                self._looked_ms = None  # what was seen is known to nobody: look again with the next pass
                raise
        if not (cluster.spec.pause or report.busy):
            await release_throttles(self._admin, Throttle.of(cluster, seen.overrides))
        return report

    async def reconcile(
        self,
        cluster: Cluster,
        status: ClusterStatus,
        view: ClusterView | None,
        overrides: Mapping[str, str] | None,
    ) -> BalanceReport:
        """One pass; what the brokers refuse becomes a message, and is tried again.

        Args:
            status: of the cluster; its nodes that are not declared any more are leaving.
            view, overrides: as the brokers have told them in this pass.
        """
        old = status.balance
        report = BalanceReport(balance=old)
        moving = old is not None and old.last_plan is not None and old.last_plan.state is PlanState.MOVING
        off = cluster.spec.balance.mode is BalanceMode.OFF
        if cluster.spec.pause or view is None or (off and not moving):
            report.balance = old if cluster.spec.pause or view is None else None
            return report
        now = self._clock.monotonic_ms()
        wished = cluster.spec.balance, view.broker_ids, view.fenced_ids
        rested = self._looked_ms is None or now - self._looked_ms >= self._pacing.look_ms
        if not (rested or moving or wished != self._looked_for):
            return report
        self._looked_ms, self._looked_for = now, wished
        try:
            await self._pass(cluster, status, view, overrides or {}, report)
        except OperatorError as error:
            report.balance = replace(
                report.balance or BalanceStatus(), message=f"cannot balance now: {error}"
            )
        plan = report.balance.last_plan if report.balance is not None else None
        report.events += [
            Event(subject=cluster.key, message=action, is_action=True) for action in report.actions
        ]
        report.busy = bool(report.actions) or (plan is not None and plan.state is PlanState.MOVING)
        return report

    async def _pass(
        self,
        cluster: Cluster,
        status: ClusterStatus,
        view: ClusterView,
        overrides: Mapping[str, str],
        report: BalanceReport,
    ) -> None:
        seen = await self._observe()
        brokers = _brokers(cluster, view)
        live = frozenset(view.broker_ids)
        found = await in_thread(seen.partitions, survey, seen, brokers, live)
        declared = {node for pool in cluster.spec.pools for node in pool.node_ids}
        scene = Scene(
            spec=cluster.spec.balance,
            declared=declared,
            throttle=Throttle.of(cluster, overrides),
            topics=seen.topics,
            flying=seen.flying,
            partitions=found.partitions,
            brokers=brokers,
            leaving=bool(set(status.node_ids) - declared),
        )
        leaders = await self._leaders_of(scene, found.signature)
        look = Look(
            absent=found.absent,
            behind=found.behind,
            max_leaders=leaders.max_before,
            optimum=leaders.optimum,
            preferred_max=leaders.preferred_max,
            ratio=found.ratio,
            heaviest=found.heaviest,
            spread=bool(found.spread.words) and not scene.leaving,
        )
        verdict, self._pace = judge(look, self._pace, self._clock.monotonic_ms(), self._pacing)
        old = report.balance
        plan = await self._moves.keep(scene, old.last_plan if old else None, report.actions)
        if verdict.replicas and (plan is None or plan.state is PlanState.DONE):
            plan = await self._new_plan(scene, found.spread.words, cluster, report) or plan
        message = "; ".join(words for words in (verdict.waiting, say_plan(plan)) if words)
        if verdict.leaders and cluster.spec.balance.mode is not BalanceMode.OFF:
            message = await self._change_leaders(scene, verdict, report) or message
        message = message or say_proof(leaders.proof, leaders.optimum, leaders.mean_bound)
        report.balance = BalanceStatus(
            max_leaders=leaders.max_before,
            optimum=leaders.optimum,
            proof=leaders.proof,
            message=message,
            last_plan=plan,
        )

    # -- looking ------------------------------------------------------------------------------------------------

    async def _observe(self) -> Observed:
        return Observed(
            topics=await self._admin.list_topics(),
            flying=await self._admin.list_moves(),
            sizes=await self._fresh_sizes(),
            loads=await self._fresh_loads(),
        )

    async def _fresh_sizes(self) -> Mapping[Partition, int]:
        now = self._clock.monotonic_ms()
        if self._sizes is None or now - self._sizes[0] >= SIZES_MS:
            self._sizes = now, await self._admin.replica_bytes()
        return self._sizes[1]

    async def _fresh_loads(self) -> Mapping[Partition, PartitionLoad]:
        now = self._clock.monotonic_ms()
        if self._loads is None or now - self._loads[0] >= LOADS_MS:
            self._loads = now, await self._admin.partition_loads()
        return self._loads[1]

    # -- leaderships -----------------------------------------------------------------------------------------------

    async def _leaders_of(self, scene: Scene, signature: int) -> LeadershipPlan:
        """The plan by counts, made once for every state of the metadata."""
        if self._known is None or self._known[0] != (scene.brokers, signature):
            self._known = (scene.brokers, signature), await self._plan_leaders(scene, weigh=False)
        return self._known[1]

    async def _plan_leaders(self, scene: Scene, *, weigh: bool) -> LeadershipPlan:
        ask = BalanceAsk(brokers=scene.brokers, weigh=weigh)
        plan = await self._planner(plan_balance, scene.partitions, ask)
        assert plan.leaders is not None, "leaders were asked for"
        return plan.leaders

    async def _change_leaders(self, scene: Scene, verdict: Verdict, report: BalanceReport) -> str:
        """Order replicas, then elect; gives what failed, in words."""
        plan = await self._plan_leaders(scene, weigh=verdict.weigh)
        heaviest = max(plan.weight_after.values(), default=0.0)
        ratio = heaviest / plan.weight_bound if plan.weight_bound else 1.0
        by_weight = verdict.weigh and plan.weight_after != plan.weight_before
        failed = ""
        ordered = [Partition(*name) for name in plan.orders]
        for start in range(0, len(ordered), BATCH):
            batch = {place: plan.orders[place] for place in ordered[start : start + BATCH]}
            failed = failed or _first(await self._admin.move_replicas(batch))
        changed = [Partition(*change.name) for change in plan.changes]
        for start in range(0, len(changed), BATCH):
            failed = failed or _first(await self._admin.elect_preferred(changed[start : start + BATCH]))
        now = self._clock.monotonic_ms()
        self._pace = decided(self._pace, ratio, weighed=verdict.weigh, changed=by_weight, now_ms=now)
        self._looked_ms = None  # what came of it is looked at with the next pass
        if changed or ordered:
            report.actions.append(_say_leaders(plan, by_weight=by_weight))
        return f"leaders could not all be changed: {failed}" if failed else ""

    # -- replicas -----------------------------------------------------------------------------------------------------

    async def _new_plan(
        self, scene: Scene, why: str, cluster: Cluster, report: BalanceReport
    ) -> PlanStatus | None:
        spec = cluster.spec.balance
        self._sizes = None
        sizes = await self._fresh_sizes()
        partitions = [one._replace(size=sizes.get(Partition(*one.name), 0)) for one in scene.partitions]
        ask = BalanceAsk(
            brokers=scene.brokers,
            leaders=False,
            replicas=True,
            budget_bytes=spec.budget_bytes,
            throttle_bytes=scene.throttle.bytes_per_second,
        )
        plan = self._moves.begin((await self._planner(plan_balance, partitions, ask)).replicas, why, spec)
        if plan is not None:
            words = f"balance: {plan.summary}; {say_plan(plan)}"
            report.events.append(Event(subject=cluster.key, message=words))
        return plan


def _brokers(cluster: Cluster, view: ClusterView) -> tuple[PackBroker, ...]:
    """The declared brokers that serve, with what limits them."""
    return tuple(
        home._replace(rack=view.racks.get(home.id, home.rack))
        for home in declared_homes(cluster)
        if home.id in view.broker_ids
    )


def _first(outcomes: Mapping[Partition, AdminError | None]) -> str:
    """The first thing that failed, in words."""
    return next((f"{place}: {error}" for place, error in outcomes.items() if error is not None), "")


def _say_leaders(plan: LeadershipPlan, *, by_weight: bool) -> str:
    words = f"balance leaders: {counted(len(plan.changes), 'change')}"
    if plan.changes:
        words += f", at most {plan.max_before:,} -> {plan.max_after:,} on a broker"
    if by_weight:
        heaviest = [max(one.values(), default=0.0) / 1e6 for one in (plan.weight_before, plan.weight_after)]
        words += f", {heaviest[0]:,.1f} -> {heaviest[1]:,.1f} MB/s"
    if plan.orders:
        words += f"; {counted(len(plan.orders), 'preferred leader')} set"
    return words
