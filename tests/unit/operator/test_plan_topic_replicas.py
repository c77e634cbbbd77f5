"""A topic's replication factor changed in stages."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from moldau_operator.plan.factors import FactorAsk, FactorPlan, plan_factors
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import see
from moldau_operator.plan.topic_replicas import (
    Places,
    ReplicaStage,
    as_it_will_be,
    plan_replicas,
    wrong_partitions,
)
from moldau_operator.seams.broker_admin import MoveView, Partition, PartitionView, TopicView

THREE = tuple(map(PackBroker, range(3)))


def topic(*placement: tuple[int, ...]) -> TopicView:
    return TopicView(
        name="t",
        topic_id="t",
        partitions=len(placement),
        replicas=max(map(len, placement)),
        placement=tuple(PartitionView(replicas[0], replicas, replicas) for replicas in placement),
    )


def places(
    observed: TopicView, wanted: int, *, moves: Mapping[Partition, MoveView] | None = None, room: int = 50
) -> Places:
    """Where the packer puts the topic's replicas on three brokers."""
    ask = FactorAsk(
        wanted={(observed.name, n): wanted for n in wrong_partitions(observed, wanted)}, homes=THREE
    )
    plan = plan_factors(see({observed.name: observed}, {}, {}), ask)
    return Places(open=3, plan=plan, moves=moves or {}, room=room)


@pytest.mark.parametrize("wanted", [None, 2])
def test_a_topic_as_declared_or_undeclared_needs_nothing(wanted: int | None) -> None:
    """Nothing is even waited for."""
    assert plan_replicas(topic((0, 1), (1, 2)), wanted, None) == ReplicaStage()


def test_every_partition_gets_the_factor_and_the_load_is_spread() -> None:
    """Each counts what those before it were given."""
    alone = topic((0,), (0,), (0,), (0,))
    stage = plan_replicas(alone, 2, places(alone, 2))
    assert all(0 in target for target in stage.targets.values())
    assert sorted(node for target in stage.targets.values() for node in target if node) == [1, 1, 2, 2]
    assert (stage.reason, stage.waiting) == ("replicas 1 -> 2", "replicas 1 -> 2: 0 of 4 partitions done")


def test_added_replicas_lead_as_well() -> None:
    """What one broker led alone is led by all of them in turn; where replicas go, the order stays."""
    alone, all_three = topic((0,), (0,), (0,)), topic((2, 0, 1), (2, 1, 0))
    stage = plan_replicas(alone, 3, places(alone, 3))
    assert sorted(target[0] for target in stage.targets.values()) == [0, 1, 2]
    lowered = plan_replicas(all_three, 2, places(all_three, 2))
    assert [target[0] for target in lowered.targets.values()] == [2, 2]


def test_what_is_on_its_way_is_waited_for() -> None:
    """It counts as done once it has arrived."""
    seen, moves = topic((0, 1), (0, 1, 2)), {Partition("t", 1): MoveView((1,), ())}
    stage = plan_replicas(seen, 2, places(seen, 2, moves=moves))
    assert (stage.targets, stage.waiting) == ({}, "replicas 3 -> 2: 1 of 2 partitions done")


def test_a_stage_takes_no_more_than_the_room_there_is() -> None:
    """The rest comes with the next pass."""
    seen, one = topic((0,), (0,), (0,)), topic((0,))
    assert len(plan_replicas(seen, 3, places(seen, 3, room=2)).targets) == 2
    none = plan_replicas(one, 3, places(one, 3, room=0))
    assert (none.targets, none.waiting) == ({}, "replicas 1 -> 3: 0 of 1 partition done")


def test_too_few_brokers_that_serve_are_waited_for() -> None:
    """They may only be starting."""
    stage = plan_replicas(topic((0,), (0, 1)), 3, Places(open=2))
    assert (stage.targets, stage.waiting) == (
        {},
        "replicas 1 to 2 -> 3: waits for brokers, 2 of 3 can take replicas",
    )


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (FactorPlan(crowded=frozenset({("t", 0)})), "the racks there are cannot hold 1 partition apart"),
        (FactorPlan(full=frozenset({("t", 0)})), "the disks there are cannot hold 1 partition more"),
    ],
)
def test_what_finds_no_home_is_refused_once_the_rest_is_there(plan: FactorPlan, words: str) -> None:
    """With what to change; as long as another partition moves, that is what is told."""
    stage = plan_replicas(topic((0,), (0, 1)), 2, Places(open=3, plan=plan))
    assert stage.targets == {}
    assert f"replicas 1 -> 2: {words}" in stage.refusal
    moves = {Partition("t", 1): MoveView((1,), ())}
    assert not plan_replicas(topic((0,), (0,)), 2, Places(open=3, plan=plan, moves=moves)).refusal


def test_a_partition_that_only_moves_is_seen_where_it_goes() -> None:
    """For balance, say: it has one replica more for a while, and nobody changed its factor."""
    moves = {Partition("t", 0): MoveView((2,), (0,)), Partition("t", 1): MoveView((2,), ())}
    seen = as_it_will_be(topic((9,)), topic((2, 1, 0), (0, 1, 2), (0, 1)).placement, moves)
    assert [one.replicas for one in seen.placement] == [(2, 1), (0, 1, 2), (0, 1)]
    assert seen.replicas == 3, "the second one gets another factor"
    assert wrong_partitions(seen, 2) == [1]
    arrived = as_it_will_be(topic((9,)), topic((2, 1)).placement, moves)
    assert arrived.placement[0].replicas == (2, 1), "and where it has arrived since"
    begins = as_it_will_be(topic((9,)), topic((0, 1)).placement, moves)
    assert set(begins.placement[0].replicas) == {1, 2}, "or has not begun yet"
