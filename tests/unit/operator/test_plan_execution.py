"""Moves carried out: one replica of a partition at a time, brokers in turn, and from wherever it was stopped."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from moldau_operator.plan.execution import IN_FLIGHT_MAX, PER_BROKER_MAX, MoveState, measure, next_wave
from moldau_operator.plan.rebalance import PlannedMove
from moldau_operator.plan.throttles import (
    FOLLOWER_REPLICAS,
    LEADER_REPLICAS,
    RATES,
    rate_change,
    throttled_topics,
    topic_changes,
)
from moldau_operator.seams.broker_admin import ConfigChange, MoveView, Partition, PartitionView, TopicView

LIVE = frozenset(range(10))


def topic(*replicas: tuple[int, ...], **overrides: str) -> dict[str, TopicView]:
    placement = tuple(PartitionView(one[0], one, one) for one in replicas)
    return {
        "t": TopicView(
            name="t",
            topic_id="",
            partitions=len(replicas),
            replicas=3,
            placement=placement,
            overrides=overrides,
        )
    }


class World:
    """Brokers that carry out what waves begin, one move at a time or all at once."""

    def __init__(self, *replicas: tuple[int, ...]) -> None:
        self.placed = dict(enumerate(replicas))
        self.flying: dict[Partition, tuple[int, ...]] = {}

    @property
    def topics(self) -> dict[str, TopicView]:
        """As brokers show it: replicas that come are in the list already."""
        shown = []
        for number, replicas in self.placed.items():
            target = self.flying.get(Partition("t", number), replicas)
            shown.append((*target, *(node for node in replicas if node not in target)))
        return topic(*shown)

    @property
    def moves(self) -> dict[Partition, MoveView]:
        found = {}
        for place, target in self.flying.items():
            now = self.placed[place.number]
            found[place] = MoveView(
                tuple(node for node in target if node not in now),
                tuple(node for node in now if node not in target),
            )
        return found

    def begin(self, plan: list[PlannedMove]) -> int:
        wave = next_wave(plan, self.topics, self.moves, LIVE)
        assert not wave.targets.keys() & self.flying.keys(), "one replica of a partition at a time"
        self.flying.update(wave.targets)
        assert wave.adding == {place: frozenset(move.adding) for place, move in self.moves.items()}
        return len(wave.targets)

    def arrive(self, place: Partition) -> None:
        self.placed[place.number] = self.flying.pop(place)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_ends_where_it_should_however_often_it_is_stopped(seed: int) -> None:
    """Moves end in any order, some are taken back, nothing is remembered: the placement is the plan's in the end."""
    rng = Random(seed)
    world = World(*(tuple(rng.sample(range(6), 3)) for _ in range(30)))
    plan: list[PlannedMove] = []
    want = {}
    for number, replicas in world.placed.items():
        after = list(replicas)
        for target in rng.sample(range(6, 10), rng.randint(0, 2)):
            source = rng.choice([node for node in after if node < 6])
            plan.append(PlannedMove(("t", number), source, target))
            after[after.index(source)] = target
        want[number] = set(after)
    for _ in range(1_000):
        progress = measure(plan, world.topics, world.moves)
        if progress.finished:
            break
        world.begin(plan)
        place = rng.choice(sorted(world.flying))
        if rng.random() < 0.2:
            del world.flying[place]  # somebody stopped it
        else:
            world.arrive(place)
    assert {number: set(replicas) for number, replicas in world.placed.items()} == want
    assert progress.count(MoveState.DONE) == len(plan)


def test_no_broker_is_asked_for_more_than_it_can_serve() -> None:
    """Into one broker, or out of one leader, only so many; others are not held up by it."""
    world = World(*((number % 2, 3) for number in range(40)))
    plan = [PlannedMove(("t", number), 3, 5 + number % 3) for number in range(40)]
    world.begin(plan)
    sending = Counter(world.placed[place.number][0] for place in world.flying)
    coming = Counter(move.adding[0] for move in world.moves.values())
    assert sending == {0: PER_BROKER_MAX, 1: PER_BROKER_MAX}
    assert max(coming.values()) - min(coming.values()) <= 1, "destinations take turns"
    assert world.begin(plan) == 0, "nothing more before something has arrived"
    world.arrive(next(iter(world.flying)))
    assert world.begin(plan) == 1


