"""Leadership plans: the optimum that a flow finds, preferred leaders kept, the order of replicas that makes it last."""

from __future__ import annotations

from collections import Counter, deque
from random import Random

import pytest

from moldau_operator.plan.leaders import LedPartition, plan_leaders
from moldau_operator.plan.leadership import LeadershipPlan, plan_leadership, weight_ratio
from moldau_operator.plan.partitions import SeenPartition, leading_cost, see
from moldau_operator.seams.broker_admin import MoveView, Partition, PartitionLoad, PartitionView, TopicView


def drawn(seed: int, *, partitions: int, brokers: int) -> list[SeenPartition]:
    """Random replicas, leaders gathered on some brokers, some replicas out of sync, weights of every size."""
    rng = Random(seed)
    found = []
    for index in range(partitions):
        replicas = tuple(rng.sample(range(brokers), min(3, brokers)))
        isr = tuple(rng.sample(replicas, rng.randint(1, len(replicas))))
        leader = max(isr, key=lambda broker: (broker % 3 == 0, rng.random()))
        found.append(SeenPartition(("t", index), leader, replicas, isr, 1, rng.paretovariate(1.2) * 1e5))
    return found


def carried_out(partitions: list[SeenPartition], plan: LeadershipPlan) -> list[SeenPartition]:
    """The partitions afterwards, as brokers would leave them."""
    leaders = {change.name: change.after for change in plan.changes}
    return [
        one._replace(
            leader=leaders.get(one.name, one.leader), replicas=plan.orders.get(one.name, one.replicas)
        )
        for one in partitions
    ]


class Flow:
    """Minimum-cost flow, the textbook way (Bellman-Ford, one unit at a time): slow, and nothing like the planner."""

    def __init__(self) -> None:
        self.edges: list[list[int]] = []  # to, capacity, cost
        self.out: dict[str, list[int]] = {}
        self.heads: list[str] = []

    def edge(self, start: str, end: str, capacity: int, cost: int) -> None:
        for here, there, room, price in ((start, end, capacity, cost), (end, start, 0, -cost)):
            self.out.setdefault(here, []).append(len(self.edges))
            self.heads.append(there)
            self.edges.append([0, room, price])

    def run(self) -> tuple[int, int]:
        """(units from s to t, their cost)."""
        units = cost = 0
        while True:
            distance, via = {"s": 0}, dict[str, int]()
            waiting = deque(["s"])
            while waiting:
                here = waiting.popleft()
                for number in self.out.get(here, ()):
                    _, room, price = self.edges[number]
                    there = self.heads[number]
                    if room and distance[here] + price < distance.get(there, 1 << 30):
                        distance[there], via[there] = distance[here] + price, number
                        waiting.append(there)
            if "t" not in distance:
                return units, cost
            at = "t"
            while at != "s":
                self.edges[via[at]][1] -= 1
                self.edges[via[at] ^ 1][1] += 1
                at = self.heads[via[at] ^ 1]
            units, cost = units + 1, cost + distance["t"]


