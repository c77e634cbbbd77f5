"""Balancing never flaps: a plan carried out leaves nothing to do, and noise below the threshold is no reason to act."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.plan.balance import BalanceAsk, plan_balance
from moldau_operator.plan.balance_pace import Look, PaceState, Pacing, decided, judge
from moldau_operator.plan.leader_weights import GAIN_MIN
from moldau_operator.plan.leadership import LeadershipPlan, led_weights, plan_leadership, weight_ratio
from moldau_operator.plan.packing import PackBroker
from moldau_operator.plan.partitions import SeenPartition
from moldau_operator.plan.rebalance import TRIGGER, spread

PACING = Pacing()


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[SeenPartition], int]:
    """Partitions of all weights and sizes, anywhere, led by anybody in sync."""
    brokers = draw(st.integers(2, 8))
    rng = Random(draw(st.integers(0, 1 << 30)))
    shape = draw(st.floats(0.8, 3.0))
    found = []
    for index in range(draw(st.integers(1, 80))):
        replicas = tuple(rng.sample(range(brokers), min(rng.randint(1, 3), brokers)))
        isr = tuple(rng.sample(replicas, rng.randint(1, len(replicas))))
        size = int(rng.lognormvariate(0, 1) * (1 << 28))
        found.append(
            SeenPartition(("t", index), rng.choice(isr), replicas, isr, size, rng.paretovariate(shape) * 1e6)
        )
    return found, brokers


def look_at(partitions: list[SeenPartition], brokers: int) -> Look:
    plan = plan_leadership(partitions, range(brokers), weigh=False)
    return Look(
        max_leaders=plan.max_before,
        optimum=plan.optimum,
        preferred_max=plan.preferred_max,
        ratio=weight_ratio(partitions, range(brokers)),
        heaviest=max(led_weights(partitions, {}, range(brokers)).values()),
    )


def follow(partitions: list[SeenPartition], plan: LeadershipPlan) -> list[SeenPartition]:
    leaders = {change.name: change.after for change in plan.changes}
    return [
        one._replace(
            leader=leaders.get(one.name, one.leader), replicas=plan.orders.get(one.name, one.replicas)
        )
        for one in partitions
    ]


class Operator:
    """Looks every five seconds and acts when it is time to."""

    def __init__(self, brokers: int) -> None:
        self.brokers = brokers
        self.state = PaceState()
        self.now = 0
        self.acts: list[LeadershipPlan] = []

    def watch(self, partitions: list[SeenPartition], looks: int) -> list[SeenPartition]:
        """The partitions after so many looks."""
        for _ in range(looks):
            verdict, self.state = judge(look_at(partitions, self.brokers), self.state, self.now, PACING)
            if verdict.leaders:
                plan = plan_leadership(partitions, range(self.brokers), weigh=verdict.weigh)
                partitions = follow(partitions, plan)
                changed = plan.weight_after != plan.weight_before
                ratio = weight_ratio(partitions, range(self.brokers))
                self.state = decided(
                    self.state, ratio, weighed=verdict.weigh, changed=changed, now_ms=self.now
                )
                if plan.changes or plan.orders:
                    self.acts.append(plan)
            self.now += 5_000
        return partitions


@given(clusters(), st.booleans())
def test_a_plan_carried_out_leaves_nothing_to_do(drawn: tuple[list[SeenPartition], int], weigh: bool) -> None:
    """Two plans in a row on the same load: the second one changes nothing, by counts or by weights."""
    partitions, brokers = drawn
    after = follow(partitions, plan_leadership(partitions, range(brokers), weigh=weigh))
    again = plan_leadership(after, range(brokers), weigh=weigh)
    assert (again.changes, dict(again.orders)) == ((), {})


@given(clusters(), st.integers(0, 1 << 30), st.floats(0, GAIN_MIN / 2.5))
def test_noise_below_the_threshold_changes_nothing(
    drawn: tuple[list[SeenPartition], int], seed: int, noise: float
) -> None:
    """Once it has come to rest, an hour of averages that wobble is an hour without an act."""
    partitions, brokers = drawn
    operator = Operator(brokers)
    partitions = operator.watch(partitions, 300)
    operator.acts.clear()
    rng = Random(seed)
    for _ in range(12):
        wobbled = [one._replace(weight=one.weight * (1 + rng.uniform(-noise, noise))) for one in partitions]
        operator.watch(wobbled, 60)
    assert operator.acts == []


@given(clusters())
def test_an_operator_comes_to_rest(drawn: tuple[list[SeenPartition], int]) -> None:
    """Whatever it begins with: at most one act by counts and one by weights, and the counts are at their optimum."""
    partitions, brokers = drawn
    operator = Operator(brokers)
    after = operator.watch(partitions, 500)
    assert len(operator.acts) <= 2
    seen = look_at(after, brokers)
    assert not seen.counts_are_off


@given(clusters(), st.integers(0, 2))
def test_a_replica_plan_carried_out_asks_for_no_other(
    drawn: tuple[list[SeenPartition], int], joining: int
) -> None:
    """Everybody ends inside the band, or as near as legal moves come: no new plan moves anything that matters."""
    partitions, count = drawn
    brokers = tuple(PackBroker(broker) for broker in range(count + joining))
    plan = plan_balance(partitions, BalanceAsk(brokers=brokers, leaders=False, replicas=True)).replicas
    assert plan is not None
    replicas = {one.name: list(one.replicas) for one in partitions}
    for move in plan.moves:
        held = replicas[move.name]
        held[held.index(move.source)] = move.target
        assert len(set(held)) == len(held)
    after = [one._replace(replicas=tuple(replicas[one.name])) for one in partitions]
    again = plan_balance(after, BalanceAsk(brokers=brokers, leaders=False, replicas=True)).replicas
    assert again is not None
    if not plan.outside:
        assert spread(after, brokers).worst <= TRIGGER
        assert again.moves == ()
