"""ConsumerGroup plans: lag, budget, members, and a reset that happens once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from moldau_operator.plan.consumergroup import (
    DeleteGroup,
    GroupPlan,
    ObservedGroup,
    ResetOffsets,
    plan_group,
    plan_removed,
)
from moldau_operator.resources.conditions import Condition, ConditionStatus, ConditionType, Reason, find
from moldau_operator.resources.consumergroup import ConsumerGroup, Edge, MaxLag, OffsetReset
from moldau_operator.resources.meta import DeletionPolicy
from moldau_operator.resources.status import GroupStatus
from moldau_operator.seams.broker_admin import GroupAge, GroupView, Partition

MakeGroup = Callable[..., ConsumerGroup]
P0, P1 = Partition("orders", 0), Partition("orders", 1)


def seen(state: str = "Empty", members: int = 0, **more: object) -> ObservedGroup:
    view = GroupView(group_id="billing", state=state, members=members)
    return ObservedGroup(view=view, **more)  # type: ignore[arg-type]


def condition(plan: GroupPlan, kind: ConditionType) -> Condition:
    found = find(plan.status.conditions, kind)
    assert found is not None
    return found


def test_lag_is_the_sum_over_partitions_and_never_negative(make_group: MakeGroup) -> None:
    """A commit beyond the end (a race, or a truncated log) counts as no lag."""
    plan = plan_group(make_group(), GroupStatus(), seen(committed={P0: 3, P1: 9}, ends={P0: 10, P1: 8}))
    assert (plan.status.lag, plan.status.lag_by_topic) == (7, {"orders": 7})


def test_no_lag_is_invented_where_nothing_is_committed(make_group: MakeGroup) -> None:
    """danielqsj/kafka_exporter#28."""
    plan = plan_group(make_group(max_lag=MaxLag(records=5)), GroupStatus(), seen("Dead"))
    assert plan.status.lag is None
    budget = condition(plan, ConditionType.LAG_WITHIN_BUDGET)
    assert (budget.status, budget.reason) == (ConditionStatus.UNKNOWN, Reason.NOT_MEASURED)


def test_half_a_sum_is_no_lag(make_group: MakeGroup) -> None:
    """While one log's end is unknown, so is the lag."""
    plan = plan_group(make_group(), GroupStatus(), seen(committed={P0: 3, P1: 9}, ends={P0: 10}))
    assert plan.status.lag is None


@pytest.mark.parametrize(("end", "status"), [(13, ConditionStatus.TRUE), (14, ConditionStatus.FALSE)])
def test_the_budget_is_kept_up_to_its_last_record(
    make_group: MakeGroup, end: int, status: ConditionStatus
) -> None:
    """maxLag.records: 10 allows ten."""
    observed = seen(committed={P0: 3}, ends={P0: end})
    plan = plan_group(make_group(max_lag=MaxLag(records=10)), GroupStatus(), observed)
    assert condition(plan, ConditionType.LAG_WITHIN_BUDGET).status is status


@pytest.mark.parametrize(
    ("seconds", "status", "words"),
    [
        (60.9, ConditionStatus.TRUE, "at most 60 seconds behind"),
        (61.0, ConditionStatus.FALSE, "61 seconds behind, allowed 60"),
        (None, ConditionStatus.UNKNOWN, "the brokers do not tell how old the lag is"),
    ],
)
def test_a_budget_in_seconds_is_judged_by_what_the_brokers_tell(
    make_group: MakeGroup, seconds: float | None, status: ConditionStatus, words: str
) -> None:
    """Whole seconds; what is not known is neither kept nor broken, and in no status a zero."""
    observed = seen(
        committed={P0: 3}, ends={P0: 5}, age=GroupAge(seconds=seconds, by_topic={"orders": seconds})
    )
    plan = plan_group(make_group(max_lag=MaxLag(seconds=60)), GroupStatus(), observed)
    budget = condition(plan, ConditionType.LAG_WITHIN_BUDGET)
    assert (budget.status, budget.message) == (status, words)
    assert plan.status.lag_seconds == (None if seconds is None else int(seconds))
    assert plan.status.seconds_by_topic == ({} if seconds is None else {"orders": int(seconds)})


