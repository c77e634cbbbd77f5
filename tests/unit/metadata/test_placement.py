"""Placement of new partitions: spread over racks, then brokers; leaders never on fenced brokers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.metadata.placement import PlacementBroker, PlacementError, place


def brokers(*racks: str | None, fenced: frozenset[int] = frozenset()) -> list[PlacementBroker]:
    return [PlacementBroker(index, rack, index in fenced) for index, rack in enumerate(racks)]


def test_placement_takes_brokers_in_turn() -> None:
    """Six partitions over three brokers: each leads two, each replica list starts one further."""
    placed = place(brokers(None, None, None), 6, 3, Random(1))
    assert Counter(replicas[0] for replicas in placed) == {0: 2, 1: 2, 2: 2}
    for before, after in pairwise(placed):
        assert after[0] == (before[0] + 1) % 3


def test_placement_spreads_each_partition_over_racks() -> None:
    """Three replicas and three racks: every partition has one in each rack.

    Reference: KIP-36, KIP-631 (StripedReplicaPlacer).
    """
    racks = ["a", "a", "b", "b", "c", "c"]
    for replicas in place(brokers(*racks), 12, 3, Random(2)):
        assert {racks[broker] for broker in replicas} == {"a", "b", "c"}


def test_placement_prefers_rack_spread_to_broker_spread() -> None:
    """A rack with one broker gets a replica of every partition."""
    racks = ["a", "a", "a", "b"]
    assert all(3 in replicas for replicas in place(brokers(*racks), 9, 2, Random(3)))


def test_placement_uses_fenced_brokers_last_and_never_as_leader() -> None:
    """The fenced broker follows only when the factor needs it."""
    some = brokers(None, None, None, fenced=frozenset({1}))
    assert all(1 not in replicas for replicas in place(some, 10, 2, Random(4)))
    for replicas in place(some, 10, 3, Random(4)):
        assert replicas[-1] == 1


def test_placement_skips_racks_without_live_brokers_for_the_leader() -> None:
    """A rack that is down gets followers, no leaders."""
    some = brokers("a", "a", "b", "b", fenced=frozenset({2, 3}))
    for replicas in place(some, 8, 2, Random(5)):
        assert replicas[0] in {0, 1}
        assert replicas[1] in {2, 3}


def test_placement_goes_on_where_the_topic_ends() -> None:
    """Partitions added later continue the stripe instead of starting at a random broker."""
    first = place(brokers(None, None, None), 4, 1, Random(6))
    more = place(brokers(None, None, None), 2, 1, Random(99), existing=first)
    leaders = [replicas[0] for replicas in [*first, *more]]
    assert all(b == (a + 1) % 3 for a, b in pairwise(leaders))


@pytest.mark.parametrize(
    ("some", "factor", "text"),
    [
        (brokers(None), 2, "only 1 broker"),
        (brokers(None, fenced=frozenset({0})), 1, "fenced"),
        ([], 1, "fenced"),
        (brokers(None), 0, "must be positive"),
    ],
)
def test_placement_says_why_it_fails(some: list[PlacementBroker], factor: int, text: str) -> None:
    """Too few brokers, all fenced, or a factor below one: an error in words."""
    with pytest.raises(PlacementError, match=text):
        place(some, 1, factor, Random(0))


@given(
    racks=st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=8),
    fenced=st.frozensets(st.integers(0, 7)),
    partitions=st.integers(1, 20),
    factor=st.integers(1, 8),
    seed=st.integers(0, 2**32),
)
def test_placement_never_repeats_a_broker_in_a_partition(
    racks: list[str | None], fenced: frozenset[int], partitions: int, factor: int, seed: int
) -> None:
    """Whatever the cluster: right count, distinct brokers, a live leader, and the same seed gives the same."""
    some = brokers(*racks, fenced=fenced)
    live = [broker for broker in some if not broker.fenced]
    if not live or factor > len(some):
        with pytest.raises(PlacementError):
            place(some, partitions, factor, Random(seed))
        return
    placed = place(some, partitions, factor, Random(seed))
    assert len(placed) == partitions
    for replicas in placed:
        assert len(set(replicas)) == len(replicas) == factor
        assert not some[replicas[0]].fenced
    assert placed == place(some, partitions, factor, Random(seed))
