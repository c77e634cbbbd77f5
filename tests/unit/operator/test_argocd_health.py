"""docs/argocd-health.lua, run by Lua 5.1 (what Argo CD embeds), on statuses that the operator really writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lupa import lua51

from moldau_operator.testing.kube_world import KubeWorld

SCRIPT = Path(__file__).parents[3] / "docs" / "argocd-health.lua"
TOPIC: dict[str, Any] = {"cluster": "demo", "partitions": 2, "replicas": 3}


def health(resource: dict[str, Any]) -> tuple[str, str]:
    """(status, message) as Argo CD would show it; `obj` is the resource as its API server keeps it."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True)
    lua.globals()["obj"] = lua.table_from(json.loads(json.dumps(resource)), recursive=True)
    found = lua.execute(SCRIPT.read_text())
    return found["status"], found["message"]


def stored(world: KubeWorld, kind: str, name: str) -> dict[str, Any]:
    return world.api.of(kind)[name]


async def running() -> KubeWorld:
    world = KubeWorld(admission=False)
    world.put("Cluster", "demo", replicas=3, storage={"size": "2Gi"})
    world.put("Topic", "orders", **TOPIC)
    await world.converge()
    return world


@pytest.mark.parametrize(("kind", "name"), [("Cluster", "demo"), ("Topic", "orders")])
async def test_what_is_ready_is_healthy_and_a_new_generation_is_progressing(kind: str, name: str) -> None:
    world = await running()
    resource = stored(world, kind, name)
    assert health(resource)[0] == "Healthy"
    later = {**resource, "metadata": {**resource["metadata"], "generation": 99}}
    assert health(later)[0] == "Progressing"  # an edit that nobody has looked at yet


async def test_a_resource_nobody_has_looked_at_is_progressing() -> None:
    world = KubeWorld()
    world.put("Cluster", "demo", replicas=3, storage={"size": "2Gi"})
    assert health(stored(world, "Cluster", "demo")) == ("Progressing", "not looked at yet")


async def test_a_spec_that_cannot_be_is_degraded_in_the_conditions_words_and_heals() -> None:
    world = await running()
    world.put("Topic", "orders", **{**TOPIC, "partitions": 1})
    await world.converge()
    status, message = health(stored(world, "Topic", "orders"))
    assert status == "Degraded"
    assert "partitions is 1, but the topic has 2" in message
    world.put("Topic", "orders", **TOPIC)
    await world.converge()
    assert health(stored(world, "Topic", "orders"))[0] == "Healthy"


async def test_a_paused_cluster_is_suspended() -> None:
    world = await running()
    world.put("Cluster", "demo", replicas=3, storage={"size": "2Gi"}, pause=True)
    await world.converge()
    assert health(stored(world, "Cluster", "demo"))[0] == "Suspended"