def test_no_more_fly_than_a_stop_can_take_back_soon() -> None:
    """Whoever began them: moves that are not ours count too."""
    placed = [(number % 10, (number + 1) % 10) for number in range(200)]
    plan = [PlannedMove(("t", number), (number + 1) % 10, (number + 2) % 10) for number in range(100)]
    foreign = {Partition("t", number): MoveView((), (0,)) for number in range(100, 147)}
    wave = next_wave(plan, topic(*placed), foreign, LIVE)
    assert len(wave.targets) == IN_FLIGHT_MAX - 47
    assert measure(plan, topic(*placed), foreign).foreign == 47


def test_a_move_somebody_else_made_meaningless_is_void() -> None:
    """The topic is gone, or its replicas are elsewhere by now; what has arrived is done, by whomever."""
    plan = [
        PlannedMove(("t", 0), 1, 4),
        PlannedMove(("t", 1), 1, 4),
        PlannedMove(("t", 2), 1, 4),
        PlannedMove(("u", 0), 1, 2),
    ]
    found = measure(plan, topic((1, 2), (4, 2), (2, 3)), {})
    assert found.states == (MoveState.WAITING, MoveState.DONE, MoveState.VOID, MoveState.VOID)
    assert not found.finished
    assert measure(plan[1:], topic((1, 2), (4, 2), (2, 3)), {}).finished


def test_nothing_begins_towards_a_broker_that_is_away() -> None:
    """Nor out of a partition whose leader is."""
    plan = [PlannedMove(("t", 0), 1, 4), PlannedMove(("t", 1), 1, 5)]
    wave = next_wave(plan, topic((1, 2), (1, 2)), {}, frozenset({1, 2, 5}))
    assert wave.targets == {Partition("t", 1): (5, 2)}
    assert not next_wave(plan, topic((1, 2), (1, 2)), {}, frozenset({2, 4, 5})).targets


def test_throttles_name_who_sends_and_who_takes() -> None:
    """As kafka-reassign-partitions does it: the holders on the leaders' side, the newcomers on the followers'."""
    topics = topic((1, 2), (4, 1, 2))
    wanted = throttled_topics({Partition("t", 0): {5}, Partition("t", 1): {4}}, topics)
    assert wanted == {"t": {LEADER_REPLICAS: "0:1,0:2,1:1,1:2", FOLLOWER_REPLICAS: "0:5,1:4"}}
    assert topic_changes(wanted, topics, {"t"}) == {"t": ConfigChange(set=wanted["t"])}
    there = {"t": TopicView(**{**_fields(topics["t"]), "overrides": {**wanted["t"], "retention.ms": "1"}})}
    assert topic_changes(wanted, there, {"t"}) == {}
    assert topic_changes({}, there, {"t"}) == {"t": ConfigChange(remove=(FOLLOWER_REPLICAS, LEADER_REPLICAS))}
    assert topic_changes({}, there, set()) == {}, "somebody else's are left alone"


def _fields(view: TopicView) -> dict[str, object]:
    return {name: getattr(view, name) for name in TopicView.__dataclass_fields__}


def test_rates_are_given_and_taken_back_unless_they_are_declared() -> None:
    """A rate in the Cluster's own settings is the person's."""
    both = dict.fromkeys(RATES, "1000")
    assert rate_change(1000, {}, ()) == ConfigChange(set=both)
    assert rate_change(1000, both, ()) is None
    assert rate_change(2000, both, RATES) is None
    assert rate_change(None, both, ()) == ConfigChange(remove=RATES)
    assert rate_change(None, both, RATES) is None
    assert rate_change(None, {}, ()) is None