@pytest.mark.parametrize(
    ("end", "seconds", "status", "words"),
    [
        (10, 5.0, ConditionStatus.TRUE, "at most 10 records and 60 seconds behind"),
        (30, None, ConditionStatus.FALSE, "27 records behind, allowed 10"),
        (30, 90.0, ConditionStatus.FALSE, "27 records behind, allowed 10; 90 seconds behind, allowed 60"),
        (10, None, ConditionStatus.UNKNOWN, "the brokers do not tell how old the lag is"),
    ],
)
def test_of_two_limits_one_that_is_passed_is_enough(
    make_group: MakeGroup, end: int, seconds: float | None, status: ConditionStatus, words: str
) -> None:
    """And both must be known to be kept."""
    observed = seen(committed={P0: 3}, ends={P0: end}, age=GroupAge(seconds=seconds))
    plan = plan_group(make_group(max_lag=MaxLag(records=10, seconds=60)), GroupStatus(), observed)
    budget = condition(plan, ConditionType.LAG_WITHIN_BUDGET)
    assert (budget.status, budget.message) == (status, words)


@pytest.mark.parametrize(("members", "status"), [(1, ConditionStatus.FALSE), (2, ConditionStatus.TRUE)])
def test_members_min_is_a_condition(make_group: MakeGroup, members: int, status: ConditionStatus) -> None:
    """Too few consumers is worth knowing before the lag shows it."""
    plan = plan_group(make_group(members_min=2), GroupStatus(), seen("Stable", members))
    assert condition(plan, ConditionType.MEMBERS_PRESENT).status is status


def test_a_group_at_rest_plans_nothing_and_stays_equal(make_group: MakeGroup) -> None:
    """The second look gives the same status: no write."""
    observed = seen("Stable", 2, committed={P0: 3}, ends={P0: 5})
    first = plan_group(make_group(max_lag=MaxLag(records=10)), GroupStatus(), observed)
    second = plan_group(make_group(max_lag=MaxLag(records=10)), first.status, observed)
    assert (first.actions, second) == ((), first)


def test_group_id_cannot_change(make_group: MakeGroup) -> None:
    """The resource stands for one group."""
    plan = plan_group(make_group(group_id="other"), GroupStatus(group_id="billing"), seen())
    assert condition(plan, ConditionType.STALLED).reason is Reason.IMMUTABLE


