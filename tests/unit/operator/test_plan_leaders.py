"""Leadership: the optimum of the largest count, by the fewest changes, with the proof where it is above the mean."""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

import pytest

from moldau_operator.plan.leader_weights import even_out
from moldau_operator.plan.leaders import NO_LEADER, LedPartition, plan_leaders


def drawn(seed: int, *, partitions: int, brokers: int, replicas: int = 3) -> list[LedPartition]:
    """Random replicas and leaders, some replicas out of sync."""
    rng = Random(seed)
    found = []
    for index in range(partitions):
        chosen = rng.sample(range(brokers), min(replicas, brokers))
        isr = tuple(chosen[: rng.randint(1, len(chosen))])
        found.append(LedPartition(("t", index), rng.choice(isr), isr, rng.paretovariate(1.2)))
    return found


def best_by_trying(partitions: list[LedPartition], brokers: range) -> tuple[int, int]:
    """(smallest maximum, fewest changes at it), by looking at every possibility."""
    best: tuple[int, int] | None = None
    for leaders in product(*(partition.isr for partition in partitions)):
        counts = Counter(leaders)
        changes = sum(
            leader != partition.leader for leader, partition in zip(leaders, partitions, strict=True)
        )
        found = max(counts[broker] for broker in brokers), changes
        best = found if best is None else min(best, found)
    assert best is not None
    return best


@pytest.mark.parametrize("seed", range(60))
def test_plan_is_the_optimum_that_trying_everything_finds(seed: int) -> None:
    """Both the maximum and the number of changes, on small clusters of every shape."""
    rng = Random(seed)
    brokers = range(rng.randint(2, 5))
    partitions = drawn(seed, partitions=rng.randint(1, 8), brokers=len(brokers))
    plan = plan_leaders(partitions, brokers)
    assert (plan.optimum, len(plan.changes)) == best_by_trying(partitions, brokers)
    assert max(plan.after.values()) == plan.optimum


@pytest.mark.parametrize("seed", range(20))
def test_plan_keeps_to_the_in_sync_replicas(seed: int) -> None:
    """A change names who leads now and somebody who may; the counts are those after the changes."""
    partitions = drawn(seed, partitions=400, brokers=9)
    plan = plan_leaders(partitions, range(9))
    by_name = {partition.name: partition for partition in partitions}
    leaders = {partition.name: partition.leader for partition in partitions}
    for change in plan.changes:
        assert change.before == by_name[change.name].leader != change.after
        assert change.after in by_name[change.name].isr
        leaders[change.name] = change.after
    assert plan.after == {broker: Counter(leaders.values())[broker] for broker in range(9)}


def test_plan_of_a_balanced_cluster_is_empty() -> None:
    """Nothing to gain, nothing to do."""
    partitions = [LedPartition(("t", index), index % 3, (0, 1, 2)) for index in range(9)]
    assert plan_leaders(partitions, range(3)).changes == ()


def test_plan_above_the_mean_names_the_brokers_that_prove_it() -> None:
    """What is replicated on two brokers only cannot be led by a third."""
    partitions = [LedPartition(("t", index), 0, (0, 1)) for index in range(10)]
    plan = plan_leaders(partitions, range(5))
    assert (plan.mean_bound, plan.optimum, plan.proof) == (2, 5, frozenset({0, 1}))
    assert len(plan.changes) == 5


def test_what_changes_anyway_makes_room_before_anybody_else_gives_way() -> None:
    """Two partitions have no leader that may lead: they share what room there is, and nobody else has to move."""
    partitions = [
        LedPartition(("t", 0), 0, (0, 2)),
        LedPartition(("t", 1), 1, (1, 2)),
        LedPartition(("t", 2), NO_LEADER, (0, 1)),
        LedPartition(("t", 3), 9, (0, 1, 2)),
    ]
    plan = plan_leaders(partitions, range(3))
    assert {change.name for change in plan.changes} == {("t", 2), ("t", 3)}


def test_plan_moves_along_paths_where_no_direct_move_helps() -> None:
    """Broker 0 shares with 1 only and 1 with 2 only: leadership moves on through 1."""
    partitions = [LedPartition(("a", index), 0, (0, 1)) for index in range(4)]
    partitions += [LedPartition(("b", index), 1, (1, 2)) for index in range(2)]
    plan = plan_leaders(partitions, range(3))
    assert plan.after == {0: 2, 1: 2, 2: 2}
    assert len(plan.changes) == 4


def test_plan_gives_leaders_to_partitions_without_one() -> None:
    """A partition nobody leads counts for nobody before; one whose replicas are all away is left alone."""
    partitions = [LedPartition(("t", 0), NO_LEADER, (1, 2)), LedPartition(("t", 1), 7, (7,))]
    plan = plan_leaders(partitions, [1, 2])
    assert [(change.before, change.after) for change in plan.changes] == [(NO_LEADER, 1)]
    assert plan.stuck == 1


def test_plan_does_not_depend_on_what_a_leader_weighs() -> None:
    """Counts come first; weights are the next step's."""
    light = drawn(5, partitions=50, brokers=4)
    heavy = [partition._replace(weight=partition.weight * 100) for partition in light]
    assert plan_leaders(light, range(4)) == plan_leaders(heavy, range(4))


def test_weights_are_evened_out_without_a_larger_count() -> None:
    """Two heavy partitions on one broker part, in exchange for light ones."""
    weights = {0: 100.0, 1: 100.0, 2: 1.0, 3: 1.0}
    partitions = [
        LedPartition(("t", index), 0 if index < 2 else 1, (0, 1), weight) for index, weight in weights.items()
    ]
    plan = plan_leaders(partitions, range(2))
    assert plan.changes == ()
    step = even_out(partitions, range(2), plan)
    assert (step.heaviest_before, step.heaviest_after, step.bound) == (200.0, 101.0, 101.0)
    moved = {change.name: change.after for change in step.changes}
    leaders = Counter(moved.get(partition.name, partition.leader) for partition in partitions)
    assert leaders == {0: 2, 1: 2}


def test_weights_below_the_threshold_change_nothing() -> None:
    """A gain of a few percent is noise, and not worth anybody's refreshed metadata."""
    partitions = [LedPartition(("t", index), index % 2, (0, 1), 10.0 + index * 0.01) for index in range(8)]
    plan = plan_leaders(partitions, range(2))
    step = even_out(partitions, range(2), plan)
    assert step.changes == plan.changes == ()
    assert step.heaviest_after == step.heaviest_before


@pytest.mark.parametrize("seed", range(20))
def test_weights_never_get_worse_and_never_below_the_bound(seed: int) -> None:
    """Whatever the draw: the heaviest is no heavier, the count stays optimal, the bound is one."""
    partitions = drawn(seed, partitions=200, brokers=6)
    plan = plan_leaders(partitions, range(6))
    step = even_out(partitions, range(6), plan)
    moved = {change.name: change.after for change in step.changes}
    counts, weights = Counter[int](), Counter[int]()
    for partition in partitions:
        leader = moved.get(partition.name, partition.leader)
        assert leader in partition.isr
        counts[leader] += 1
        weights[leader] += partition.weight  # type: ignore[assignment]
    assert max(counts.values()) <= plan.optimum
    assert step.bound - 1e-9 <= max(weights.values()) <= step.heaviest_before + 1e-9
