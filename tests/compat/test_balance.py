"""Balance on three and four real brokers: a hot partition, a broker's return, data moved, stopped and moved on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from tests.compat.desk import Desk, at_a_desk

pytestmark = [pytest.mark.compat, pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

RATE = 2_000_000
"""Bytes a second for moves: slow enough to be stopped in the middle."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Three nodes, not started yet; topic `orders` has two replicas of each partition, so that a third has none."""
    with at_a_desk(tmp_path, 3) as desk:
        desk.edit("orders", partitions=12, replicas=2)
        desk.edit("payments", replicas=3)
        yield desk


def wait(check: Callable[[], Any], what: str, patience_s: float = 120) -> Any:
    """What `check` gives, as soon as that is something."""
    deadline = time.monotonic() + patience_s
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.25)
    return found


def ask(desk: Desk, *arguments: str) -> Any:
    done = desk.moldau("balance", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept(desk: Desk) -> dict[str, Any]:
    """The Cluster's balance as the operator has written it down last."""
    statuses = json.loads((desk.folder / "memory.json").read_text())["statuses"]
    found: dict[str, Any] = statuses["Cluster/default/demo"]["balance"] or {}
    return found


def plan_of(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = kept(desk).get("last_plan") or {}
    return found


def events(desk: Desk) -> list[str]:
    """What the operator did for balance, in words."""
    return re.findall(r"balance[: ].*", (desk.folder / "supervisor.log").read_text())


def admin(desk: Desk) -> AdminClient:
    return AdminClient({"bootstrap.servers": f"127.0.0.1:{desk.port}"})


def placement(desk: Desk, topic: str) -> dict[int, tuple[int, list[int], list[int]]]:
    """(leader, replicas, in-sync replicas) by partition."""
    found = admin(desk).list_topics(topic, timeout=20).topics[topic].partitions
    return {number: (one.leader, list(one.replicas), sorted(one.isrs)) for number, one in found.items()}


def leads(desk: Desk) -> Counter[int]:
    topics = admin(desk).list_topics(timeout=20).topics.values()
    return Counter(one.leader for topic in topics for one in topic.partitions.values())


def settled(desk: Desk) -> bool:
    status = desk.status()
    partitions = status["partitions"]
    return (
        all(node["state"] == "serving" for node in status["nodes"])
        and partitions is not None
        and (partitions["under_replicated"], partitions["offline"]) == (0, 0)
    )


def fill(desk: Desk, megabytes: int) -> None:
    """So much into every partition of `orders`, of bytes that nothing packs."""
    producer = Producer({"bootstrap.servers": desk.status()["bootstrap"], "acks": "all"})
    block = os.urandom(100_000)
    for _ in range(megabytes * 10):
        for number in range(12):
            producer.produce("orders", block, partition=number)
        producer.poll(0)
        if len(producer) > 200:
            producer.flush(30)
    assert producer.flush(60) == 0


def test_partitions_that_a_real_producer_makes_hot_part(desk: Desk) -> None:
    """Both are led by one broker, counts are even: measured load alone is why one of them gets another leader."""
    desk.up()
    desk.eventually(lambda: settled(desk), "all in sync")
    wait(lambda: ask(desk, "plan", "--leaders-only")["leaders"]["changes"] == [], "leaders are even")
    before = placement(desk, "orders")
    leader = before[0][0]
    hot = [number for number, (one, _, _) in before.items() if one == leader][:2]
    assert len(hot) == 2
    assert ask(desk, "plan", "--leaders-only")["leaders"]["changes"] == []
    producer = Producer({"bootstrap.servers": desk.status()["bootstrap"], "acks": "1"})
    block = os.urandom(50_000)
    deadline = time.monotonic() + 120
    changes: list[dict[str, Any]] = []
    while not changes:
        assert time.monotonic() < deadline, "the plan never changed"
        ends = time.monotonic() + 1
        while time.monotonic() < ends:  # about two megabytes a second
            for number in hot:
                producer.produce("orders", block, partition=number)
            producer.poll(0.05)
        changes = ask(desk, "plan", "--leaders-only")["leaders"]["changes"]
    assert producer.flush(30) == 0
    moved = {(one["topic"], one["partition"]): one for one in changes}
    assert sum(("orders", number) in moved for number in hot) == 1, "one of the two goes, the other stays"
    plan = ask(desk, "plan", "--leaders-only")
    carried = [row["led_bytes_per_second"] for row in plan["brokers"]]
    assert max(after for _, after in carried) < 0.7 * max(now for now, _ in carried)
    assert plan["leaders"]["max_after"] == plan["leaders"]["optimum"]
    done = desk.moldau("balance", "apply", "--leaders-only")
    assert done.returncode == 0, done.stderr
    assert re.search(r"changed \d+ leaders?: at most \d+ on a broker", done.stderr)
    after = placement(desk, "orders")
    assert len({after[number][0] for number in hot}) == 2
    assert {n: set(one[1]) for n, one in after.items()} == {n: set(one[1]) for n, one in before.items()}


def test_a_killed_broker_leads_again_when_it_returns_and_no_data_moves(desk: Desk) -> None:
    """Its leaderships are kept for it; back in sync it gets its share by elections, and then there is rest."""
    desk.up()
    desk.eventually(lambda: settled(desk), "all in sync")
    wait(lambda: ask(desk, "plan", "--leaders-only")["leaders"]["changes"] == [], "leaders are even")
    wait(lambda: kept(desk).get("max_leaders") == kept(desk).get("optimum") is not None, "and that is known")
    earlier = len(events(desk))
    before = {topic: placement(desk, topic) for topic in ("orders", "payments")}
    even = leads(desk)
    victim = desk.status()["nodes"][1]
    pid = int(victim["pid"])
    os.kill(pid, signal.SIGKILL)
    wait(lambda: leads(desk)[1] == 0, "others lead what it led", 30)
    wait(lambda: settled(desk) and desk.status()["nodes"][1]["pid"] != pid, "it is back and in sync")
    wait(lambda: max(leads(desk).values()) == max(even.values()), "it leads again")
    assert leads(desk)[1] > 0
    for topic, partitions in before.items():
        after = placement(desk, topic)
        assert {n: set(one[1]) for n, one in after.items()} == {
            n: set(one[1]) for n, one in partitions.items()
        }
    done = events(desk)
    assert len([line for line in done[earlier:] if "change" in line]) == 1, done
    assert not ask(desk, "status")["moving"]
    time.sleep(12)
    assert events(desk) == done, "and then there is rest"


def test_a_new_broker_gets_nothing_unasked_and_everything_planned_when_it_is_approved(desk: Desk) -> None:
    """LeadersOnly: the plan waits in the status; approved it moves, throttled, stops, and goes on after a crash."""
    desk.edit("demo", balance={"throttleBytesPerSecond": RATE})
    desk.up()
    desk.eventually(lambda: settled(desk), "all in sync")
    fill(desk, 8)
    desk.edit("demo", replicas=4)
    desk.up()
    plan = wait(lambda: plan_of(desk), "a plan for the new broker")
    assert (plan["state"], plan["done"]) == ("WaitingForApproval", 0)
    assert ask(desk, "plan")["replicas"]["hash"] == plan["hash"], "one plan has one name"
    status = desk.moldau("balance", "status").stdout
    assert f"plan {plan['hash']} waits for spec.balance.approvedPlan: {plan['hash']}" in status
    assert held(desk)[3] == 0, "nothing has moved"
    shown = {node: (before, after) for node, before, after, *_ in plan["brokers"]}

    desk.edit("demo", balance={"throttleBytesPerSecond": RATE, "approvedPlan": plan["hash"]})
    desk.up()
    wait(lambda: plan_of(desk)["done"] >= 1, "a first replica has arrived")
    assert throttled(desk)
    assert ask(desk, "status")["throttle"] == RATE

    desk.edit("demo", balance={"throttleBytesPerSecond": RATE})
    desk.up()
    wait(lambda: plan_of(desk)["state"] == "Stopped", "it is stopped")
    arrived = held(desk)[3]
    assert 0 < arrived < plan["moves"]
    assert (ask(desk, "status")["moving"], ask(desk, "status")["throttle"], throttled(desk)) == (
        0,
        None,
        [],
    )

    desk.edit("demo", balance={"throttleBytesPerSecond": RATE, "approvedPlan": plan["hash"]})
    desk.up()
    wait(lambda: ask(desk, "status")["moving"], "it goes on")
    os.kill(desk.keeper(), signal.SIGKILL)
    wait(lambda: not holds(desk), "the operator is gone", 20)
    desk.up()
    wait(lambda: plan_of(desk)["state"] == "Done", "the plan is done")
    assert plan_of(desk)["hash"] == plan["hash"]
    # Not every move need be into the new broker: what was created before all three were there lies unevenly.
    assert held(desk)[3] == shown[3][1] <= plan["moves"], shown
    assert (ask(desk, "status")["throttle"], throttled(desk)) == (None, [])
    desk.eventually(lambda: settled(desk), "all in sync")
    wait(lambda: kept(desk)["max_leaders"] == kept(desk)["optimum"], "leaders follow")


def test_auto_moves_by_itself_no_faster_than_its_throttle(desk: Desk) -> None:
    """A new broker is filled without anybody's approval, in the time the estimate said at least."""
    desk.edit("demo", balance={"mode": "Auto", "throttleBytesPerSecond": RATE})
    desk.up()
    desk.eventually(lambda: settled(desk), "all in sync")
    fill(desk, 3)
    desk.edit("demo", replicas=4)
    desk.up()
    wait(lambda: plan_of(desk).get("state") == "Moving", "it begins by itself")
    begun = time.monotonic()
    wait(lambda: plan_of(desk)["state"] == "Done", "the plan is done")
    took, plan = time.monotonic() - begun, plan_of(desk)
    assert held(desk)[3] == plan["moves"] > 0
    least = plan["bytes"] / RATE
    assert took > 0.6 * least, (
        f"{took:.1f} s for {plan['bytes']} bytes: at least {least:.1f} s were to be expected"
    )
    assert not throttled(desk)


def test_by_hand_a_plan_is_stopped_by_ctrl_c_and_carried_out_by_the_next_run(desk: Desk) -> None:
    """On any cluster of Kafka's protocol: no operator takes part, and nothing is left behind by a stop."""
    desk.edit("demo", balance={"mode": "Off"})
    desk.up()
    desk.eventually(lambda: settled(desk), "all in sync")
    fill(desk, 8)
    desk.edit("demo", replicas=4)
    desk.up()
    desk.eventually(lambda: settled(desk), "the new one serves")
    bootstrap = desk.status()["bootstrap"]
    before = ask(desk, "plan", "-b", bootstrap)["replicas"]
    dry = desk.moldau("balance", "apply", "--dry-run")
    assert (dry.returncode, "nothing was changed (--dry-run)" in dry.stderr) == (0, True)
    assert f"plan      {before['hash']}" in dry.stdout
    wrong = desk.moldau("balance", "apply", "--plan", "0123456789ab")
    assert (wrong.returncode, wrong.stderr) == (
        1,
        f"error: the plan is {before['hash']} now, not 0123456789ab; see: moldau balance plan\n",
    )
    assert held(desk)[3] == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "moldau_cli", "balance", "apply", "-y", "--throttle", str(RATE)],
        env=desk.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait(lambda: held(desk)[3] >= 1, "a first replica has arrived")
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(rf"stopped: \d+ of {len(before['moves'])} moved; run it again to go on", words)
    assert (ask(desk, "status")["moving"], ask(desk, "status")["throttle"], throttled(desk)) == (
        0,
        None,
        [],
    )
    arrived = held(desk)[3]
    assert 0 < arrived < len(before["moves"])
    left = ask(desk, "plan")["replicas"]
    assert len(left["moves"]) == len(before["moves"]) - arrived
    done = desk.moldau("balance", "apply", "-y", timeout=90)
    assert done.returncode == 0, done.stderr
    assert held(desk)[3] == len(before["moves"])
    again = ask(desk, "plan")
    assert again["replicas"]["moves"] == []
    assert again["leaders"]["max_before"] == again["leaders"]["optimum"]
    assert not throttled(desk)


def held(desk: Desk) -> Counter[int]:
    """Replicas in sync on each broker, of all topics: those on their way left out."""
    topics = admin(desk).list_topics(timeout=20).topics.values()
    return Counter(node for topic in topics for one in topic.partitions.values() for node in one.isrs)


def throttled(desk: Desk) -> list[str]:
    """Topics whose replicas are throttled."""
    client = admin(desk)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in client.list_topics(timeout=20).topics]
    found = {one.name: future.result(20) for one, future in client.describe_configs(resources).items()}
    return [
        name for name, settings in found.items() if settings["follower.replication.throttled.replicas"].value
    ]


def holds(desk: Desk) -> bool:
    return "stopped" not in desk.moldau("status").stdout
