"""(Topic, its status, the topic as it is) to actions, each with its reason. Pure: no I/O, no clock.

A difference between resource and topic is either news (the resource changed) or drift (the topic changed
behind it). News is acted on at once. Drift is reported first, by the condition Drifted, and corrected by the
next plan: whoever changed the topic can see who changed it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from moldau_operator.names import counted
from moldau_operator.plan.cluster_facts import ClusterFacts
from moldau_operator.plan.throttles import THROTTLED
from moldau_operator.plan.topic_replicas import ReplicaStage, plan_replicas
from moldau_operator.resources import conditions
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.resources.meta import DeletionPolicy, Key
from moldau_operator.resources.status import TopicStatus
from moldau_operator.resources.topic import AdoptionPolicy, Topic, same_setting
from moldau_operator.seams.broker_admin import (
    BROKER_DEFAULT,
    ConfigChange,
    NewTopic,
    Partition,
    TopicView,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopic:
    """Create a topic."""

    topic: NewTopic
    reason: str

    @property
    def name(self) -> str:
        """The topic's name."""
        return self.topic.name

    def __str__(self) -> str:
        return f"create topic {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowPartitions:
    """Add partitions up to a total."""

    name: str
    total: int
    reason: str

    def __str__(self) -> str:
        return f"grow topic {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterTopic:
    """Set topic settings, and remove overrides."""

    name: str
    change: ConfigChange
    reason: str

    def __str__(self) -> str:
        return f"alter topic {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopic:
    """Delete a topic with its records."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"delete topic {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReplicas:
    """Begin to give partitions other replicas."""

    name: str
    targets: Mapping[Partition, tuple[int, ...]]
    reason: str

    def __str__(self) -> str:
        return f"move {counted(len(self.targets), 'partition')} of topic {self.name}: {self.reason}"


TopicAction = CreateTopic | GrowPartitions | AlterTopic | SetReplicas | DeleteTopic


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """What to do now, and the status once it is written down (before it is done)."""

    actions: tuple[TopicAction, ...]
    status: TopicStatus


def plan_topic(
    topic: Topic, status: TopicStatus, observed: TopicView | None, facts: ClusterFacts
) -> TopicPlan:
    """What brings the topic to its resource.

    Args:
        status: from the last look; the default one for a new resource.
        observed: None when there is no such topic.
    """
    spec, generation = topic.spec, topic.metadata.generation
    if status.topic_name and status.topic_name != spec.topic_name:
        words = (
            f"topicName was {status.topic_name} and cannot become {spec.topic_name}: set it back, "
            "and declare the new topic as a resource of its own"
        )
        return _unchanged(topic, status, conditions.stalled(Reason.IMMUTABLE, words))
    status = replace(
        status,
        observed_generation=generation,
        topic_name=spec.topic_name,
        deletion_policy=spec.deletion_policy,
        lost_to="",
        lost_generation=-1,
    )
    if facts.paused:
        words = "the Cluster is paused (spec.pause); nothing is changed"
        return _unchanged(topic, status, conditions.reconciling(Reason.PAUSED, words))
    problem = _unsatisfiable(topic, observed, facts)
    if problem:
        return _unchanged(topic, status, conditions.stalled(Reason.INVALID_SPEC, problem))
    if observed is None:
        return _plan_absent(topic, status, facts)
    return _plan_present(topic, status, observed, facts)


def plan_pending(topic: Topic, status: TopicStatus, message: str) -> TopicPlan:
    """The topic's cluster is not there (yet): nothing to do, and no fault of the topic's."""
    return _unchanged(topic, status, conditions.reconciling(Reason.PENDING, message))


def plan_removed(
    name: str, status: TopicStatus, observed: TopicView | None, *, claimed: bool
) -> tuple[TopicAction, ...]:
    """What a resource that is gone still asks for.

    Args:
        name: of the resource that went, for the reason.
        claimed: whether another resource stands for the same topic now.
    """
    wanted = status.deletion_policy is DeletionPolicy.DELETE and status.owned and not claimed
    if not wanted or observed is None or observed.topic_id != status.topic_id:
        return ()
    return (DeleteTopic(name=observed.name, reason=f"Topic {name} is gone and its deletionPolicy is Delete"),)


def find_conflicts(topics: Iterable[Topic], statuses: Mapping[Key, TopicStatus]) -> dict[Key, Key | None]:
    """Which resources may not have the topic they name, and who has it (None: nobody, see below).

    The oldest resource wins; of those made in the same second the one that has the topic already, then the lower
    uid: creation times have no fractions, and a topic must not change hands because of that. A resource that lost
    once is not promoted silently when the winner goes: it stays refused until its own spec changes.
    """
    claims: dict[tuple[str, str], list[Topic]] = {}
    for topic in topics:
        claims.setdefault((topic.spec.cluster, topic.spec.topic_name), []).append(topic)
    losers: dict[Key, Key | None] = {}
    for rivals in claims.values():
        standing = [topic for topic in rivals if not _lost_before(topic, statuses)]
        winner = min(standing, key=lambda one: _seniority(one, statuses)).key if standing else None
        for topic in rivals:
            if topic.key != winner:
                losers[topic.key] = winner
    return losers


def plan_conflict(topic: Topic, status: TopicStatus, winner: Key | None) -> TopicPlan:
    """The topic belongs to another resource, or did when this one asked."""
    name = topic.spec.topic_name
    if winner is not None:
        words = f"topic {name} belongs to {winner}, which is older: remove one of the two"
    else:
        words = (
            f"topic {name} belonged to {status.lost_to}, which is gone: change this resource's spec "
            "(or declare it anew) to take the topic over"
        )
    status = replace(
        status,
        observed_generation=topic.metadata.generation,
        lost_to=str(winner) if winner is not None else status.lost_to,
        lost_generation=topic.metadata.generation,
        owned=False,
    )
    return _unchanged(topic, status, conditions.stalled(Reason.RESOURCE_CONFLICT, words))


def _lost_before(topic: Topic, statuses: Mapping[Key, TopicStatus]) -> bool:
    status = statuses.get(topic.key)
    return status is not None and bool(status.lost_to) and status.lost_generation == topic.metadata.generation


def _seniority(topic: Topic, statuses: Mapping[Key, TopicStatus]) -> tuple[str, bool, str, str]:
    status = statuses.get(topic.key)
    has_it = status is not None and status.owned
    return (topic.metadata.created_at, not has_it, topic.metadata.uid, topic.metadata.name)


def _unchanged(topic: Topic, status: TopicStatus, found: tuple[Condition, ...]) -> TopicPlan:
    return TopicPlan(
        actions=(), status=replace(status, observed_generation=topic.metadata.generation, conditions=found)
    )


def _unsatisfiable(topic: Topic, observed: TopicView | None, facts: ClusterFacts) -> str | None:
    """Why no cluster like this one can hold the topic; None when it can."""
    spec = topic.spec
    if spec.replicas is not None and spec.replicas > facts.brokers:
        return (
            f"replicas is {spec.replicas}, but the cluster has {counted(facts.brokers, 'broker')}: "
            "lower it, or raise the Cluster's replicas"
        )
    min_isr, replicas = _min_isr(topic, facts), _replicas(topic, observed, facts)
    if min_isr > replicas:
        return (
            f"min.insync.replicas is {min_isr}, but the topic has {counted(replicas, 'replica')}: every acks=all "
            "write would be refused; lower it"
        )
    return None


def _min_isr(topic: Topic, facts: ClusterFacts) -> int:
    name = "min.insync.replicas"
    return int(topic.spec.config.get(name) or facts.config.get(name) or 1)


def _replicas(topic: Topic, observed: TopicView | None, facts: ClusterFacts) -> int:
    if topic.spec.replicas is not None:
        return topic.spec.replicas
    if observed is not None:
        return observed.replicas
    return int(facts.config.get("default.replication.factor") or 1)


def _plan_absent(topic: Topic, status: TopicStatus, facts: ClusterFacts) -> TopicPlan:
    spec = topic.spec
    needed = _replicas(topic, None, facts)
    if facts.registered is not None and facts.registered < needed <= facts.brokers:
        words = f"waits for brokers: {counted(needed, 'replica')} wanted, {facts.registered} of them there"
        return _unchanged(topic, status, conditions.reconciling(Reason.PENDING, words))
    reason = "declared, and not there yet"
    if status.topic_id:
        words = f"topic {spec.topic_name} was deleted behind its resource"
        drifted = conditions.flag(ConditionType.DRIFTED, True, Reason.DELETED_BEHIND, words)
        if not spec.recreate:
            advice = f"{words}; set recreate: true to make it again, empty, or remove the resource"
            return _unchanged(topic, status, (*conditions.stalled(Reason.DELETED_BEHIND, advice), drifted))
        if not conditions.is_true(status.conditions, ConditionType.DRIFTED):
            found = conditions.reconciling(Reason.DELETED_BEHIND, f"{words}; it is made again, empty")
            return _unchanged(topic, status, (*found, drifted))
        reason = "was deleted behind its resource, and recreate is on"
    action = CreateTopic(
        topic=NewTopic(
            name=spec.topic_name,
            partitions=spec.partitions or BROKER_DEFAULT,
            replicas=spec.replicas or BROKER_DEFAULT,
            config=dict(spec.config),
        ),
        reason=reason,
    )
    status = replace(
        status,
        topic_id="",
        owned=True,
        conditions=conditions.reconciling(Reason.APPLYING, f"creating topic {spec.topic_name}"),
    )
    return TopicPlan(actions=(action,), status=status)


def _plan_present(topic: Topic, status: TopicStatus, observed: TopicView, facts: ClusterFacts) -> TopicPlan:
    spec = topic.spec
    if not status.owned and spec.adoption_policy is AdoptionPolicy.REFUSE:
        words = f"topic {observed.name} was there first; set adoptionPolicy: Adopt to take it over"
        return _unchanged(topic, status, conditions.stalled(Reason.ADOPTION_REFUSED, words))
    status = replace(
        status,
        topic_id=observed.topic_id,
        owned=True,
        partitions=observed.partitions,
        replicas=observed.replicas,
        under_replicated=observed.under_replicated,
    )
    stage = plan_replicas(observed, spec.replicas, facts.places)
    refusal = _refusal(topic, observed)
    if not refusal and stage.refusal:
        refusal = conditions.stalled(Reason.NOT_SUPPORTED, stage.refusal)
    actions = (*_growth(topic, observed), *_config_change(topic, observed), *_moves(observed, stage))
    warnings = _warnings(topic, observed, facts)
    if not actions and stage.waiting:
        found = refusal or conditions.reconciling(Reason.MOVING_REPLICAS, stage.waiting)
        return _unchanged(topic, status, (*found, *warnings))
    if not actions:
        status = replace(status, settled_generation=topic.metadata.generation)
        return _unchanged(topic, status, (*(refusal or _health(observed)), *warnings))
    what = "; ".join(action.reason for action in actions)
    if status.settled_generation != topic.metadata.generation:
        found = refusal or conditions.reconciling(Reason.APPLYING, what)
        return TopicPlan(actions=actions, status=replace(status, conditions=(*found, *warnings)))
    drifted = conditions.flag(
        ConditionType.DRIFTED, True, Reason.CHANGED_BEHIND, f"changed behind its resource: {what}"
    )
    found = refusal or conditions.reconciling(Reason.CHANGED_BEHIND, f"changed behind its resource: {what}")
    known = conditions.is_true(status.conditions, ConditionType.DRIFTED)
    return TopicPlan(
        actions=actions if known else (), status=replace(status, conditions=(*found, drifted, *warnings))
    )


def _refusal(topic: Topic, observed: TopicView) -> tuple[Condition, ...]:
    """The part of the spec that an existing topic cannot follow."""
    spec = topic.spec
    if spec.partitions is not None and spec.partitions < observed.partitions:
        words = (
            f"partitions is {spec.partitions}, but the topic has {observed.partitions} and partitions cannot be "
            f"removed: set partitions: {observed.partitions}, or move the records to a new topic"
        )
        return conditions.stalled(Reason.NOT_SUPPORTED, words)
    return ()


def _moves(observed: TopicView, stage: ReplicaStage) -> tuple[TopicAction, ...]:
    if not stage.targets:
        return ()
    return (SetReplicas(name=observed.name, targets=stage.targets, reason=stage.reason),)


def _growth(topic: Topic, observed: TopicView) -> tuple[TopicAction, ...]:
    wanted = topic.spec.partitions
    if wanted is None or wanted <= observed.partitions:
        return ()
    reason = f"partitions {observed.partitions} -> {wanted}"
    return (GrowPartitions(name=observed.name, total=wanted, reason=reason),)


def _config_change(topic: Topic, observed: TopicView) -> tuple[TopicAction, ...]:
    wanted, actual = topic.spec.config, observed.overrides
    to_set = {
        name: value
        for name, value in wanted.items()
        if name not in actual or not same_setting(name, value, actual[name])
    }
    to_remove = tuple(sorted(actual.keys() - wanted.keys() - THROTTLED))
    if not to_set and not to_remove:
        return ()
    parts = [f"{name} {actual.get(name, 'unset')} -> {value}" for name, value in sorted(to_set.items())]
    parts += [f"{name} {actual[name]} -> unset" for name in to_remove]
    change = ConfigChange(set=to_set, remove=to_remove)
    return (AlterTopic(name=observed.name, change=change, reason=", ".join(parts)),)


def _health(observed: TopicView) -> tuple[Condition, ...]:
    if observed.leaderless:
        words = f"{observed.leaderless} of {counted(observed.partitions, 'partition')} without a leader"
        return conditions.reconciling(Reason.NODE_DOWN, words)
    return conditions.ready()


def _warnings(topic: Topic, observed: TopicView, facts: ClusterFacts) -> tuple[Condition, ...]:
    replicas, min_isr = _replicas(topic, observed, facts), _min_isr(topic, facts)
    if replicas > 1 and min_isr == replicas:
        words = (
            f"min.insync.replicas equals replicas ({replicas}): one broker down stops every acks=all write"
        )
        return (conditions.flag(ConditionType.WARNING, True, Reason.MIN_ISR_IS_REPLICAS, words),)
    return ()
