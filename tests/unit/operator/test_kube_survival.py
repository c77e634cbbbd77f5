"""The operator dies, or is refused, at every single call to the API server, and comes to the same end each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from moldau_operator.seams.api_server import ApiError
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


def delete_topic(world: KubeWorld) -> None:
    world.api.remove("Topic", NAMESPACE, "orders")


def delete_cluster(world: KubeWorld) -> None:
    world.api.remove("Cluster", NAMESPACE, "demo")


def delete_everything(world: KubeWorld) -> None:
    for kind, name in (("Topic", "orders"), ("ConsumerGroup", "billing"), ("Cluster", "demo")):
        world.api.remove(kind, NAMESPACE, name)


async def nothing() -> KubeWorld:
    return KubeWorld()


async def three_nodes(replicas: int = 3) -> KubeWorld:
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=replicas, storage=DISK)
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3, deletionPolicy="Delete")
    world.put("ConsumerGroup", "billing", cluster="demo", groupId="billing")
    await world.converge()
    return world


async def five_nodes() -> KubeWorld:
    return await three_nodes(5)


SCENARIOS: list[tuple[Callable[[], Awaitable[KubeWorld]], Change]] = [
    (nothing, create),
    (three_nodes, roll),
    (three_nodes, grow),
    (three_nodes, scale_out),
    (five_nodes, scale_in),
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
    await straight.converge()
    calls = len(straight.api.calls)
    assert calls >= 3  # where nothing holds anything, looking at what is left is all there is
    for index in range(calls):
        world = origin.fork()
        fault(world, index)
        await world.converge()
        assert world.deaths == (fault in {killed, killed_after}), index
        assert world.outcome() == straight.outcome(), (
            f"{fault.__name__} at call {index}: {straight.api.calls[index]}"
        )
