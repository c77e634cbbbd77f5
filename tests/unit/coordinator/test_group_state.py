"""The table of group states."""

import pytest

from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import TRANSITIONS, GroupState


def test_group_state_table_names_every_state_once() -> None:
    """Every state has its moves; Dead has none."""
    assert set(TRANSITIONS) == set(GroupState)
    assert TRANSITIONS[GroupState.DEAD] == frozenset()


def test_group_state_names_are_kafkas() -> None:
    """Clients and tools compare these texts."""
    assert [state.value for state in GroupState] == [
        "Empty",
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
    ]


@pytest.mark.parametrize("old", list(GroupState))
@pytest.mark.parametrize("new", list(GroupState))
def test_group_becomes_only_what_the_table_allows(old: GroupState, new: GroupState) -> None:
    """Any other move is a programmer's error and stops at once."""
    group = Group("g", 0, old)
    if new in TRANSITIONS[old]:
        group.become(new, 5)
        assert (group.state, group.previous_state, group.state_timestamp_ms) == (new, old, 5)
    else:
        with pytest.raises(AssertionError):
            group.become(new, 5)


def test_group_can_rebalance_from_every_state_that_has_settled() -> None:
    """Not while it gathers members, and not once it is dead."""
    can = {state for state in GroupState if Group("g", 0, state).can_rebalance}
    assert can == {GroupState.EMPTY, GroupState.COMPLETING_REBALANCE, GroupState.STABLE}