def by_flow(partitions: list[SeenPartition], brokers: int) -> tuple[int, int]:
    """(smallest maximum, fewest changes at it)."""
    target = -(-len(partitions) // brokers)
    while True:
        flow = Flow()
        for one in partitions:
            flow.edge("s", f"p{one.name[1]}", 1, 0)
            for broker in one.isr:
                flow.edge(f"p{one.name[1]}", f"b{broker}", 1, int(broker != one.leader))
        for broker in range(brokers):
            flow.edge(f"b{broker}", "t", target, 0)
        units, cost = flow.run()
        if units == len(partitions):
            return target, cost
        target += 1


@pytest.mark.parametrize("seed", range(25))
def test_plan_is_what_a_minimum_cost_flow_finds(seed: int) -> None:
    """The same maximum, and at most 1.05 times the fewest changes, as an algorithm that shares nothing with ours."""
    rng = Random(seed)
    brokers = rng.randint(3, 9)
    partitions = drawn(seed, partitions=rng.randint(20, 90), brokers=brokers)
    plan = plan_leadership(partitions, range(brokers), weigh=False)
    optimum, fewest = by_flow(partitions, brokers)
    assert (plan.optimum, plan.fewest) == (optimum, fewest)
    assert plan.max_after == optimum
    assert len(plan.changes) <= 1.05 * fewest


@pytest.mark.parametrize("weigh", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_second_plan_has_nothing_to_do(seed: int, *, weigh: bool) -> None:
    """Carried out once, nothing is left: no change, no other order, and the same maximum."""
    partitions = drawn(seed, partitions=150, brokers=7)
    plan = plan_leadership(partitions, range(7), weigh=weigh)
    after = carried_out(partitions, plan)
    again = plan_leadership(after, range(7), weigh=weigh)
    assert (again.changes, dict(again.orders)) == ((), {})
    assert again.max_before == again.optimum == plan.optimum


@pytest.mark.parametrize("seed", range(10))
def test_brokers_that_elect_preferred_leaders_find_nothing_to_do(seed: int) -> None:
    """What leads is what stands first, so nobody who gives leadership back by himself undoes the plan."""
    partitions = drawn(seed, partitions=100, brokers=5)
    after = carried_out(partitions, plan_leadership(partitions, range(5), weigh=False))
    assert all(one.leader == one.replicas[0] for one in after)
    leaders = Counter(one.leader for one in after)
    assert all(set(one.replicas) == set(was.replicas) for one, was in zip(after, partitions, strict=True))
    assert max(leaders.values()) == plan_leadership(partitions, range(5), weigh=False).optimum


def test_a_broker_that_returns_gets_back_what_it_led_by_elections_alone() -> None:
    """Its preferred leaderships are as good as any plan and no more changes: no replicas change their order."""
    replicas = [tuple((index + shift) % 3 for shift in range(3)) for index in range(12)]
    partitions = [
        SeenPartition(("t", index), one[1] if one[0] == 0 else one[0], one, (0, 1, 2))
        for index, one in enumerate(replicas)
    ]
    plan = plan_leadership(partitions, range(3), weigh=False)
    assert plan.orders == {}
    assert {(change.name, change.after) for change in plan.changes} == {
        (one.name, 0) for one in partitions if one.replicas[0] == 0
    }
    assert plan.after == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("seed", range(30))
def test_changes_go_to_who_is_preferred_where_that_costs_nothing(seed: int) -> None:
    """The same counts and as many changes, each legal and of another partition, and no more orders than there were."""
    partitions = drawn(seed, partitions=80, brokers=5)
    plan = plan_leadership(partitions, range(5), weigh=False)
    names = [change.name for change in plan.changes]
    assert len(set(names)) == len(names)
    by_name = {one.name: one for one in partitions}
    for change in plan.changes:
        one = by_name[change.name]
        assert change.before == one.leader != change.after
        assert change.after in one.isr
    raw = plan_leaders([LedPartition(one.name, one.leader, one.isr) for one in partitions], range(5))
    assert plan.after == raw.after
    assert len(plan.changes) == len(raw.changes)
    at_home = [
        sum(by_name[c.name].replicas[0] == c.after for c in changes)
        for changes in (raw.changes, plan.changes)
    ]
    assert at_home[0] <= at_home[1]


def test_a_partition_that_moves_stays_with_its_leader() -> None:
    """Its replicas are about to change; only what rests is planned."""
    partitions = [SeenPartition(("t", index), 0, (0, 1), (0, 1), moving=index < 3) for index in range(4)]
    plan = plan_leadership(partitions, [0, 1], weigh=False)
    assert [change.name for change in plan.changes] == [("t", 3)]
    assert plan.max_after == 3


def test_two_hot_partitions_part() -> None:
    """Counts are even, but one broker leads both that carry something: one of them is exchanged."""
    partitions = [
        SeenPartition(
            ("t", index), index % 2, (index % 2, 1 - index % 2), (0, 1), 0, 1e6 if index in {0, 2} else 1.0
        )
        for index in range(6)
    ]
    plan = plan_leadership(partitions, [0, 1], weigh=True)
    assert weight_ratio(partitions, [0, 1]) > 1.9
    assert plan.after == plan.before == {0: 3, 1: 3}
    assert max(plan.weight_after.values()) < 1.1 * plan.weight_bound
    assert weight_ratio(carried_out(partitions, plan), [0, 1]) < 1.1


def test_what_is_seen_of_a_partition() -> None:
    """Bytes in go out to every other replica too, requests have their fee, and what nobody tells is nothing."""
    topic = TopicView(
        name="t",
        topic_id="x",
        partitions=2,
        replicas=3,
        placement=(PartitionView(1, (1, 2, 3), (1, 2)), PartitionView(None, (1,), ())),
    )
    place = Partition("t", 0)
    found = see({"t": topic}, {place: 7}, {place: PartitionLoad(10, 5, 2)}, {place: MoveView((3,), ())})
    assert found[0] == SeenPartition(("t", 0), 1, (1, 2, 3), (1, 2), 7, 10 * 3 + 5 + 2 * 1024, True)
    assert found[1] == SeenPartition(("t", 1), -1, (1,), ())
    assert leading_cost(PartitionLoad(0, 0, 0), 3) == 0
