"""Plans that move data, kept and carried out: approved or not, throttled, in waves, stopped, cleaned up after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from moldau_operator.names import counted
from moldau_operator.plan.execution import MoveState, Progress, measure, next_wave
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.plan_life import advanced, become, begun, moves_of, still_fits
from moldau_operator.plan.rebalance import PlannedMove, ReplicaPlan
from moldau_operator.plan.throttles import throttled_topics
from moldau_operator.reconcile.throttled_moves import Throttle, adding_of, alter_rates, alter_throttles
from moldau_operator.resources.balance_status import PlanState, PlanStatus
from moldau_operator.resources.cluster import Balance
from moldau_operator.seams.broker_admin import BrokerAdmin, MoveView, Partition, TopicView


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The cluster as one pass has found it.

    Attributes:
        spec: what balancing may do.
        declared: ids of brokers that are.
        throttle: what moves may take, and the rates that stand.
        topics, flying, partitions: everything, and what moves.
        brokers: that serve and are declared. leaving: whether there are nodes that are not.
    """

    spec: Balance
    declared: Collection[int]
    throttle: Throttle
    topics: Mapping[str, TopicView]
    flying: Mapping[Partition, MoveView]
    partitions: Sequence[SeenPartition]
    brokers: tuple[PackBroker, ...]
    leaving: bool


class MovesKeeper:
    """Keeps the plan of one cluster. Remembers only which topics it has seen to, to ask less."""

    def __init__(self, admin: BrokerAdmin) -> None:
        self._admin = admin
        self._throttled: dict[str, dict[str, str]] | None = None

    def begin(self, plan: ReplicaPlan | None, why: str, spec: Balance) -> PlanStatus | None:
        """A new plan, which waits or is begun with at once; None where there is nothing to move."""
        if plan is None or not plan.moves:
            return None
        made = begun(plan, why)
        return become(made, PlanState.MOVING) if spec.allows(made.hash) else made

    async def keep(self, scene: Scene, plan: PlanStatus | None, actions: list[str]) -> PlanStatus | None:
        """The plan after this pass; None when there is none any more.

        Args:
            actions: what is done is noted here, in words.

        Raises:
            AdminError: the brokers could not be asked; the next pass goes on.
        """
        if plan is None or plan.state is PlanState.DONE:
            return plan
        there = frozenset(one.id for one in scene.brokers)
        moves = moves_of(plan)
        progress = measure(moves, scene.topics, scene.flying)
        if plan.state is not PlanState.MOVING:
            if not still_fits(plan, progress, scene.partitions, there) or scene.leaving:
                return None
            # The state is written down before anything moves, so that no move is ever without its plan.
            return become(plan, PlanState.MOVING) if scene.spec.allows(plan.hash) else plan
        if not scene.spec.allows(plan.hash):
            return await self._stop(scene, plan, moves, progress, actions)
        # What was to go to a broker that is not declared any more will never arrive.
        wanted = [move for move in moves if move.target in scene.declared]
        if measure(wanted, scene.topics, scene.flying).finished:
            await self._clean_up(scene, moves)
            arrived = progress.count(MoveState.DONE)
            actions.append(f"balance: plan {plan.hash} is done, {counted(arrived, 'replica')} moved")
            return replace(become(plan, PlanState.DONE), done=arrived, eta="", encoded="")
        await self._advance(scene, wanted, there)
        return advanced(plan, progress, scene.partitions, scene.throttle.bytes_per_second)

    async def _advance(
        self,
        scene: Scene,
        moves: Sequence[PlannedMove],
        live: frozenset[int],
    ) -> None:
        """The rates, then the topics' throttles, then the moves: none of them begins without its throttle."""
        await alter_rates(self._admin, scene.throttle.set_rates())
        wave = next_wave(moves, scene.topics, scene.flying, live)
        coming = {**_foreign(scene, moves), **wave.adding}
        await self._throttle(throttled_topics(coming, scene.topics), moves)
        if not wave.targets:
            return
        outcomes = await self._admin.move_replicas(wave.targets)
        failed = next((error for error in outcomes.values() if error is not None), None)
        if failed is not None:
            raise failed

    async def _stop(
        self,
        scene: Scene,
        plan: PlanStatus,
        moves: Sequence[PlannedMove],
        progress: Progress,
        actions: list[str],
    ) -> PlanStatus:
        """Nobody allows it any more: what is on its way goes back, what has arrived stays."""
        flying = [
            Partition(*move.name)
            for move, state in zip(moves, progress.states, strict=True)
            if state is MoveState.IN_FLIGHT
        ]
        if flying:
            await self._admin.cancel_moves(flying)
        await self._clean_up(scene, moves_of(plan))
        actions.append(f"balance: plan {plan.hash} is stopped, {counted(len(flying), 'move')} taken back")
        return become(plan, PlanState.STOPPED)

    async def _throttle(self, wanted: Mapping[str, Mapping[str, str]], moves: Sequence[PlannedMove]) -> None:
        """Bring the topics' throttles to what is wanted; after a start, of every topic of the plan."""
        topics = {move.name[0] for move in moves}
        known = self._throttled
        names = (
            sorted(topics)
            if known is None
            else [name for name in sorted(topics) if known.get(name, {}) != wanted.get(name, {})]
        )
        self._throttled = None  # unless all of it is done
        await alter_throttles(self._admin, names, wanted)
        self._throttled = {name: dict(settings) for name, settings in wanted.items()}

    async def _clean_up(self, scene: Scene, moves: Sequence[PlannedMove]) -> None:
        """The topics' throttles first, the rates last: as long as a rate is there, there may be something left.

        What others move keeps both until it has arrived.
        """
        self._throttled = None
        foreign = _foreign(scene, moves)
        await self._throttle(throttled_topics(foreign, scene.topics), moves)
        self._throttled = None
        if not foreign:
            await alter_rates(self._admin, scene.throttle.unset_rates())


def _foreign(scene: Scene, moves: Sequence[PlannedMove]) -> dict[Partition, frozenset[int]]:
    """The brokers that come to partitions of which the plan moves nothing."""
    ours = {Partition(*move.name) for move in moves}
    return {place: adding for place, adding in adding_of(scene.flying).items() if place not in ours}
