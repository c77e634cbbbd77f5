"""Another replication factor on any cluster: racks and disks hold, nothing is copied but what is added, all is even."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.plan.factors import FactorAsk, FactorPlan, Name, plan_factors
from moldau_operator.plan.packing import PackBroker, PackPartition, pack_replicas
from moldau_operator.plan.partitions import SeenPartition

Drawn = tuple[list[SeenPartition], FactorAsk]


@st.composite
def changes(draw: st.DrawFn) -> Drawn:
    """A cluster of any racks, disks and sizes; some of its topics get another factor, some brokers are away."""
    rng = Random(draw(st.integers(0, 1 << 30)))
    count, racks = draw(st.integers(1, 9)), draw(st.integers(0, 4))
    strangers = draw(st.integers(0, 1))  # a broker that is not declared any more
    found = []
    for index in range(draw(st.integers(1, 60))):
        replicas = tuple(rng.sample(range(count + strangers), rng.randint(1, min(4, count + strangers))))
        isr = tuple(rng.sample(replicas, rng.randint(1, len(replicas))))
        size = int(rng.lognormvariate(0, 1) * 1_000)
        found.append(SeenPartition((f"t{index % 3}", index), rng.choice(isr), replicas, isr, size))
    tight = draw(st.booleans())
    held = Counter[int]()
    for one in found:
        for node in one.replicas:
            held[node] += one.size
    homes = tuple(
        PackBroker(
            node,
            f"rack-{node % racks}" if racks else None,
            int(held[node] * rng.uniform(1, 1.5)) if tight else None,
        )
        for node in range(count)
    )
    away = frozenset(rng.sample(range(count), draw(st.integers(0, count // 3))))
    factor = draw(st.integers(1, min(4, count)))
    wanted = {one.name: factor for one in found if one.name[0] == "t0"}
    return found, FactorAsk(wanted=wanted, homes=homes, away=away)


def placed(partitions: list[SeenPartition], plan: FactorPlan) -> dict[Name, tuple[int, ...]]:
    """Where everything lies afterwards."""
    return {one.name: tuple(plan.targets.get(one.name, one.replicas)) for one in partitions}


@given(changes())
def test_every_partition_gets_its_factor_or_is_named(drawn: Drawn) -> None:
    """Distinct brokers that stay; whoever gets a replica serves."""
    partitions, ask = drawn
    plan = plan_factors(partitions, ask)
    assert plan.targets.keys() | plan.crowded | plan.full == ask.wanted.keys()
    assert not plan.targets.keys() & (plan.crowded | plan.full)
    before = {one.name: set(one.replicas) for one in partitions}
    homes = {broker.id for broker in ask.homes}
    for name, target in plan.targets.items():
        assert len(set(target)) == len(target) == ask.wanted[name]
        assert set(target) <= homes
        assert not (set(target) - before[name]) & ask.away


@given(changes())
def test_nothing_is_copied_but_what_is_added(drawn: Drawn) -> None:
    """As many replicas as were there and may stay do stay, so that the bytes copied are the least there can be."""
    partitions, ask = drawn
    plan = plan_factors(partitions, ask)
    homes = {broker.id for broker in ask.homes}
    least = 0
    for one in partitions:
        if one.name not in plan.targets:
            continue
        stay = [node for node in one.replicas if node in homes]
        target = plan.targets[one.name]
        assert len(set(target) & set(one.replicas)) == min(len(stay), len(target))
        least += one.size * max(0, len(target) - len(stay))
        if one.leader in stay:
            assert one.leader in target, "the leader stays where it can"
    assert plan.bytes_added == least


@given(changes())
def test_no_rack_gets_more_than_its_share(drawn: Drawn) -> None:
    """Who comes finds no more than replicas / racks of its partition in its rack, rounded up."""
    partitions, ask = drawn
    plan = plan_factors(partitions, ask)
    racks = {broker.id: broker.rack for broker in ask.homes}
    if len(set(racks.values())) <= 1:
        return
    before = {one.name: set(one.replicas) for one in partitions}
    for name, target in plan.targets.items():
        share = -(-len(target) // len(set(racks.values())))
        held = Counter(racks[node] for node in target)
        for node in set(target) - before[name]:
            assert held[racks[node]] <= share


@given(changes())
def test_no_disk_is_filled_beyond_what_it_holds(drawn: Drawn) -> None:
    """A broker that takes something ends within its capacity, all others' bytes included."""
    partitions, ask = drawn
    plan = plan_factors(partitions, ask)
    after = placed(partitions, plan)
    sizes = Counter[int]()
    takers: set[int] = set()
    for one in partitions:
        takers |= set(after[one.name]) - set(one.replicas)
        for node in after[one.name]:
            sizes[node] += one.size
    for broker in ask.homes:
        if broker.id in takers and broker.capacity is not None:
            assert sizes[broker.id] <= broker.capacity


@given(st.integers(0, 1 << 30), st.integers(4, 9), st.integers(2, 3))
def test_an_even_cluster_is_even_afterwards(seed: int, brokers: int, factor: int) -> None:
    """Where a topic of one replica each gets more, everybody ends inside the packer's own band: it moves nothing."""
    rng = Random(seed)
    partitions = [
        SeenPartition(
            ("t", index), index % brokers, (index % brokers,), (index % brokers,), rng.randint(90, 110)
        )
        for index in range(brokers * 12)
    ]
    homes = tuple(map(PackBroker, range(brokers)))
    wanted = {one.name: factor for one in partitions}
    plan = plan_factors(partitions, FactorAsk(wanted=wanted, homes=homes))
    after = placed(partitions, plan)
    packed = [PackPartition(one.name, after[one.name], one.size) for one in partitions]
    assert pack_replicas(packed, homes).moves == ()
