"""Conditions: merging, settling, and the events a change is worth."""

from __future__ import annotations

from moldau_operator.reconcile.events import transitions
from moldau_operator.resources import conditions
from moldau_operator.resources.conditions import ConditionType, Reason, find, is_settled, merge
from moldau_operator.resources.meta import Key, Kind

KEY = Key(Kind.TOPIC, "default", "orders")


def test_a_transition_time_stays_until_the_status_changes() -> None:
    """New words alone are no transition."""
    first = merge((), conditions.reconciling(Reason.APPLYING, "one"), 1, "t1")
    second = merge(first, conditions.reconciling(Reason.APPLYING, "two"), 2, "t2")
    third = merge(second, conditions.ready(), 2, "t3")
    found = [find(one, ConditionType.READY) for one in (first, second, third)]
    assert [(one.last_transition_time, one.observed_generation) for one in found if one] == [
        ("t1", 1),
        ("t1", 2),
        ("t3", 2),
    ]
    assert find(third, ConditionType.RECONCILING) is None


def test_equal_conditions_merge_to_equal_ones() -> None:
    """A converged object causes no write, whatever the time."""
    first = merge((), conditions.ready(message="fine"), 1, "t1")
    assert merge(first, conditions.ready(message="fine"), 1, "t9") == first


def test_settled_is_ready_stalled_or_paused() -> None:
    """Everything else asks for another look."""
    assert is_settled(conditions.ready())
    assert is_settled(conditions.stalled(Reason.NOT_SUPPORTED, "no"))
    assert is_settled(conditions.reconciling(Reason.PAUSED, "paused"))
    assert not is_settled(conditions.reconciling(Reason.APPLYING, "soon"))
    assert not is_settled(())


def test_events_come_only_on_change() -> None:
    """The first look at a healthy resource, and every equal look after any, is silent."""
    fine = conditions.ready()
    bad = conditions.stalled(Reason.NOT_SUPPORTED, "cannot")
    assert transitions(KEY, (), fine) == []
    assert [str(event) for event in transitions(KEY, fine, bad)] == ["Topic orders: cannot"]
    assert transitions(KEY, bad, bad) == []
    assert [event.message for event in transitions(KEY, bad, fine)] == ["is as declared"]


def test_one_reason_told_by_two_conditions_is_one_event() -> None:
    """Stalled and Drifted may carry the same words."""
    drifted = conditions.flag(ConditionType.DRIFTED, True, Reason.DELETED_BEHIND, "gone")
    both = (*conditions.stalled(Reason.DELETED_BEHIND, "gone"), drifted)
    assert len(transitions(KEY, conditions.ready(), both)) == 1


def test_a_moving_figure_in_a_message_is_no_event() -> None:
    """Lag over budget is told once, not with every record."""
    kind = ConditionType.LAG_WITHIN_BUDGET
    one = (conditions.flag(kind, False, Reason.OVER_BUDGET, "11 records behind"),)
    more = (conditions.flag(kind, False, Reason.OVER_BUDGET, "12 records behind"),)
    fine = (conditions.flag(kind, True, Reason.WITHIN_BUDGET, "at most 10 records behind"),)
    assert len(transitions(KEY, (), one)) == 1
    assert transitions(KEY, one, more) == []
    assert [event.warning for event in transitions(KEY, more, fine)] == [False]
