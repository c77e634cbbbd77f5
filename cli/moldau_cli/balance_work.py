"""What `moldau balance` asks of a cluster and does to it: the operator's own planner and executor, driven by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from moldau_broker.client.errors import ClientError
from moldau_cli.context import Target
from moldau_cli.root import Failure
from moldau_operator.adapters.brokers import KafkaAdmin
from moldau_operator.adapters.off_loop import off_loop
from moldau_operator.errors import AdminError
from moldau_operator.plan.balance import BalanceAsk, BalancePlan, plan_balance
from moldau_operator.plan.balance_pace import WEIGHT_MIN
from moldau_operator.plan.leadership import led_weights
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition, see
from moldau_operator.plan.plan_life import become, begun
from moldau_operator.plan.rebalance import PlannedMove
from moldau_operator.plan.throttles import RATES
from moldau_operator.reconcile.balance_moves import MovesKeeper, Scene
from moldau_operator.reconcile.throttled_moves import Throttle, take_back
from moldau_operator.resources.balance_status import THROTTLE_BYTES, PlanState, PlanStatus
from moldau_operator.resources.cluster import Approval, Balance, BalanceMode
from moldau_operator.seams.broker_admin import ClusterView, MoveView, Partition, TopicView

POLL_S: Final = 0.5
"""Between two looks at moves under way."""
BATCH: Final = 500
"""Partitions of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A cluster as it is.

    Attributes:
        sizes: bytes of a replica, by partition.
        loads_known: whether any leader told what it carries.
    """

    view: ClusterView
    topics: Mapping[str, TopicView]
    flying: Mapping[Partition, MoveView]
    sizes: Mapping[Partition, int]
    partitions: list[SeenPartition]
    overrides: Mapping[str, str]
    loads_known: bool

    @property
    def brokers(self) -> tuple[PackBroker, ...]:
        """Those that serve."""
        return tuple(PackBroker(node, self.view.racks.get(node)) for node in sorted(self.view.broker_ids))

    @property
    def absent(self) -> list[int]:
        """Brokers that hold replicas and do not serve."""
        return sorted({node for one in self.partitions for node in one.replicas} - set(self.view.broker_ids))

    @property
    def throttle(self) -> int | None:
        """Bytes a second that moves may take of a broker now, where that is limited."""
        rates = [int(self.overrides[name]) for name in RATES if name in self.overrides]
        return min(rates, default=None)


class Desk:
    """One cluster, asked and changed through the operator's own admin client.

    Args:
        http: host:port of the nodes' admin API, as far as they are known; what partitions carry is asked there.
    """

    def __init__(self, target: Target, http: Sequence[str]) -> None:
        self._admin = KafkaAdmin(lambda: target.bootstrap, lambda: http, target.config)

    async def close(self) -> None:
        """Close all connections."""
        await self._admin.close()

    async def look(self) -> Seen:
        """Everything a plan needs."""
        view = await self._admin.describe_cluster()
        topics, flying = await self._admin.list_topics(), await self._admin.list_moves()
        sizes, loads = await self._admin.replica_bytes(), await self._admin.partition_loads()
        return Seen(
            view=view,
            topics=topics,
            flying=flying,
            sizes=sizes,
            partitions=see(topics, sizes, loads, flying),
            overrides=await self._admin.broker_overrides(),
            loads_known=bool(loads),
        )

    async def plan(
        self,
        seen: Seen,
        *,
        budget_bytes: int | None,
        throttle_bytes: int,
        replicas: bool = True,
        kept: tuple[PlannedMove, ...] = (),
    ) -> BalancePlan:
        """The best there is for what was seen."""
        weights = led_weights(seen.partitions, {}, seen.view.broker_ids)
        ask = BalanceAsk(
            brokers=seen.brokers,
            weigh=max(weights.values(), default=0.0) >= WEIGHT_MIN,
            replicas=replicas,
            budget_bytes=budget_bytes,
            throttle_bytes=throttle_bytes,
            kept=kept,
        )
        return await off_loop(plan_balance, seen.partitions, ask)

    async def change_leaders(self, plan: BalancePlan) -> int:
        """Order replicas and elect; gives how many leaders changed.

        Raises:
            AdminError: one could not be changed.
        """
        leaders = plan.leaders
        if leaders is None:
            return 0
        ordered = [Partition(*name) for name in leaders.orders]
        for start in range(0, len(ordered), BATCH):
            orders = {place: leaders.orders[place] for place in ordered[start : start + BATCH]}
            _settle(await self._admin.move_replicas(orders))
        changed = [Partition(*change.name) for change in leaders.changes]
        for start in range(0, len(changed), BATCH):
            _settle(await self._admin.elect_preferred(changed[start : start + BATCH]))
        return len(changed)

    async def move(
        self, seen: Seen, plan: BalancePlan, throttle_bytes: int, tell: Callable[[PlanStatus], None]
    ) -> PlanStatus:
        """Carry the moves out; interrupted, what is on its way goes back and the throttle goes.

        Args:
            tell: told the plan's state after every look.
        """
        assert plan.replicas is not None, "there is something to move"
        spec = Balance(mode=BalanceMode.AUTO, approval=Approval.AUTO, throttle_bytes=throttle_bytes)
        keeper = MovesKeeper(self._admin)
        status = become(begun(plan.replicas, "by hand"), PlanState.MOVING)
        done: list[str] = []
        try:
            while status.state is PlanState.MOVING:
                tell(status)
                status = await self._step(keeper, seen, spec, status, done)
                if status.state is PlanState.MOVING:
                    await asyncio.sleep(POLL_S)
        except (asyncio.CancelledError, AdminError):
            await self._step(keeper, seen, replace(spec, mode=BalanceMode.OFF), status, done)
            raise
        tell(status)
        return status

    async def _step(
        self, keeper: MovesKeeper, seen: Seen, spec: Balance, status: PlanStatus, done: list[str]
    ) -> PlanStatus:
        view = await self._admin.describe_cluster()
        topics, flying = await self._admin.list_topics(), await self._admin.list_moves()
        scene = Scene(
            spec=spec,
            declared=frozenset(one.id for one in seen.brokers),
            throttle=Throttle(
                bytes_per_second=spec.throttle_bytes or THROTTLE_BYTES,
                overrides=await self._admin.broker_overrides(),
            ),
            topics=topics,
            flying=flying,
            partitions=see(topics, seen.sizes, {}, flying),
            brokers=tuple(PackBroker(node, view.racks.get(node)) for node in view.broker_ids),
            leaving=False,
        )
        found = await keeper.keep(scene, status, done)
        assert found is not None, "a plan that moves does not vanish"
        return found

    async def clean_up(self, seen: Seen) -> bool:
        """Take away a throttle that an earlier run left behind; gives whether there was one."""
        if seen.throttle is None or seen.flying:
            return False
        await take_back(self._admin, Throttle(overrides=seen.overrides))
        return True


def _settle(outcomes: Mapping[Partition, AdminError | None]) -> None:
    for place, error in outcomes.items():
        if error is not None:
            raise AdminError(error.code, f"{place}: {error}", retriable=error.retriable)


def in_words(error: AdminError | ClientError) -> Failure:
    """A failure as a line, with the protocol's own word for it."""
    code = getattr(error, "code", None)
    return Failure(f"{error} ({code.name})" if code is not None else str(error))
