"""What each broker should carry: equal where racks allow it, and exactly what racks force where they do not."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.plan.fair_share import fair_shares, rack_max
from moldau_operator.plan.packing import PackBroker, PackPartition, pack_replicas
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.rebalance import plan_rebalance, spread


def counts(partitions: list[int], racks: dict[int, str | None]) -> dict[int, float]:
    return {
        broker: share.replicas
        for broker, share in fair_shares(((replicas, 1) for replicas in partitions), racks).items()
    }


@pytest.mark.parametrize(
    ("partitions", "racks", "wanted"),
    [
        ([3] * 10, dict(enumerate("abc")), {0: 10, 1: 10, 2: 10}),
        ([3] * 30, dict(enumerate("abca")), {0: 15, 1: 30, 2: 30, 3: 15}),
        ([3] * 30, dict(enumerate("abcd")), dict.fromkeys(range(4), 22.5)),
        ([2] * 30, dict(enumerate("abca")), dict.fromkeys(range(4), 15)),
        ([1] * 30, dict(enumerate("aaab")), dict.fromkeys(range(4), 7.5)),
        ([2] * 30, dict(enumerate("aaab")), {0: 10, 1: 10, 2: 10, 3: 30}),
        ([3] * 30, dict.fromkeys(range(4)), dict.fromkeys(range(4), 22.5)),
        ([3] * 10, dict(enumerate("ab")), {0: 15, 1: 15}),
        ([], dict(enumerate("ab")), {0: 0, 1: 0}),
    ],
)
def test_shares_by_hand(
    partitions: list[int], racks: dict[int, str | None], wanted: dict[int, float]
) -> None:
    assert counts(partitions, racks) == wanted


@given(
    st.lists(st.integers(1, 4), max_size=12),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=8),
)
def test_shares_add_up_and_keep_to_what_racks_can_hold(partitions: list[int], places: list[str]) -> None:
    """Brokers of a rack carry alike; nobody carries more than the racks' rule lets in, or less than it forces."""
    racks: dict[int, str | None] = dict(enumerate(places))
    found = counts(partitions, racks)
    assert sum(found.values()) == pytest.approx(sum(partitions))
    brokers = Counter(places)
    held = {rack: sum(found[broker] for broker in racks if racks[broker] == rack) for rack in brokers}
    for one, other in combinations(racks, 2):
        if racks[one] == racks[other]:
            assert found[one] == found[other]
    if all(
        replicas <= sum(min(rack_max(replicas, brokers.values()), many) for many in brokers.values())
        for replicas in partitions
    ):
        for rack, many in brokers.items():
            most = sum(min(rack_max(replicas, brokers.values()), many) for replicas in partitions)
            assert held[rack] <= most + 1e-9


@pytest.mark.parametrize(
    ("replicas", "brokers", "allowed"),
    [
        (3, (1, 1, 1), 1),
        (3, (2, 2), 2),
        (4, (3, 1), 3),
        (4, (2, 2), 2),
        (5, (9, 1, 1), 3),
        (5, (1, 1), 5),
        (2, (), 2),
    ],
)
def test_a_rack_may_hold_what_the_others_have_no_room_for(
    replicas: int, brokers: tuple[int, ...], allowed: int
) -> None:
    """Its part, and more only where a smaller rack is full."""
    assert rack_max(replicas, brokers) == allowed


def test_a_broker_that_shares_a_rack_gets_half_of_what_is_in_it() -> None:
    """Three brokers in three racks are joined by a fourth in the first rack: it takes half of that rack, no more."""
    brokers = [PackBroker(number, rack) for number, rack in enumerate("abca")]
    partitions = [PackPartition(("orders", number), (0, 1, 2), 1) for number in range(30)]
    plan = pack_replicas(partitions, brokers)
    assert {move.source for move in plan.moves} == {0}
    assert {move.target for move in plan.moves} == {3}
    assert plan.outside == ()
    assert plan.lower_bound <= plan.bytes_moved <= plan.lower_bound + 1
    assert abs(plan.after[3].replicas - 15) <= 1.5
    seen = [SeenPartition(("orders", number), 0, (0, 1, 2), (0, 1, 2), 30 - number) for number in range(30)]
    assert spread(seen, brokers).words == "broker 0 has 30 of 15.0 replicas"
    found = plan_rebalance(seen, brokers)
    assert found.gap is not None
    assert found.gap >= 0
    assert max(found.sizes.values()) <= 15, "where counts decide, the smallest go"
    moved = {move.name: (3, 1, 2) for move in found.moves}
    after = [one._replace(replicas=moved.get(one.name, one.replicas)) for one in seen]
    assert spread(after, brokers).words == ""
