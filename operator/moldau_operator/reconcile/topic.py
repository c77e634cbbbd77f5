"""Topics of one cluster: look at all of them at once, plan each, write the statuses down, apply in batches.

Two thousand new Topics cost a handful of requests, not two thousand: looking, creating, growing, altering
and deleting are one call each per `BATCH` topics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from moldau_broker.base.clock import Clock
from moldau_broker.base.errors import ErrorCode
from moldau_operator.adapters.off_loop import in_thread, off_loop
from moldau_operator.errors import AdminError
from moldau_operator.plan.cluster_facts import ClusterFacts
from moldau_operator.plan.execution import IN_FLIGHT_MAX
from moldau_operator.plan.factors import plan_factors
from moldau_operator.plan.partitions import see
from moldau_operator.plan.topic import (
    AlterTopic,
    CreateTopic,
    GrowPartitions,
    SetReplicas,
    TopicAction,
    TopicPlan,
    find_conflicts,
    plan_conflict,
    plan_removed,
    plan_topic,
)
from moldau_operator.plan.topic_replicas import Places, as_it_will_be, wrong_partitions
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.holdoff import HoldOff
from moldau_operator.reconcile.report import Report, changed, record, stamp
from moldau_operator.reconcile.throttled_moves import Throttle, move_throttled
from moldau_operator.resources import conditions
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.resources.meta import DeletionPolicy, Key
from moldau_operator.resources.status import TopicStatus
from moldau_operator.resources.topic import Topic
from moldau_operator.seams.broker_admin import BrokerAdmin, Partition, TopicView
from moldau_operator.seams.status_store import StatusStore

A = TypeVar("A")
Outcomes = dict[str, AdminError | None]

BATCH: Final = 500
"""Topics per admin request: an answer stays far below a frame, and a request below a second."""

DRIFT_SHOWN_MS: Final = 5_000
"""How long a drift is shown before it is corrected: time for a status to be read and for a log line to make sense."""

_SPEC_ERRORS: Final = frozenset(
    {
        ErrorCode.INVALID_CONFIG,
        ErrorCode.INVALID_PARTITIONS,
        ErrorCode.INVALID_REPLICATION_FACTOR,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.INVALID_REQUEST,
    }
)
"""Answers that blame the spec; others blame the moment or a policy."""


class TopicReconciler:
    """Brings the topics of one cluster to their resources, one pass at a time."""

    def __init__(self, admin: BrokerAdmin, store: StatusStore, clock: Clock) -> None:
        self._admin = admin
        self._store = store
        self._clock = clock
        self._holds = HoldOff()

    async def reconcile(
        self,
        topics: Sequence[Topic],
        statuses: Mapping[Key, TopicStatus],
        facts: ClusterFacts,
        throttle: Throttle | None = None,
    ) -> Report[TopicStatus]:
        """One pass.

        Args:
            statuses: all that are kept for this cluster's Topics, those of resources that are gone too.
            throttle: of the replicas that are copied; by default the one of a Cluster that says nothing.

        Raises:
            AdminError: the brokers could not be asked; nothing was changed.
        """
        report: Report[TopicStatus] = Report()
        declared = {topic.key: topic for topic in topics}
        removed = {key: status for key, status in statuses.items() if key not in declared}
        observed = await self._look(topics, removed.values())
        losers = find_conflicts(topics, statuses)
        facts = await self._find_places(topics, observed, facts)
        plans: dict[Key, TopicPlan] = {}
        for key, topic in declared.items():
            status = _inherited(topic, statuses.get(key) or TopicStatus(), removed, observed)
            if key in losers:
                plans[key] = plan_conflict(topic, status, losers[key])
            else:
                plans[key] = plan_topic(topic, status, observed.get(topic.spec.topic_name), facts)
                facts = _after(facts, plans[key])
        actions: list[tuple[Key, TopicAction]] = []
        for key, plan in plans.items():
            generation = declared[key].metadata.generation
            if plan.actions and self._holds.blocks(key, generation, self._clock.monotonic_ms()):
                plans[key] = TopicPlan(actions=(), status=statuses[key])
            elif _reports_drift(plan, statuses.get(key)):
                self._holds.pause(key, generation, self._clock.monotonic_ms() + DRIFT_SHOWN_MS)
            actions.extend((key, action) for action in plans[key].actions)
        now = self._clock.wall_ms()
        ahead = {
            key: stamp(statuses.get(key), plan.status, now) for key, plan in plans.items() if plan.actions
        }
        await self._save(statuses, ahead)
        failures = await self._apply(actions, declared, report, throttle or Throttle())
        for key, plan in plans.items():
            found = failures.get(key)
            status = plan.status if found is None else replace(plan.status, conditions=found)
            record(report, key, statuses.get(key), status, self._clock.wall_ms())
            if key in report.acted or not conditions.is_settled(status.conditions):
                report.pending.add(key)
        await self._save({**statuses, **ahead}, report.statuses)
        if not facts.paused:
            await self._let_go(removed, observed, topics, report)
        return report

    async def _look(self, topics: Sequence[Topic], removed: Iterable[TopicStatus]) -> dict[str, TopicView]:
        names = {topic.spec.topic_name for topic in topics}
        names.update(
            s.topic_name for s in removed if s.deletion_policy is DeletionPolicy.DELETE and s.topic_name
        )
        observed: dict[str, TopicView] = {}
        for batch in _batches(sorted(names)):
            observed.update(await self._admin.describe_topics(batch))
        return observed

    async def _find_places(
        self, topics: Sequence[Topic], observed: dict[str, TopicView], facts: ClusterFacts
    ) -> ClusterFacts:
        """The facts with homes for replicas, asked for only where some topic lacks or exceeds what is declared.

        What only moves, for balance or off a node that leaves, is shown in `observed` as it will be. Moves are asked
        for before and after: one that begins or ends between two questions would look like a change of replicas.
        """
        if facts.paused or not any(
            topic.spec.topic_name in observed
            and wrong_partitions(observed[topic.spec.topic_name], topic.spec.replicas)
            for topic in topics
        ):
            return facts
        view = await self._admin.describe_cluster()
        before = await self._admin.list_moves()
        everything = await self._admin.list_topics()
        moves = await self._admin.list_moves()
        for name in observed.keys() & everything.keys():
            observed[name] = as_it_will_be(observed[name], everything[name].placement, {**before, **moves})
        wanted = {
            Partition(topic.spec.topic_name, number): topic.spec.replicas
            for topic in topics
            if topic.spec.topic_name in observed and topic.spec.replicas is not None
            for number in wrong_partitions(observed[topic.spec.topic_name], topic.spec.replicas)
        }
        ask = facts.ask({place: factor for place, factor in wanted.items() if place not in moves}, view)
        sizes = await self._admin.replica_bytes()
        count = sum(topic.partitions for topic in everything.values())
        partitions = await in_thread(count, see, everything, sizes, {}, moves)
        places = Places(
            open=len(ask.homes) - len(ask.away),
            plan=await off_loop(plan_factors, partitions, ask),
            moves=moves,
            room=max(IN_FLIGHT_MAX - len(moves), 0),
        )
        return replace(facts, places=places)

    async def _save(self, old: Mapping[Key, TopicStatus], new: Mapping[Key, TopicStatus]) -> None:
        different = changed(old, new)
        if different:
            await self._store.save(different)

    async def _let_go(
        self,
        removed: Mapping[Key, TopicStatus],
        observed: Mapping[str, TopicView],
        topics: Sequence[Topic],
        report: Report[TopicStatus],
    ) -> None:
        """Do what resources that are gone still ask for, then forget them."""
        claimed = {topic.spec.topic_name for topic in topics}
        done: set[Key] = set()
        for key, status in removed.items():
            actions = plan_removed(
                key.name, status, observed.get(status.topic_name), claimed=status.topic_name in claimed
            )
            if not actions:
                done.add(key)
                if (
                    status.owned
                    and status.topic_name not in claimed
                    and status.deletion_policy is DeletionPolicy.RETAIN
                ):
                    words = (
                        f"is no longer declared; topic {status.topic_name} is kept (deletionPolicy: Retain)"
                    )
                    report.events.append(Event(subject=key, message=words))
                continue
            failed = (await self._admin.delete_topics([action.name for action in actions])).get(
                status.topic_name
            )
            if failed is None or failed.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                done.add(key)
                for action in actions:
                    report.did(key, str(action))
            else:
                report.pending.add(key)
                report.events.append(
                    Event(subject=key, message=f"cannot be deleted yet: {failed}", warning=True)
                )
        if done:
            await self._store.forget(frozenset(done))

    async def _apply(
        self,
        actions: Sequence[tuple[Key, TopicAction]],
        declared: Mapping[Key, Topic],
        report: Report[TopicStatus],
        throttle: Throttle,
    ) -> dict[Key, tuple[Condition, ...]]:
        """Carry the actions out, kind by kind; gives the conditions of the resources where one failed."""
        failures: dict[Key, tuple[Condition, ...]] = {}
        await self._run(actions, CreateTopic, self._create, declared, report, failures)
        await self._run(actions, GrowPartitions, self._grow, declared, report, failures)
        await self._run(actions, AlterTopic, self._alter, declared, report, failures)
        await self._run(actions, SetReplicas, partial(self._move, throttle), declared, report, failures)
        return failures

    async def _create(self, batch: Sequence[CreateTopic]) -> Outcomes:
        return await self._admin.create_topics([action.topic for action in batch])

    async def _grow(self, batch: Sequence[GrowPartitions]) -> Outcomes:
        return await self._admin.create_partitions({action.name: action.total for action in batch})

    async def _alter(self, batch: Sequence[AlterTopic]) -> Outcomes:
        return await self._admin.alter_topics({action.name: action.change for action in batch})

    async def _move(self, throttle: Throttle, batch: Sequence[SetReplicas]) -> Outcomes:
        targets = {place: to for one in batch for place, to in one.targets.items()}
        found = await move_throttled(self._admin, targets, throttle)
        outcomes: Outcomes = {one.name: None for one in batch}
        for place, error in found.items():
            outcomes[place.topic] = outcomes[place.topic] or error
        return outcomes

    async def _run(
        self,
        actions: Sequence[tuple[Key, TopicAction]],
        kind: type[A],
        call: Callable[[Sequence[A]], Awaitable[Outcomes]],
        declared: Mapping[Key, Topic],
        report: Report[TopicStatus],
        failures: dict[Key, tuple[Condition, ...]],
    ) -> None:
        mine = [(key, action) for key, action in actions if isinstance(action, kind)]
        for batch in _batches(mine):
            try:
                outcomes = await call([action for _, action in batch])
            except AdminError as error:
                outcomes = dict.fromkeys((declared[key].spec.topic_name for key, _ in batch), error)
            for key, action in batch:
                topic = declared[key]
                failure = outcomes.get(topic.spec.topic_name)
                if failure is not None:
                    self._holds.failed(key, topic.metadata.generation, self._clock.monotonic_ms())
                    failures[key] = _failure(action, failure)
                    continue
                self._holds.succeeded(key)
                report.did(key, str(action))


def _inherited(
    topic: Topic,
    status: TopicStatus,
    removed: Mapping[Key, TopicStatus],
    observed: Mapping[str, TopicView],
) -> TopicStatus:
    """A resource made anew under its name goes on with the topic of the former one: nobody else's was there first."""
    view = observed.get(topic.spec.topic_name)
    if view is None or status.topic_id:
        return status
    has_it = any(key[:3] == topic.key[:3] and left.topic_id == view.topic_id for key, left in removed.items())
    return replace(status, owned=True) if has_it else status


def _failure(action: object, error: AdminError) -> tuple[Condition, ...]:
    words = f"cannot {action}: {error}"
    if error.retriable:
        return conditions.reconciling(Reason.RETRYING, words)
    return conditions.stalled(
        Reason.INVALID_SPEC if error.code in _SPEC_ERRORS else Reason.REFUSED_BY_BROKER, words
    )


def _after(facts: ClusterFacts, plan: TopicPlan) -> ClusterFacts:
    """The facts for the next topic: what this plan moves takes room."""
    taken = sum(len(action.targets) for action in plan.actions if isinstance(action, SetReplicas))
    if not taken or facts.places is None:
        return facts
    return replace(facts, places=replace(facts.places, room=max(facts.places.room - taken, 0)))


def _reports_drift(plan: TopicPlan, old: TopicStatus | None) -> bool:
    """Whether this plan is the one that found the drift."""
    was = old is not None and conditions.is_true(old.conditions, ConditionType.DRIFTED)
    return conditions.is_true(plan.status.conditions, ConditionType.DRIFTED) and not was


def _batches(items: Sequence[A]) -> Iterator[Sequence[A]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
