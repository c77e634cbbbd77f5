"""An operator newer than the definitions in its cluster goes on, and says which fields it could not write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from moldau_operator.handlers.old_crds import FORGET_MS, UndeclaredFields
from moldau_operator.testing.kube_world import KubeWorld
from moldau_operator.testing.schema import Definition, shipped_definitions

ROOT = Path(__file__).resolve().parents[3]
ONE = "the API server refuses PATCH x: failed to create typed patch object (shop/demo; Kind=Cluster):"
UNKNOWN = "field not declared in schema"


def older(*fields: str) -> Mapping[str, Definition]:
    """The definitions as they were before the Cluster's status had these fields."""
    document: dict[str, Any] = deepcopy(yaml.safe_load((ROOT / "crds/cluster.yaml").read_text()))
    (version,) = document["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    for field in fields:
        place, names = status, field.split(".")
        for name in names[:-1]:
            place = place["properties"][name]
            place = place.get("items", place)
        del place["properties"][names[-1]]
    return {**shipped_definitions(), "Cluster": Definition(document)}


async def test_all_but_the_unknown_fields_is_written_and_then_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cluster comes up under old definitions; a converged one causes no writes; new definitions fill the gap."""
    world = KubeWorld()
    world.api.definitions = older("selector", "balance.maxLeaders")
    world.put("Cluster", "demo", replicas=3, storage={"size": "1Gi"})
    with caplog.at_level(logging.WARNING, "moldau_operator.handlers.store"):
        await world.converge()
        assert world.is_ready("Cluster", "demo")
        await world.passes.run()
        written = len(world.api.writes)
        await world.passes.run()
        assert len(world.api.writes) == written
    told = [one.__dict__["fields"] for one in caplog.records if one.getMessage() == "crds.old"]
    assert sorted(field for fields in told for field in fields) == [
        "status.balance.maxLeaders",
        "status.selector",
    ]
    status = world.status("Cluster", "demo")
    assert status["readyReplicas"] == 3
    assert "selector" not in status
    world.api.definitions = shipped_definitions()
    world.clock.advance(FORGET_MS)
    await world.converge()
    assert world.status("Cluster", "demo")["selector"]


def test_fields_are_read_out_of_what_the_server_says() -> None:
    """One in a line, or many below it; through lists; nothing from other refusals."""
    known = UndeclaredFields()
    assert known.learn("Cluster", f"{ONE} .status.balance.message: {UNKNOWN}", 0) == [
        "status.balance.message"
    ]
    paths = (".status.nodes[id=0].rack", ".status.nodes[id=1].rack", ".status.x")
    many = "\n  ".join((f"{ONE} errors:", *(f"{path}: {UNKNOWN}" for path in paths)))
    assert known.learn("Cluster", many, 1) == ["status.nodes.rack", "status.x"]
    assert known.learn("Cluster", many, 2) == []
    assert known.learn("Topic", 'Topic.moldau.dev "a" is invalid: status.x: Required value', 2) == []
    status = {
        "nodes": [{"id": 0, "rack": "a"}, {"id": 1}],
        "x": 1,
        "balance": {"message": "m", "optimum": 4},
        "y": 2,
    }
    assert known.without("Cluster", status, 3) == {
        "nodes": [{"id": 0}, {"id": 1}],
        "balance": {"optimum": 4},
        "y": 2,
    }
    assert known.without("Topic", status, 3) is status
    assert known.without("Cluster", status, FORGET_MS)["balance"] == {"message": "m", "optimum": 4}
    assert known.without("Cluster", status, FORGET_MS + 1) == status
