"""A Topic's replicas changed on Kubernetes: by the packer, in stages, within racks and disks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from moldau_operator.plan.execution import IN_FLIGHT_MAX
from moldau_operator.plan.throttles import FOLLOWER_REPLICAS, RATES
from moldau_operator.resources.balance_status import THROTTLE_BYTES
from moldau_operator.seams.broker_admin import Partition
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

GIB = 1 << 30
RACKS = {node: f"zone-{node % 3}" for node in range(6)}


def put(world: KubeWorld, size: str = "100Gi", **topic: Any) -> None:
    world.put("Cluster", "demo", replicas=6, storage={"size": size})
    world.put("Topic", "orders", cluster="demo", partitions=60, **topic)


async def running(size: str = "100Gi", replicas: int = 1) -> KubeWorld:
    """Six brokers in three zones; partitions of one to five GiB."""
    world = KubeWorld()
    world.brokers.racks = dict(RACKS)
    put(world, size, replicas=replicas)
    await world.converge()
    assert world.is_ready("Topic", "orders")
    world.brokers.sizes = {Partition("orders", number): (1 + number % 5) * GIB for number in range(60)}
    return world


def placed(world: KubeWorld) -> list[tuple[int, ...]]:
    return [one.replicas for one in world.brokers.topics["orders"].placement]


async def test_more_replicas_come_in_stages_and_lie_in_zones_of_their_own() -> None:
    """No more than so many at once; every partition ends in three zones, and bytes are even to a tenth."""
    world = await running()
    before = placed(world)
    put(world, replicas=3)
    most = stages = 0
    for _ in range(20):
        await world.passes.run()
        most, stages = max(most, len(world.brokers.moves)), stages + bool(world.brokers.moves)
        if not world.brokers.moves:
            break
        world.settle()
        world.clock.advance(1_000)
    assert (most, stages) == (IN_FLIGHT_MAX, 2)
    await world.converge()
    assert world.is_ready("Topic", "orders")
    after = placed(world)
    assert all({RACKS[node] for node in replicas} == {"zone-0", "zone-1", "zone-2"} for replicas in after)
    assert all(set(old) <= set(new) for old, new in zip(before, after, strict=True)), (
        "nothing that was there moved"
    )
    sizes = Counter[int]()
    for number, replicas in enumerate(after):
        for node in replicas:
            sizes[node] += 1 + number % 5
    mean = sum(sizes.values()) / 6
    assert all(abs(size - mean) <= 0.1 * mean for size in sizes.values()), sizes


async def test_fewer_replicas_copy_nothing_and_keep_zones_apart() -> None:
    """What stays is a part of what was."""
    world = await running(replicas=3)
    before = placed(world)
    put(world, replicas=2)
    await world.converge()
    assert world.is_ready("Topic", "orders")
    for old, new in zip(before, placed(world), strict=True):
        assert set(new) < set(old)
        assert len({RACKS[node] for node in new}) == min(2, len({RACKS[node] for node in old}))


async def test_disks_too_small_for_more_replicas_say_so_and_larger_ones_heal_it() -> None:
    """Thirty GiB each hold what is there; three copies of 180 GiB need ninety each."""
    world = await running("40Gi")
    put(world, "40Gi", replicas=3)
    await world.converge()
    assert world.ready_condition("Topic", "orders") == ("False", "NotSupported")
    found = world.condition("Topic", "orders", "Ready")
    assert found is not None
    assert "raise the Cluster's storage.size" in found["message"]
    sizes = Counter[int]()
    for number, replicas in enumerate(placed(world)):
        for node in replicas:
            sizes[node] += (1 + number % 5) * GIB
    assert all(size <= 40 * GIB for size in sizes.values()), (
        "what fits was made, and no disk is beyond its size"
    )
    assert world.brokers.topics["orders"].replicas == 3, "as many partitions as fit have their replicas"
    put(world, "100Gi", replicas=3)
    await world.converge()
    assert world.is_ready("Topic", "orders")


async def test_a_broker_that_restarts_keeps_its_replicas_while_a_factor_changes() -> None:
    """Its data is on its disk: nothing of it is copied elsewhere because somebody raises a factor just then."""
    world = await running(replicas=2)
    down = next(name for name in world.api.of("Pod") if name.endswith("-2"))
    world.ready = lambda pod: pod["metadata"]["name"] != down
    key = ("Pod", NAMESPACE, down)
    world.api.patch(key, lambda pod: pod["status"].update(conditions=[{"type": "Ready", "status": "False"}]))
    world.settle()
    before = placed(world)
    put(world, replicas=3)
    for _ in range(8):
        await world.step()
    assert world.brokers.fenced == {2}
    assert all(set(old) <= set(new) for old, new in zip(before, placed(world), strict=True))
    assert all(2 not in set(new) - set(old) for old, new in zip(before, placed(world), strict=True))


def rates(world: KubeWorld) -> set[str]:
    return {world.brokers.overrides.get(name, "") for name in RATES}


async def test_copies_for_another_factor_are_throttled_and_nothing_is_left_of_it() -> None:
    """The rate and the topic's list stand while copies are on their way, by the Cluster's own number; then both go."""
    world = await running()
    world.put(
        "Cluster",
        "demo",
        replicas=6,
        storage={"size": "100Gi"},
        balance={"throttleBytesPerSecond": 7_000_000},
    )
    world.put("Topic", "orders", cluster="demo", partitions=60, replicas=3)
    await world.passes.run()
    assert rates(world) == {"7000000"}
    listed = world.brokers.topics["orders"].overrides[FOLLOWER_REPLICAS].split(",")
    assert sorted(listed) == sorted(
        f"{place.number}:{node}"
        for place, move in (await world.brokers.list_moves()).items()
        for node in move.adding
    )
    calls = world.brokers.changes
    assert calls[-3:] == ["alter_brokers", "alter_topics", "move_replicas"], (
        "none begins without its throttle"
    )
    await world.converge()
    assert world.is_ready("Topic", "orders")
    assert (world.brokers.overrides, world.brokers.topics["orders"].overrides) == ({}, {})


async def test_a_rate_that_a_person_gave_all_brokers_stays() -> None:
    """It is not the number that moves are given here, so it means something else."""
    world = await running(replicas=2)
    world.brokers.overrides = dict.fromkeys(RATES, "123")
    before = list(world.brokers.changes)
    await world.converge()
    assert (rates(world), world.brokers.changes) == ({"123"}, before)


async def test_a_drain_is_throttled_and_nothing_is_left_of_it() -> None:
    """What a node that leaves held is copied no faster than anything else that is moved."""
    world = await running("200Gi", replicas=3)
    world.put("Cluster", "demo", replicas=5, storage={"size": "200Gi"})
    seen = set()
    for _ in range(40):
        await world.passes.run()
        if world.brokers.moves:
            seen |= rates(world)
        world.settle()
        world.clock.advance(1_000)
    await world.converge()
    assert seen == {str(THROTTLE_BYTES)}
    assert {node for replicas in placed(world) for node in replicas} == {0, 1, 2, 3, 4}
    assert (world.brokers.overrides, world.brokers.topics["orders"].overrides) == ({}, {})
