"""Another replication factor: what is kept, who comes, who goes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from moldau_operator.plan.replicas import choose_replicas, replica_counts
from moldau_operator.seams.broker_admin import PartitionView

PLAIN: Mapping[int, str | None] = {0: None, 1: None, 2: None}
RACKS: Mapping[int, str | None] = {0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}


def lives(*replicas: int, leader: int | None = None, in_sync: tuple[int, ...] | None = None) -> PartitionView:
    return PartitionView(
        replicas[0] if leader is None else leader, replicas, replicas if in_sync is None else in_sync
    )


def test_raising_keeps_who_is_there_and_spreads_the_rest() -> None:
    """Copies are made of what is added alone, and land where the fewest replicas are."""
    placement = [lives(0), lives(0), lives(0), lives(0)]
    found = choose_replicas(placement, 2, PLAIN, replica_counts([placement]))
    assert [found[number][0] for number in range(4)] == [0, 0, 0, 0]
    assert sorted(found[number][1] for number in range(4)) == [1, 1, 2, 2]


def test_what_has_the_factor_already_is_left_alone() -> None:
    """Nothing to do is no entry."""
    assert choose_replicas([lives(2, 0), lives(1)], 2, PLAIN, {0: 1, 1: 1, 2: 1}).keys() == {1}


def test_new_replicas_go_to_racks_that_lack_the_partition() -> None:
    """Before any thought of balance."""
    found = choose_replicas([lives(0)], 3, RACKS, {2: 9, 3: 8, 4: 99})
    assert found == {0: (0, 3, 4)}


def test_lowering_copies_nothing() -> None:
    """What stays is a part of what was; the leader stays."""
    found = choose_replicas([lives(0, 1, 2, leader=1)], 1, PLAIN, {0: 1, 1: 9, 2: 1})
    assert found == {0: (1,)}


def test_lowering_gives_up_the_replica_that_is_out_of_sync() -> None:
    """It is worth the least."""
    found = choose_replicas([lives(0, 1, 2, in_sync=(0, 2))], 2, PLAIN, {0: 1, 1: 1, 2: 1})
    assert found == {0: (0, 2)}


def test_lowering_keeps_racks_apart() -> None:
    """The doubled rack gives, though another broker is fuller."""
    found = choose_replicas([lives(4, 0, 1)], 2, RACKS, {0: 1, 1: 2, 4: 50})
    assert found == {0: (4, 0)}


@pytest.mark.parametrize("factor", [1, 2])
def test_brokers_that_may_hold_nothing_are_left(factor: int) -> None:
    """Even by the leader, and at the same factor."""
    found = choose_replicas([lives(2, 0, leader=2)], factor, {0: None, 1: None}, {})
    assert found == {0: (0, 1)[:factor]}
