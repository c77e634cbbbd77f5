"""The zones of machines, with the right to read them and without."""

from __future__ import annotations

import pytest

from moldau_operator.adapters.kube_zones import AGE_S_MAX, Zones
from moldau_operator.seams.api_server import ApiError, Object
from moldau_operator.testing.kube_world import KubeWorld


class Machines:
    """An API server that has machines, or does not show them."""

    def __init__(self, **zones: str) -> None:
        self.zones = zones
        self.status = 0
        self.asked = 0

    async def select(self, *_: object) -> list[Object]:
        self.asked += 1
        if self.status:
            raise ApiError(self.status, "no")
        label = "topology.kubernetes.io/zone"
        return [
            {"metadata": {"name": name, "labels": {label: zone} if zone else {}}}
            for name, zone in self.zones.items()
        ]


async def test_zones_are_read_now_and_then() -> None:
    """A machine without a zone is left out; an answer is good for a while, and longer while none can be had."""
    now = 0.0
    machines = Machines(one="a", two="b", three="")
    zones = Zones(machines, lambda: now)  # type: ignore[arg-type]
    assert await zones.by_machine() == {"one": "a", "two": "b"}
    machines.zones["four"] = "c"
    assert await zones.by_machine() == {"one": "a", "two": "b"}
    now = AGE_S_MAX
    assert await zones.by_machine() == {"one": "a", "two": "b", "four": "c"}
    now, machines.status = 2 * AGE_S_MAX, 503
    assert await zones.by_machine() == {"one": "a", "two": "b", "four": "c"}
    assert machines.asked == 3


async def test_who_may_not_read_machines_knows_none() -> None:
    """Forbidden is an answer; that there was none is an error."""
    machines = Machines()
    machines.status = 403
    zones = Zones(machines, lambda: 0.0)  # type: ignore[arg-type]
    assert await zones.by_machine() is None
    assert not zones.known
    machines.status = 503
    with pytest.raises(ApiError):
        await Zones(machines, lambda: 0.0).by_machine()  # type: ignore[arg-type]


async def test_a_condition_says_where_racks_come_from() -> None:
    """From the machines, from the spec, or from nowhere with what to do about it."""
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=1)
    await world.converge()
    found = {one["type"]: one for one in world.status("Cluster", "demo")["conditions"]}
    assert found["Plaintext"]["status"] == "True"
    assert (found["RacksKnown"]["status"], found["RacksKnown"]["reason"]) == ("True", "FromMachines")
    world.api.refuse = lambda call: ApiError(403, "no") if call.kind == "Node" else None
    world.restart()
    await world.converge()
    found = {one["type"]: one for one in world.status("Cluster", "demo")["conditions"]}
    assert (found["RacksKnown"]["status"], found["RacksKnown"]["reason"]) == ("False", "NotAllowed")
    assert "clusterRole.create=true" in found["RacksKnown"]["message"]
    world.put("Cluster", "demo", replicas=1, rack="a")
    await world.converge()
    found = {one["type"]: one for one in world.status("Cluster", "demo")["conditions"]}
    assert found["RacksKnown"]["reason"] == "FromSpec"
