"""A balance is the same after it was written down, and the definition has room for all of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from moldau_operator.resources.balance_status import (
    BalanceStatus,
    BrokerShare,
    PlanState,
    PlanStatus,
    load_balance,
    read_balance_status,
    write_balance,
)
from moldau_operator.resources.bundle import read_bundle
from moldau_operator.resources.cluster import Approval, Balance, BalanceMode

PLAN = PlanStatus(
    hash="0123456789ab",
    state=PlanState.MOVING,
    moves=7,
    done=3,
    bytes=1 << 40,
    lower_bound=1 << 39,
    gap_percent=1.25,
    eta="2h 5m",
    summary="broker 3 has nothing",
    encoded="abc=",
    brokers=(BrokerShare(0, 10, 8, 100, 80), BrokerShare(3, 0, 2, 0, 20)),
)
STATUSES = [
    BalanceStatus(),
    BalanceStatus(max_leaders=5, optimum=4, proof=(0, 2), message="waits", last_plan=PLAN),
]


@pytest.mark.parametrize("status", STATUSES)
def test_a_balance_survives_being_written_down(status: BalanceStatus) -> None:
    """In the instance's memory and in the resource's status."""
    assert load_balance(json.loads(json.dumps(asdict(status)))) == status
    assert read_balance_status(json.loads(json.dumps(write_balance(status)))) == status
    assert load_balance(None) is read_balance_status(None) is None


def test_a_plan_of_another_versions_making_is_forgotten() -> None:
    """What it would mean is not guessed."""
    written = write_balance(STATUSES[1])
    written["lastPlan"]["state"] = "Frozen"
    found = read_balance_status(written)
    assert found is not None
    assert found.last_plan is None


def test_the_definition_has_room_for_a_balance() -> None:
    """A field that the schema does not know would be dropped, and written again with every pass."""
    path = Path(__file__).parents[3] / "crds" / "cluster.yaml"
    version = yaml.safe_load(path.read_text())["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["balance"]

    def known(schema: dict[str, Any], value: Any) -> None:
        if isinstance(value, dict):
            assert value.keys() <= schema["properties"].keys()
            for name, one in value.items():
                known(schema["properties"][name], one)
        elif isinstance(value, list):
            for one in value:
                known(schema["items"], one)

    known(schema, write_balance(STATUSES[1]))
    state = schema["properties"]["lastPlan"]["properties"]["state"]
    assert set(state["enum"]) == set(PlanState)


def balance(text: str) -> Balance:
    source = (
        "apiVersion: moldau.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n"
        f"spec: {{replicas: 3, balance: {text}}}\n"
    )
    return read_bundle(source, "x.yaml").clusters[0].spec.balance


def test_data_moves_by_itself_in_auto_only() -> None:
    """And not even there where a person wants to approve; elsewhere one plan at a time, by its hash."""
    assert balance("{mode: Auto}").approval is Approval.AUTO
    assert balance("{mode: Auto}").allows("abc")
    assert not balance("{mode: Auto, approval: Manual}").allows("abc")
    assert balance("{mode: Auto, approval: Manual, approvedPlan: abc}").allows("abc")
    assert not balance("{}").allows("abc")
    assert not balance("{approval: Auto}").allows("abc")
    assert balance("{approvedPlan: abc}").allows("abc")
    assert not balance("{approvedPlan: abc}").allows("abd")
    assert not balance("{mode: Off, approvedPlan: abc}").allows("abc")
    assert not Balance(mode=BalanceMode.AUTO).allows("abc")
    assert balance("{throttleBytesPerSecond: 1000000, budgetBytes: 5}").throttle_bytes == 1_000_000
