"""Topic plans: every row of the bad-input catalogue (operator) that concerns topics, and zero actions at rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.plan.factors import FactorPlan
from moldau_operator.plan.topic import (
    AlterTopic,
    ClusterFacts,
    CreateTopic,
    DeleteTopic,
    GrowPartitions,
    SetReplicas,
    TopicAction,
    TopicPlan,
    find_conflicts,
    plan_conflict,
    plan_removed,
    plan_topic,
)
from moldau_operator.plan.topic_replicas import Places
from moldau_operator.resources.conditions import ConditionType, Reason, find, is_true
from moldau_operator.resources.meta import DeletionPolicy, Metadata
from moldau_operator.resources.status import TopicStatus
from moldau_operator.resources.topic import AdoptionPolicy, Topic, TopicSpec
from moldau_operator.seams.broker_admin import (
    BROKER_DEFAULT,
    ConfigChange,
    MoveView,
    NewTopic,
    Partition,
    PartitionView,
    TopicView,
)

FACTS = ClusterFacts(brokers=3, config={})
MakeTopic = Callable[..., Topic]


def view(partitions: int = 6, replicas: int = 1, topic_id: str = "id-1", **overrides: str) -> TopicView:
    config = {name.replace("_", "."): value for name, value in overrides.items()}
    return TopicView(
        name="orders", topic_id=topic_id, partitions=partitions, replicas=replicas, overrides=config
    )


def settled(topic: Topic, observed: TopicView) -> TopicStatus:
    """The status after the topic was brought to its resource."""
    plan = plan_topic(topic, TopicStatus(), observed, FACTS)
    assert plan.actions == ()
    return plan.status


def why(plan: TopicPlan) -> tuple[Reason, str]:
    found = find(plan.status.conditions, ConditionType.READY)
    assert found is not None
    return found.reason, found.message


def test_a_missing_topic_is_created_as_declared(make_topic: MakeTopic) -> None:
    """Numbers that are not declared are left to the brokers."""
    plan = plan_topic(make_topic(config={"retention.ms": "1"}), TopicStatus(), None, FACTS)
    new = NewTopic(
        name="orders", partitions=BROKER_DEFAULT, replicas=BROKER_DEFAULT, config={"retention.ms": "1"}
    )
    assert plan.actions == (CreateTopic(topic=new, reason="declared, and not there yet"),)
    assert plan.status.owned


def test_a_topic_as_declared_needs_nothing(make_topic: MakeTopic) -> None:
    """Ready, and no action: a converged object causes zero writes."""
    topic = make_topic(partitions=6, replicas=1, config={"retention.ms": "1000"})
    plan = plan_topic(topic, TopicStatus(), view(retention_ms="1000"), FACTS)
    assert plan.actions == ()
    assert is_true(plan.status.conditions, ConditionType.READY)
    assert (plan.status.topic_id, plan.status.partitions, plan.status.replicas) == ("id-1", 6, 1)


def test_what_is_not_declared_is_not_managed(make_topic: MakeTopic) -> None:
    """A Topic without numbers accepts any."""
    assert plan_topic(make_topic(), TopicStatus(), view(partitions=50, replicas=3), FACTS).actions == ()


def test_partitions_grow(make_topic: MakeTopic) -> None:
    """The reason says from what to what."""
    plan = plan_topic(make_topic(partitions=12), TopicStatus(), view(), FACTS)
    assert plan.actions == (GrowPartitions(name="orders", total=12, reason="partitions 6 -> 12"),)


def test_fewer_partitions_are_refused_and_other_changes_made(make_topic: MakeTopic) -> None:
    """Kafka cannot remove partitions; a setting changed along with them can be set."""
    topic = make_topic(partitions=3, config={"retention.ms": "5"})
    plan = plan_topic(topic, TopicStatus(), view(), FACTS)
    assert [type(action) for action in plan.actions] == [AlterTopic]
    assert why(plan)[0] is Reason.NOT_SUPPORTED
    assert "set partitions: 6" in why(plan)[1]
    assert is_true(plan.status.conditions, ConditionType.STALLED)


class TestReplicas:
    """Another replication factor is a reassignment."""

    PLACES = Places(
        open=3, plan=FactorPlan(targets={("orders", 0): (0, 1, 2), ("orders", 1): (0, 2, 1)}, bytes_added=4)
    )

    def lives(self, *placement: tuple[int, ...]) -> TopicView:
        found = view(partitions=len(placement), replicas=max(map(len, placement)))
        return replace(found, placement=tuple(PartitionView(one[0], one, one) for one in placement))

    def test_another_factor_moves_replicas_until_it_is_there(self, make_topic: MakeTopic) -> None:
        """Asked for, waited for, settled."""
        topic, facts = make_topic(replicas=3), replace(FACTS, places=self.PLACES)
        first = plan_topic(topic, TopicStatus(), self.lives((0,), (0,)), facts)
        (action,) = first.actions
        assert isinstance(action, SetReplicas)
        assert action.targets.keys() == {Partition("orders", 0), Partition("orders", 1)}
        assert str(action) == "move 2 partitions of topic orders: replicas 1 -> 3"
        moves = {place: MoveView((1, 2), ()) for place in action.targets}
        moving = replace(FACTS, places=replace(self.PLACES, moves=moves))
        then = plan_topic(topic, first.status, self.lives((0,), (0,)), moving)
        assert (then.actions, why(then)) == (
            (),
            (Reason.MOVING_REPLICAS, "replicas 1 -> 3: 0 of 2 partitions done"),
        )
        assert then.status.settled_generation != topic.metadata.generation
        last = plan_topic(topic, then.status, self.lives((0, 1, 2), (0, 2, 1)), FACTS)
        assert is_true(last.status.conditions, ConditionType.READY)

    def test_a_factor_changed_behind_the_resource_is_drift(self, make_topic: MakeTopic) -> None:
        """Shown first, corrected by the next plan."""
        plan = FactorPlan(targets={("orders", 0): (0,)})
        topic, facts = make_topic(replicas=1), replace(FACTS, places=Places(open=3, plan=plan))
        status = settled(topic, self.lives((0,)))
        shown = plan_topic(topic, status, self.lives((0, 1)), facts)
        assert shown.actions == ()
        assert is_true(shown.status.conditions, ConditionType.DRIFTED)
        assert len(plan_topic(topic, shown.status, self.lives((0, 1)), facts).actions) == 1

    def test_a_factor_that_finds_no_home_is_stalled_in_words(self, make_topic: MakeTopic) -> None:
        """Nothing moves, and the resource says what to change."""
        plan = FactorPlan(full=frozenset({("orders", 0)}))
        facts = replace(FACTS, places=Places(open=3, plan=plan))
        found = plan_topic(make_topic(replicas=2), TopicStatus(), self.lives((0,)), facts)
        assert found.actions == ()
        assert is_true(found.status.conditions, ConditionType.STALLED)
        assert why(found)[0] is Reason.NOT_SUPPORTED
        assert "raise the Cluster's storage.size" in why(found)[1]

    def test_a_new_topic_waits_for_the_brokers_it_needs(self, make_topic: MakeTopic) -> None:
        """They may only be starting; asked too early, they would blame the resource."""
        plan = plan_topic(make_topic(replicas=3), TopicStatus(), None, replace(FACTS, registered=1))
        assert (plan.actions, why(plan)) == (
            (),
            (Reason.PENDING, "waits for brokers: 3 replicas wanted, 1 of them there"),
        )
        assert len(plan_topic(make_topic(replicas=3), TopicStatus(), None, FACTS).actions) == 1


def test_settings_are_set_changed_and_removed_in_one_action(make_topic: MakeTopic) -> None:
    """An override that is not declared goes back to the default; equal values in other spelling stay."""
    topic = make_topic(config={"retention.ms": "5", "cleanup.policy": "delete,compact", "segment.ms": "7"})
    observed = view(retention_ms="1000", cleanup_policy="compact, delete", max_message_bytes="9")
    (action,) = plan_topic(topic, TopicStatus(), observed, FACTS).actions
    assert isinstance(action, AlterTopic)
    change = ConfigChange(set={"retention.ms": "5", "segment.ms": "7"}, remove=("max.message.bytes",))
    assert action.change == change
    assert action.reason == "retention.ms 1000 -> 5, segment.ms unset -> 7, max.message.bytes 9 -> unset"


def test_a_changed_resource_is_acted_on_at_once(make_topic: MakeTopic) -> None:
    """A new generation is news, not drift."""
    topic = make_topic(partitions=6)
    status = settled(topic, view())
    plan = plan_topic(make_topic(partitions=8, generation=2), status, view(), FACTS)
    assert len(plan.actions) == 1
    assert find(plan.status.conditions, ConditionType.DRIFTED) is None


def test_drift_is_reported_before_it_is_corrected(make_topic: MakeTopic) -> None:
    """First a condition with the difference, then the correction, then Ready without Drifted."""
    topic = make_topic(config={"retention.ms": "5"})
    status = settled(topic, view(retention_ms="5"))
    reported = plan_topic(topic, status, view(retention_ms="9"), FACTS)
    assert reported.actions == ()
    drifted = find(reported.status.conditions, ConditionType.DRIFTED)
    assert drifted is not None
    assert drifted.message == "changed behind its resource: retention.ms 9 -> 5"
    corrected = plan_topic(topic, reported.status, view(retention_ms="9"), FACTS)
    assert [type(action) for action in corrected.actions] == [AlterTopic]
    assert is_true(corrected.status.conditions, ConditionType.DRIFTED)
    after = plan_topic(topic, corrected.status, view(retention_ms="5"), FACTS)
    assert find(after.status.conditions, ConditionType.DRIFTED) is None
    assert is_true(after.status.conditions, ConditionType.READY)


def test_a_topic_deleted_behind_its_resource_stays_deleted(make_topic: MakeTopic) -> None:
    """Making it again, empty, could hide a loss: that takes an opt-in."""
    topic = make_topic()
    plan = plan_topic(topic, settled(topic, view()), None, FACTS)
    assert plan.actions == ()
    assert why(plan)[0] is Reason.DELETED_BEHIND
    assert "set recreate: true" in why(plan)[1]
    assert is_true(plan.status.conditions, ConditionType.DRIFTED)
    assert plan_topic(topic, plan.status, None, FACTS) == plan


def test_recreate_makes_a_deleted_topic_again_after_saying_so(make_topic: MakeTopic) -> None:
    """Drift first, creation second."""
    topic = make_topic(recreate=True)
    first = plan_topic(topic, settled(topic, view()), None, FACTS)
    assert first.actions == ()
    second = plan_topic(topic, first.status, None, FACTS)
    assert [action.reason for action in second.actions] == [
        "was deleted behind its resource, and recreate is on"
    ]


def test_a_topic_made_again_by_somebody_else_is_taken_over(make_topic: MakeTopic) -> None:
    """Its new id is remembered, so that a deletion policy knows it."""
    topic = make_topic()
    plan = plan_topic(topic, settled(topic, view()), view(topic_id="id-2"), FACTS)
    assert (plan.actions, plan.status.topic_id) == ((), "id-2")


def test_a_topic_that_was_there_first_is_adopted_unless_refused(make_topic: MakeTopic) -> None:
    """adoptionPolicy decides; what we created is never refused."""
    assert plan_topic(make_topic(), TopicStatus(), view(), FACTS).status.owned
    careful = make_topic(adoption_policy=AdoptionPolicy.REFUSE, partitions=9)
    refused = plan_topic(careful, TopicStatus(), view(), FACTS)
    assert (refused.actions, why(refused)[0]) == ((), Reason.ADOPTION_REFUSED)
    created = plan_topic(careful, TopicStatus(), None, FACTS)
    assert len(plan_topic(careful, created.status, view(), FACTS).actions) == 1


@pytest.mark.parametrize(
    ("spec", "config", "words"),
    [
        ({"replicas": 5}, {}, "replicas is 5, but the cluster has 3 brokers"),
        (
            {"replicas": 2},
            {"min.insync.replicas": "3"},
            "min.insync.replicas is 3, but the topic has 2 replicas",
        ),
        (
            {"config": {"min.insync.replicas": "2"}},
            {},
            "min.insync.replicas is 2, but the topic has 1 replica",
        ),
    ],
)
def test_a_spec_the_cluster_cannot_hold_is_invalid(
    make_topic: MakeTopic, spec: dict[str, object], config: dict[str, str], words: str
) -> None:
    """Nothing is created, and the condition says what to change."""
    plan = plan_topic(make_topic(**spec), TopicStatus(), None, ClusterFacts(brokers=3, config=config))
    assert plan.actions == ()
    assert why(plan)[0] is Reason.INVALID_SPEC
    assert words in why(plan)[1]


def test_an_invalid_spec_heals_when_brokers_grow(make_topic: MakeTopic) -> None:
    """RF above the number of brokers is retried."""
    topic = make_topic(replicas=5)
    refused = plan_topic(topic, TopicStatus(), None, FACTS)
    grown = plan_topic(topic, refused.status, None, ClusterFacts(brokers=5, config={}))
    assert [type(action) for action in grown.actions] == [CreateTopic]


def test_min_isr_equal_to_replicas_is_a_warning(make_topic: MakeTopic) -> None:
    """Legal, but one broker down stops every acks=all write; with one replica there is no choice."""
    topic = make_topic(replicas=3, config={"min.insync.replicas": "3"})
    plan = plan_topic(topic, TopicStatus(), view(replicas=3, min_insync_replicas="3"), FACTS)
    warning = find(plan.status.conditions, ConditionType.WARNING)
    assert warning is not None
    assert warning.reason is Reason.MIN_ISR_IS_REPLICAS
    single = plan_topic(make_topic(replicas=1), TopicStatus(), view(), FACTS)
    assert find(single.status.conditions, ConditionType.WARNING) is None


def test_topic_name_cannot_change(make_topic: MakeTopic) -> None:
    """Neither the old topic nor the new one is touched."""
    status = settled(make_topic(), view())
    plan = plan_topic(make_topic(topic_name="sales", generation=2), status, None, FACTS)
    assert (plan.actions, why(plan)[0]) == ((), Reason.IMMUTABLE)
    assert "topicName was orders" in why(plan)[1]


def test_a_paused_cluster_changes_nothing(make_topic: MakeTopic) -> None:
    """Whatever the difference."""
    plan = plan_topic(make_topic(), TopicStatus(), None, replace(FACTS, paused=True))
    assert (plan.actions, why(plan)[0]) == ((), Reason.PAUSED)


def test_partitions_without_a_leader_are_not_ready(make_topic: MakeTopic) -> None:
    """As declared, but not usable."""
    plan = plan_topic(make_topic(), TopicStatus(), replace(view(), leaderless=2), FACTS)
    assert why(plan) == (Reason.NODE_DOWN, "2 of 6 partitions without a leader")


class TestConflicts:
    """Two resources that claim one topic."""

    def test_the_older_resource_wins_and_ties_go_by_uid(self, make_topic: MakeTopic) -> None:
        """Names do not matter."""
        old = make_topic("a", topic_name="t", created_at="2026-01-01T00:00:00Z", uid="9")
        young = make_topic("b", topic_name="t", created_at="2026-01-02T00:00:00Z", uid="1")
        twin = make_topic("c", topic_name="t", created_at="2026-01-01T00:00:00Z", uid="8")
        assert find_conflicts([young, old], {}) == {young.key: old.key}
        assert find_conflicts([old, twin], {}) == {old.key: twin.key}

    def test_the_loser_says_who_has_the_topic(self, make_topic: MakeTopic) -> None:
        """And does nothing."""
        winner, loser = make_topic("a", topic_name="t"), make_topic("b", topic_name="t")
        plan = plan_conflict(loser, TopicStatus(), winner.key)
        assert (plan.actions, why(plan)[0]) == ((), Reason.RESOURCE_CONFLICT)
        assert why(plan)[1] == "topic t belongs to Topic a, which is older: remove one of the two"

    def test_the_loser_is_not_promoted_silently(self, make_topic: MakeTopic) -> None:
        """When the winner goes, the loser waits until its own spec changes."""
        winner, loser = make_topic("a", topic_name="t"), make_topic("b", topic_name="t")
        lost = plan_conflict(loser, TopicStatus(), winner.key).status
        assert find_conflicts([loser], {loser.key: lost}) == {loser.key: None}
        waiting = plan_conflict(loser, lost, None)
        assert "belonged to Topic a, which is gone" in why(waiting)[1]
        edited = make_topic("b", topic_name="t", generation=2)
        assert find_conflicts([edited], {edited.key: waiting.status}) == {}

    def test_a_loser_never_deletes_the_winners_topic(self, make_topic: MakeTopic) -> None:
        """Even if its policy says Delete."""
        loser = make_topic("b", topic_name="orders", deletion_policy=DeletionPolicy.DELETE)
        owned = settled(loser, view())
        lost = plan_conflict(loser, owned, make_topic("a").key).status
        assert plan_removed("b", lost, view(), claimed=False) == ()


class TestRemoval:
    """A resource that is gone."""

    @pytest.mark.parametrize(
        ("policy", "claimed", "topic_id", "deletes"),
        [
            (DeletionPolicy.DELETE, False, "id-1", True),
            (DeletionPolicy.RETAIN, False, "id-1", False),
            (DeletionPolicy.DELETE, True, "id-1", False),
            (DeletionPolicy.DELETE, False, "id-2", False),
        ],
    )
    def test_a_topic_is_deleted_only_if_it_is_ours_and_asked_for(
        self, make_topic: MakeTopic, policy: DeletionPolicy, claimed: bool, topic_id: str, deletes: bool
    ) -> None:
        """Not when kept, not when another resource claims it, not when it is another topic by now."""
        status = settled(make_topic(deletion_policy=policy), view())
        actions = plan_removed("orders", status, view(topic_id=topic_id), claimed=claimed)
        assert [type(action) for action in actions] == ([DeleteTopic] if deletes else [])


SETTINGS = st.dictionaries(
    st.sampled_from(["retention.ms", "segment.ms", "max.message.bytes"]),
    st.sampled_from(["1000", "60000", "604800000"]),
)


def carry_out(actions: tuple[TopicAction, ...], observed: TopicView | None) -> TopicView | None:
    """What perfect brokers would make of the actions."""
    for action in actions:
        if isinstance(action, CreateTopic):
            new = action.topic
            observed = TopicView(
                name=new.name,
                topic_id="id-9",
                partitions=max(new.partitions, 1),
                replicas=max(new.replicas, 1),
                overrides=dict(new.config),
            )
        elif isinstance(action, GrowPartitions):
            assert observed is not None
            assert action.total > observed.partitions
            observed = replace(observed, partitions=action.total)
        elif isinstance(action, AlterTopic):
            assert observed is not None
            kept = {
                name: value for name, value in observed.overrides.items() if name not in action.change.remove
            }
            observed = replace(observed, overrides={**kept, **action.change.set})
    return observed


@given(
    partitions=st.none() | st.integers(1, 12),
    replicas=st.none() | st.integers(1, 4),
    config=SETTINGS,
    recreate=st.booleans(),
    observed=st.none()
    | st.builds(
        TopicView,
        name=st.just("orders"),
        topic_id=st.just("id-1"),
        partitions=st.integers(1, 12),
        replicas=st.integers(1, 3),
        overrides=SETTINGS,
    ),
    known=st.booleans(),
)
def test_three_plans_carried_out_leave_nothing_to_do(
    partitions: int | None,
    replicas: int | None,
    config: dict[str, str],
    recreate: bool,
    observed: TopicView | None,
    known: bool,
) -> None:
    """From any start: report, correct, rest. The fourth plan has no action and the same status as the fifth."""
    spec = TopicSpec(
        cluster="demo",
        topic_name="orders",
        partitions=partitions,
        replicas=replicas,
        config=config,
        recreate=recreate,
    )
    topic = Topic(metadata=Metadata(name="orders", generation=1), spec=spec)
    status = (
        TopicStatus(topic_id="id-1", topic_name="orders", settled_generation=1) if known else TopicStatus()
    )
    for _ in range(3):
        plan = plan_topic(topic, status, observed, FACTS)
        observed, status = carry_out(plan.actions, observed), plan.status
    fourth = plan_topic(topic, status, observed, FACTS)
    assert fourth.actions == ()
    assert plan_topic(topic, fourth.status, observed, FACTS) == fourth
