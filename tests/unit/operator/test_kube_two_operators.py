"""Two operators and one Lease: whoever lost it, at whatever call, writes nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from moldau_operator.handlers.fence import FencedApi
from moldau_operator.handlers.lease import DURATION_S, GIVE_UP_S, Lease
from moldau_operator.handlers.operator import Operator
from moldau_operator.handlers.passes import Passes
from moldau_operator.seams.api_server import LEASES, ApiError, Object, Resource
from moldau_operator.settings import OperatorSettings
from moldau_operator.testing.apiserver import MemoryApi
from moldau_operator.testing.kube_world import NAMESPACE, KubeWorld
from moldau_operator.testing.platform import FakeClock


class Asleep:
    """An `ApiServer` whose caller is put to sleep before the call of this number, until `sleep` returns."""

    def __init__(self, api: Any, at: int, sleep: Callable[[], Awaitable[None]]) -> None:
        self._api, self._at, self._sleep, self.calls = api, at, sleep, 0

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls - 1 == self._at:
                await self._sleep()
            return await getattr(self._api, name)(*args, **kwargs)

        return call


def change(world: KubeWorld) -> None:
    world.put("Cluster", "demo", replicas=4, storage={"size": "2Gi"}, image="moldau/broker:2")
    world.put("Topic", "orders", cluster="demo", partitions=3, replicas=3, deletionPolicy="Delete")


async def begun() -> KubeWorld:
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    await world.converge()
    change(world)
    return world


@pytest.mark.timeout(300)
async def test_an_operator_that_slept_through_its_lease_changes_nothing_more() -> None:
    """Put to sleep before every call of a pass in its turn: the other does it all, the sleeper wakes and is refused."""
    origin = await begun()
    straight = origin.fork()
    await straight.converge()
    pending = True
    index = 0
    while pending:
        world = origin.fork()
        first = Lease(world.api, NAMESPACE, "first", world.clock)
        second = Lease(world.api, NAMESPACE, "second", world.clock)
        assert await first.try_hold()
        assert not await second.try_hold()
        written: list[int] = []

        async def take_over(
            world: KubeWorld = world, second: Lease = second, written: list[int] = written
        ) -> None:
            world.clock.advance((DURATION_S + 1) * 1000)
            assert await second.try_hold()
            await world.converge()  # its own passes are the second operator's
            written.append(len(world.api.writes))

        sleeper = Asleep(FencedApi(world.api, lambda first=first: first.is_held), index, take_over)  # type: ignore[misc]
        passes = Passes(
            sleeper,  # type: ignore[arg-type]
            NAMESPACE,
            world.image,
            world.clock,
            make_admin=lambda _kafka, _http, world=world: world.brokers,  # type: ignore[misc]
            mint=lambda: "another",
        )
        ended = await asyncio.gather(passes.run(), return_exceptions=True)
        assert not isinstance(ended[0], BaseException) or "the Lease is lost" in str(ended[0])
        pending = bool(written)
        if pending:
            assert len(world.api.writes) == written[0], index
            assert not first.is_held
            found, wanted = world.outcome(), straight.outcome()
            assert {k: v for k, v in found["objects"].items() if "Lease" not in k} == wanted["objects"], index
        index += 1
    assert index > 20


async def test_a_holder_that_cannot_renew_gives_up_before_another_may_begin() -> None:
    """Both count by their own clock: the holder from its question, the other from the last change it saw."""
    api, clock = MemoryApi(), FakeClock()
    first, second = (Lease(api, NAMESPACE, name, clock) for name in ("first", "second"))
    assert await first.try_hold()
    assert not await second.try_hold()
    api.refuse = lambda _call: ApiError(0, "no answer")
    lost_ms = taken_ms = None
    for _ in range(2 * DURATION_S):
        clock.advance(500)
        with pytest.raises(ApiError):
            await first.try_hold()
        if lost_ms is None and not first.is_held:
            lost_ms = clock.now_ms
            api.refuse = lambda _call: None
            break
    for _ in range(2 * DURATION_S):
        clock.advance(500)
        if await second.try_hold():
            taken_ms = clock.now_ms
            break
    assert lost_ms is not None
    assert taken_ms is not None
    assert taken_ms - lost_ms >= (DURATION_S - GIVE_UP_S - 1) * 1000


async def test_two_that_ask_at_once_do_not_both_get_it() -> None:
    """Whoever writes second wrote over a version that is gone."""
    api, clock = MemoryApi(), FakeClock()
    leases = [Lease(api, NAMESPACE, f"operator-{n}", clock) for n in range(3)]
    assert sum([await lease.try_hold() for lease in leases]) == 1
    clock.advance((DURATION_S + 1) * 1000)
    late = [Lease(api, NAMESPACE, f"late-{n}", clock) for n in range(2)]
    for lease in late:
        assert not await lease.try_hold()  # just seen for the first time
    clock.advance((DURATION_S + 1) * 1000)
    assert sum([await lease.try_hold() for lease in late]) == 1


class MuteWatches:
    """Watches that never tell anything, as where every connection is dropped."""

    heard_ms: Mapping[str, int] = {}

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self, stop: asyncio.Event) -> None:
        await stop.wait()

    def is_behind(self, *_: str) -> bool:
        return False


def operator(world: KubeWorld, identity: str, api: Any = None, renew_s: float = 0.05) -> Operator:
    lease = Lease(world.api, NAMESPACE, identity, world.clock)
    passes = Passes(
        FencedApi(api or world.api, lambda: lease.is_held),
        NAMESPACE,
        world.image,
        world.clock,
        make_admin=lambda _kafka, _http: world.brokers,
        mint=lambda: "cluster-1",
    )
    settings = OperatorSettings(
        namespace=NAMESPACE, broker_image=world.image, identity=identity, resync_s=0.05
    )
    return Operator(
        world.api,
        lease,
        passes,
        settings,
        world.clock,
        make_watches=MuteWatches,
        renew_s=renew_s,  # type: ignore[arg-type]
    )


async def until(done: Callable[[], bool], world: KubeWorld) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.02)
            world.settle()


async def test_without_a_single_word_from_its_watches_it_converges_and_leaves_in_order() -> None:
    """What a dropped watch would have told is found by the next look; the Lease is given back at the end."""
    world = KubeWorld()
    running = operator(world, "only")
    task = asyncio.create_task(running.run())
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    await until(lambda: running.leads and world.is_ready("Cluster", "demo"), world)
    running.request_stop()
    assert await task == 0
    assert world.api.of("Lease")["moldau-operator"]["spec"]["holderIdentity"] == ""


async def test_a_lease_lost_in_the_middle_of_a_pass_ends_the_process() -> None:
    """The pass waits for an answer, somebody else takes the Lease: the process leaves with 1 and writes nothing."""
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    stuck = asyncio.Event()

    async def hang() -> None:
        stuck.set()
        await asyncio.Event().wait()

    running = operator(world, "first", api=Asleep(world.api, 9, hang))
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(20):
        await stuck.wait()
    other: Object = world.api.of("Lease")["moldau-operator"]
    spec = {**other["spec"], "holderIdentity": "second"}
    world.api.put({**other, "spec": spec})
    before = [call for call in world.api.writes if call.kind != "Lease"]
    async with asyncio.timeout(20):
        assert await task == 1
    assert [call for call in world.api.writes if call.kind != "Lease"] == before
    holder = await world.api.get(Resource(*LEASES), NAMESPACE, "moldau-operator")
    assert holder is not None
    assert holder["spec"]["holderIdentity"] == "second"
