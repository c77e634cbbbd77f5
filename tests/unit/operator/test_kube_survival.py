"""The operator dies, or is refused, at every single call to the API server, and comes to the same end each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from moldau_operator.seams.api_server import ApiError
from moldau_operator.seams.broker_admin import Partition
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld

Change = Callable[[KubeWorld], None]

DISK = {"size": "1Gi"}


def create(world: KubeWorld) -> None:
    listeners = [{"name": "outside", "type": "nodeport", "port": 9094}]
    world.put("Cluster", "demo", replicas=3, storage=DISK, listeners=listeners)
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3, deletionPolicy="Delete")
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing")


def roll(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=3, storage=DISK, image="moldau/broker:2")


def grow(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=3, storage={"size": "2Gi"})


def scale_out(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=5, storage=DISK)


def scale_in(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=3, storage=DISK)


def raise_factor(world: KubeWorld) -> None:
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3, deletionPolicy="Delete")


def lower_factor(world: KubeWorld) -> None:
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=2, deletionPolicy="Delete")


def move_data(world: KubeWorld) -> None:
    """A person approves the plan that waits."""
    plan = world.status("Cluster", "demo")["balance"]["lastPlan"]
    assert plan["state"] == "WaitingForApproval"
    world.put("Cluster", "demo", replicas=5, storage=DISK, balance={"approvedPlan": plan["hash"]})


def delete_topic(world: KubeWorld) -> None:
    world.api.remove("Topic", NAMESPACE, "orders")


def delete_cluster(world: KubeWorld) -> None:
    world.api.remove("Cluster", NAMESPACE, "demo")


def delete_everything(world: KubeWorld) -> None:
    for kind, name in (("Topic", "orders"), ("ConsumerGroup", "billing"), ("Cluster", "demo")):
        world.api.remove(kind, NAMESPACE, name)


async def nothing() -> KubeWorld:
    return KubeWorld()


async def three_nodes(replicas: int = 3, factor: int = 3) -> KubeWorld:
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=replicas, storage=DISK)
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=factor, deletionPolicy="Delete")
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing")
    await world.converge()
    return world


async def five_nodes() -> KubeWorld:
    return await three_nodes(5)


async def two_copies() -> KubeWorld:
    return await three_nodes(factor=2)


async def two_empty_nodes() -> KubeWorld:
    """Two brokers have joined three, and the plan that gives them their share waits for approval."""
    world = await three_nodes()
    world.brokers.add_topic("large", partitions=12, replicas=2)
    world.brokers.sizes = {Partition("large", number): (number + 1) << 26 for number in range(12)}
    scale_out(world)
    await world.converge(quiet=40)  # that it is uneven has to last before a plan is made
    return world


SCENARIOS: list[tuple[Callable[[], Awaitable[KubeWorld]], Change]] = [
    (nothing, create),
    (three_nodes, roll),
    (three_nodes, grow),
    (three_nodes, scale_out),
    (five_nodes, scale_in),
    (two_copies, raise_factor),
    (three_nodes, lower_factor),
    (two_empty_nodes, move_data),
    (three_nodes, delete_topic),
    (three_nodes, delete_cluster),
    (three_nodes, delete_everything),
]


def killed(world: KubeWorld, index: int) -> None:
    world.api.kill_at = index


def killed_after(world: KubeWorld, index: int) -> None:
    world.api.kill_at, world.api.kill_after_effect = index, True


def refused(status: int) -> Callable[[KubeWorld, int], None]:
    def fault(world: KubeWorld, index: int) -> None:
        api = world.api
        api.refuse = lambda call: ApiError(status, "injected") if len(api.calls) - 1 == index else None

    fault.__name__ = f"refused_{status}" if status else "no_answer"
    return fault


def lost(world: KubeWorld, index: int) -> None:
    """It took effect, and the answer never came."""
    api = world.api
    api.lose = lambda call: ApiError(0, "injected") if len(api.calls) - 1 == index else None


FAULTS = [
    killed,
    killed_after,
    lost,
    refused(409),
    refused(500),
    # The operator tells these from 500 in words only; the nightly run makes sure that stays so.
    pytest.param(refused(0), marks=pytest.mark.slow),
    pytest.param(refused(410), marks=pytest.mark.slow),
]


async def finish(world: KubeWorld) -> None:
    """Until all is at rest, and balance has been looked at once more: it is every five seconds."""
    await world.converge()
    world.clock.advance(6_000)
    await world.converge()


@pytest.mark.timeout(600)  # some hundred worlds in a row, on a busy machine
@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
@pytest.mark.parametrize(("start", "change"), SCENARIOS, ids=[change.__name__ for _, change in SCENARIOS])
async def test_whatever_call_fails_the_end_is_the_same(
    start: Callable[[], Awaitable[KubeWorld]], change: Change, fault: Callable[[KubeWorld, int], None]
) -> None:
    """Each call of the straight run is in its turn the one that fails."""
    origin = await start()
    change(origin)
    straight = origin.fork()
    await finish(straight)
    calls = len(straight.api.calls)
    assert calls >= 3  # where nothing holds anything, looking at what is left is all there is
    for index in range(calls):
        world = origin.fork()
        fault(world, index)
        await finish(world)
        assert world.deaths == (fault in {killed, killed_after}), index
        assert world.outcome() == straight.outcome(), (
            f"{fault.__name__} at call {index}: {straight.api.calls[index]}"
        )


async def test_a_plan_that_was_interrupted_is_carried_out_and_leaves_no_throttle() -> None:
    """The scenario above is one: data moves, both new brokers get their share, rates and throttles are gone."""
    world = await two_empty_nodes()
    move_data(world)
    await finish(world)
    assert world.status("Cluster", "demo")["balance"]["lastPlan"]["state"] == "Done"
    held = [node for one in world.brokers.topics["large"].placement for node in one.replicas]
    assert {3, 4} <= set(held)
    assert (world.brokers.overrides, world.brokers.topics["large"].overrides) == ({}, {})
