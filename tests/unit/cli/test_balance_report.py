"""What `moldau balance` shows: facts, bounds and proofs for people, the same in full for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moldau_cli.balance_report import plan_data, show_plan, show_status, status_data
from moldau_cli.balance_work import Seen
from moldau_operator.plan.balance import BalanceAsk, BalancePlan, plan_balance
from moldau_operator.plan.partitions import see
from moldau_operator.plan.plan_life import begun
from moldau_operator.plan.throttles import RATES
from moldau_operator.resources.balance_status import BalanceStatus
from moldau_operator.seams.broker_admin import (
    ClusterView,
    MoveView,
    Partition,
    PartitionLoad,
    PartitionView,
    TopicView,
)

MIB = 1 << 20


def seen_of(**changes: Any) -> Seen:
    """Three brokers with twelve partitions of 10 MiB on two of them each, and a fourth that is new."""
    placement = tuple(
        PartitionView(index % 3, (index % 3, (index + 1) % 3), (index % 3, (index + 1) % 3))
        for index in range(12)
    )
    topics = {"t": TopicView(name="t", topic_id="", partitions=12, replicas=2, placement=placement)}
    sizes = {Partition("t", index): 10 * MIB for index in range(12)}
    loads = {Partition("t", index): PartitionLoad(1e6, 0, 0) for index in range(12)}
    fields: dict[str, Any] = {
        "view": ClusterView(cluster_id="x", controller_id=0, broker_ids=(0, 1, 2, 3)),
        "topics": topics,
        "flying": {},
        "sizes": sizes,
        "partitions": see(topics, sizes, loads),
        "overrides": {},
        "loads_known": True,
    }
    return Seen(**{**fields, **changes})


def planned(seen: Seen, **options: Any) -> BalancePlan:
    return plan_balance(seen.partitions, BalanceAsk(brokers=seen.brokers, **{"replicas": True, **options}))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_plan_says_what_it_costs_and_how_near_the_bound_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Moves, bytes, the bound, the time, the name, and every broker before and after."""
    seen = seen_of()
    plan = planned(seen)
    assert plan.replicas is not None
    show_plan(seen, plan, 10 * MIB, every_move=True)
    shown = lines(capsys)
    assert shown[:8] == [
        "cluster   4 brokers, 12 partitions, 240 MiB",
        "leaders   at most 4 on a broker, and 4 is the least possible",
        "          brokers 0, 1, 2 have every in-sync replica of what they lead, so 4 is the least (the mean is 3)",
        "replicas  6 replicas to move, 60.0 MiB",
        "bound     6 replicas is the least possible, and that is the plan",
        "time      about 2s at 10.0 MiB/s in and out of each broker",
        f"plan      {plan.replicas.hash}",
        "",
    ]
    assert shown[8].split() == ["BROKER", "LEADERS", "CARRIES", "REPLICAS", "DATA"]
    assert shown[12].split() == ["3", "0", "0", "B/s", "0", "->", "6", "0", "B", "->", "60.0", "MiB"]
    assert len(shown) == 8 + 5 + 1 + 1 + 6


def test_a_plan_of_leaders_alone_shows_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    """What was not looked at is not shown as nothing."""
    seen = seen_of()
    show_plan(seen, planned(seen, replicas=False), MIB, every_move=False)
    shown = lines(capsys)
    assert shown[4].split() == ["BROKER", "LEADERS", "CARRIES"]


def test_a_budget_leaves_something_for_the_next_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Then there is no gap to speak of."""
    seen = seen_of()
    show_plan(seen, planned(seen, budget_bytes=25 * MIB), MIB, every_move=False)
    assert "bound     6 replicas for all of it; 4 moves left for the next plan" in lines(capsys)


def test_a_status_shows_what_is_on_its_way_and_what_the_operator_wants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Moves, throttle, the plan that waits and how to approve it."""
    seen = seen_of(
        flying={Partition("t", 0): MoveView((3,), (0,))}, overrides=dict.fromkeys(RATES, str(4 * MIB))
    )
    plan = planned(seen)
    assert plan.replicas is not None
    waiting = begun(plan.replicas, "broker 3 is new")
    show_status(seen, plan, BalanceStatus(message="waits", last_plan=waiting))
    shown = lines(capsys)
    assert "moving    1 partition on the way; see: moldau cluster moves" in shown
    assert "throttle  4.0 MiB/s for moves, in and out of each broker" in shown
    assert f"plan      {waiting.hash}: waits for approval" in shown
    assert "operator  waits" in shown
    assert all("->" not in line for line in shown), "a status shows what is"
    data = status_data(seen, plan, BalanceStatus(message="waits", last_plan=waiting))
    assert json.loads(json.dumps(data))["operator"]["plan"]["state"] == "WaitingForApproval"
    assert (data["moving"], data["throttle"]) == (1, 4 * MIB)


def test_a_broker_that_is_away_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is balanced well while it is."""
    seen = seen_of(view=ClusterView(cluster_id="x", controller_id=0, broker_ids=(0, 1, 3), fenced_ids=(2,)))
    show_status(seen, planned(seen), None)
    assert lines(capsys)[0] == "cluster  3 brokers, 12 partitions, 240 MiB; broker 2 is away"


def test_programs_get_all_of_a_plan() -> None:
    """Every change and move, bounds, proof, and brokers before and after."""
    seen = seen_of()
    plan = planned(seen)
    data = json.loads(json.dumps(plan_data(plan, 10 * MIB)))
    assert data["leaders"]["proof"] == [0, 1, 2]
    assert data["replicas"]["lower_bound"] == len(data["replicas"]["moves"]) == 6
    assert data["replicas"]["moves"][0].keys() == {"topic", "partition", "from", "to", "bytes"}
    assert data["brokers"][3] == {
        "id": 3,
        "leaders": [0, 0],
        "led_bytes_per_second": [0.0, 0.0],
        "replicas": [0, 6],
        "bytes": [0, 60 * MIB],
    }
