"""Another replication factor: what is kept, who comes, who goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.plan.factors import FactorAsk, FactorPlan, plan_factors
from moldau_operator.plan.fair_share import rack_max
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition

PLAIN: Mapping[int, str | None] = {0: None, 1: None, 2: None}
RACKS: Mapping[int, str | None] = {0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}


def lives(
    number: int, *replicas: int, leader: int | None = None, isr: tuple[int, ...] | None = None, size: int = 0
) -> SeenPartition:
    return SeenPartition(
        ("t", number),
        replicas[0] if leader is None else leader,
        replicas,
        replicas if isr is None else isr,
        size,
    )


def filler(load: Mapping[int, int]) -> list[SeenPartition]:
    """Partitions of another topic: so many replicas on each broker."""
    nodes = [node for node, count in load.items() for _ in range(count)]
    return [SeenPartition(("u", number), node, (node,), (node,)) for number, node in enumerate(nodes)]


def planned(
    partitions: Sequence[SeenPartition],
    factor: int,
    racks: Mapping[int, str | None] = PLAIN,
    capacity: Mapping[int, int] | None = None,
    away: frozenset[int] = frozenset(),
) -> FactorPlan:
    """Topic `t` brought to this factor."""
    homes = tuple(PackBroker(node, rack, (capacity or {}).get(node)) for node, rack in racks.items())
    wanted = {one.name: factor for one in partitions if one.name[0] == "t"}
    return plan_factors(partitions, FactorAsk(wanted=wanted, homes=homes, away=away))


def test_raising_keeps_who_is_there_and_spreads_the_rest() -> None:
    """Copies are made of what is added alone, and land where the fewest replicas are."""
    plan = planned([lives(number, 0, size=5) for number in range(4)], 2)
    assert [target[0] for target in plan.targets.values()] == [0, 0, 0, 0]
    assert Counter(target[1] for target in plan.targets.values()) == {1: 2, 2: 2}
    assert plan.bytes_added == 20


def test_bytes_count_beside_the_number_of_replicas() -> None:
    """Two brokers hold one replica each: the one with the smaller partition gets the next."""
    heavy = SeenPartition(("u", 0), 1, (1,), (1,), 1_000)
    light = SeenPartition(("u", 1), 2, (2,), (2,), 10)
    assert planned([lives(0, 0, size=10), heavy, light], 2).targets == {("t", 0): (0, 2)}


def test_new_replicas_go_to_racks_that_lack_the_partition() -> None:
    """Before any thought of balance."""
    plan = planned([lives(0, 0), *filler({2: 9, 3: 8, 4: 99})], 3, RACKS)
    assert set(plan.targets["t", 0]) == {0, 3, 4}


def test_brokers_without_a_rack_are_a_rack_of_their_own() -> None:
    """A replica that is yet to be made comes from nowhere, which is no broker's rack."""
    plan = planned([lives(0, 0), *filler({2: 9})], 2, {0: None, 1: None, 2: "a"})
    assert plan.targets == {("t", 0): (0, 2)}


def test_racks_of_different_sizes_hold_as_many_as_they_have_to() -> None:
    """Two in each rack would be better, but the second has one broker."""
    racks: dict[int, str | None] = {0: "a", 1: "a", 2: "a", 3: "b"}
    assert set(planned([lives(0, 0)], 4, racks).targets["t", 0]) == {0, 1, 2, 3}
    assert 3 in planned([lives(0, 0), *filler({3: 99})], 3, racks).targets["t", 0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_racks_alone_refuse_no_factor_that_brokers_allow(sizes: list[int], data: st.DataObject) -> None:
    """However many brokers each rack has, and wherever the first replicas lie; no rack gets more than it must."""
    racks: dict[int, str | None] = dict(
        enumerate("".join(name * here for name, here in zip("abcd", sizes, strict=False)))
    )
    factor = data.draw(st.integers(1, len(racks)))
    firsts = data.draw(st.lists(st.sampled_from(sorted(racks)), min_size=1, max_size=6))
    plan = planned([lives(number, first) for number, first in enumerate(firsts)], factor, racks)
    assert (plan.crowded, plan.full) == (frozenset(), frozenset())
    for target in plan.targets.values():
        assert len(set(target)) == factor
        assert max(Counter(racks[node] for node in target).values()) <= rack_max(factor, sizes)


def test_racks_that_have_no_room_are_said() -> None:
    """Two replicas of three in one rack are too many where another rack has a broker, which is away."""
    plan = planned([lives(0, 0, 1)], 3, {0: "a", 1: "a", 2: "a", 3: "b"}, away=frozenset({3}))
    assert (dict(plan.targets), plan.crowded, plan.full) == ({}, {("t", 0)}, frozenset())


def test_disks_that_have_no_room_are_said_and_the_rest_is_planned() -> None:
    """The largest finds no disk, the small one does."""
    partitions = [lives(0, 0, size=90), lives(1, 0, size=10)]
    plan = planned(partitions, 2, capacity={1: 50, 2: 50})
    assert plan.targets.keys() == {("t", 1)}
    assert (plan.crowded, plan.full, plan.bytes_added) == (frozenset(), {("t", 0)}, 10)


def test_a_broker_that_is_away_keeps_what_it_has_and_gets_nothing() -> None:
    """It restarts, say: what it holds is not copied to others for that."""
    partitions = [lives(0, 0, 2), lives(1, 1), *filler({1: 9})]
    plan = planned(partitions, 3, {**PLAIN, 3: None}, away=frozenset({2}))
    assert {name: set(target) for name, target in plan.targets.items()} == {
        ("t", 0): {0, 2, 3},
        ("t", 1): {0, 1, 3},
    }


def test_lowering_copies_nothing() -> None:
    """What stays is a part of what was; the leader stays."""
    plan = planned([lives(0, 0, 1, 2, leader=1), *filler({1: 8})], 1)
    assert (dict(plan.targets), plan.bytes_added) == ({("t", 0): (1,)}, 0)


def test_lowering_gives_up_the_replica_that_is_out_of_sync() -> None:
    """It is worth the least."""
    assert planned([lives(0, 0, 1, 2, isr=(0, 2))], 2).targets == {("t", 0): (0, 2)}


def test_lowering_keeps_racks_apart() -> None:
    """The doubled rack gives, though another broker is fuller."""
    plan = planned([lives(0, 4, 0, 1), *filler({1: 1, 4: 50})], 2, RACKS)
    assert plan.targets == {("t", 0): (4, 0)}


def test_lowering_relieves_the_fullest_broker_in_bytes() -> None:
    """Counts are the same: the broker with the larger partitions gives."""
    heavy = SeenPartition(("u", 0), 1, (1,), (1,), 1_000)
    light = SeenPartition(("u", 1), 2, (2,), (2,), 10)
    assert planned([lives(0, 0, 1, 2, size=10), heavy, light], 2).targets == {("t", 0): (0, 2)}


@pytest.mark.parametrize("factor", [1, 2])
def test_brokers_that_may_hold_nothing_are_left(factor: int) -> None:
    """Even by the leader, and at the same factor."""
    plan = planned([lives(0, 2, 0, leader=2)], factor, {0: None, 1: None})
    assert plan.targets == {("t", 0): (0, 1)[:factor]}