class TestReset:
    """offsets.reset: once per id, and only while nobody reads."""

    @pytest.fixture
    def group(self, make_group: MakeGroup) -> ConsumerGroup:
        """A group that wants to start over."""
        return make_group(reset=OffsetReset(id="again", to=Edge.EARLIEST))

    def test_an_inactive_group_is_reset_and_the_decision_written_down(self, group: ConsumerGroup) -> None:
        """The status carries the offsets before they are committed, so that a crash changes nothing."""
        plan = plan_group(group, GroupStatus(), seen(committed={P0: 9}, ends={P0: 9}, reset_target={P0: 0}))
        assert plan.actions == (
            ResetOffsets(
                group_id="billing",
                reset_id="again",
                offsets={P0: 0},
                reason="reset again to earliest, 1 partition",
            ),
        )
        assert plan.status.pending_reset is not None
        assert plan.status.pending_reset.offsets == {"orders": {0: 0}}

    def test_a_reset_that_was_applied_is_never_applied_again(self, group: ConsumerGroup) -> None:
        """However often the resource is looked at."""
        plan = plan_group(group, GroupStatus(last_reset_id="again"), seen(committed={P0: 9}, ends={P0: 9}))
        assert plan.actions == ()
        assert condition(plan, ConditionType.OFFSETS_RESET).status is ConditionStatus.TRUE

    def test_a_crash_between_decision_and_note_repeats_the_same_offsets(self, group: ConsumerGroup) -> None:
        """What was decided is carried out, not what `latest` means by now."""
        observed = seen(committed={P0: 9}, ends={P0: 20}, reset_target={P0: 0})
        decided = plan_group(group, GroupStatus(), observed).status
        again = plan_group(group, decided, replace(observed, reset_target=None))
        (action,) = again.actions
        assert isinstance(action, ResetOffsets)
        assert action.offsets == {P0: 0}

    def test_a_crash_after_the_commit_only_writes_the_note(self, group: ConsumerGroup) -> None:
        """The offsets are there already, so nothing is committed twice."""
        observed = seen(committed={P0: 9}, ends={P0: 20}, reset_target={P0: 0})
        decided = plan_group(group, GroupStatus(), observed).status
        after = plan_group(group, decided, seen(committed={P0: 0}, ends={P0: 20}))
        assert (after.actions, after.status.last_reset_id, after.status.pending_reset) == ((), "again", None)

    def test_an_active_group_is_refused_in_words(self, group: ConsumerGroup) -> None:
        """Its consumers would commit over it."""
        plan = plan_group(group, GroupStatus(), seen("Stable", 2, reset_target={P0: 0}))
        found = condition(plan, ConditionType.OFFSETS_RESET)
        assert (plan.actions, found.reason) == ((), Reason.GROUP_ACTIVE)
        assert found.message == (
            "group has 2 members: stop its consumers to let reset again happen, or set force to remove them"
        )

    def test_force_asks_the_coordinator_to_remove_the_members(self, make_group: MakeGroup) -> None:
        """Which it does in the step that commits."""
        group = make_group(reset=OffsetReset(id="again", to=Edge.EARLIEST, force=True))
        (action,) = plan_group(group, GroupStatus(), seen("Stable", 2, reset_target={P0: 0})).actions
        assert isinstance(action, ResetOffsets)
        assert action.force

    def test_a_decided_reset_is_asked_for_though_consumers_are_back(self, group: ConsumerGroup) -> None:
        """It may be done already, and the answer lost: only the coordinator knows."""
        decided = plan_group(group, GroupStatus(), seen(reset_target={P0: 0})).status
        (action,) = plan_group(group, decided, seen("Stable", 2, committed={P0: 7})).actions
        assert isinstance(action, ResetOffsets)
        assert action.offsets == {P0: 0}

    def test_a_dry_run_only_says_what_would_move(self, make_group: MakeGroup) -> None:
        """And the id stays free."""
        group = make_group(reset=OffsetReset(id="try", to=Edge.EARLIEST, dry_run=True))
        plan = plan_group(group, GroupStatus(), seen(committed={P0: 9}, reset_target={P0: 0, P1: 0}))
        found = condition(plan, ConditionType.OFFSETS_RESET)
        assert plan.actions == ()
        assert found.message == "dry run of reset try: would move orders-0 9 -> 0, orders-1 unset -> 0"
        assert plan.status.last_reset_id == ""

    def test_a_reset_that_cannot_be_resolved_says_why(self, group: ConsumerGroup) -> None:
        """The words come from the look-up."""
        plan = plan_group(group, GroupStatus(), seen(reset_problem="topic x does not exist"))
        assert condition(plan, ConditionType.OFFSETS_RESET).message == "topic x does not exist"

    def test_a_paused_cluster_resets_nothing(self, group: ConsumerGroup) -> None:
        """Pause is pause."""
        assert plan_group(group, GroupStatus(), seen(reset_target={P0: 0}), paused=True).actions == ()


@pytest.mark.parametrize(
    ("policy", "state", "claimed", "deletes"),
    [
        (DeletionPolicy.DELETE, "Empty", False, True),
        (DeletionPolicy.RETAIN, "Empty", False, False),
        (DeletionPolicy.DELETE, "Stable", False, False),
        (DeletionPolicy.DELETE, "Empty", True, False),
        (DeletionPolicy.DELETE, "Dead", False, False),
    ],
)
def test_a_group_is_deleted_only_when_asked_for_and_empty(
    policy: DeletionPolicy, state: str, claimed: bool, deletes: bool
) -> None:
    """Never while it has members, never while another resource stands for it."""
    view = GroupView(group_id="billing", state=state, members=0)
    actions = plan_removed("billing", GroupStatus(deletion_policy=policy), view, claimed=claimed)
    assert [type(action) for action in actions] == ([DeleteGroup] if deletes else [])
