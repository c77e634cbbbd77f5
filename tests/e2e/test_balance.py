"""Balance on a real Kubernetes: leaders come back by themselves, data moves only once its plan is approved."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from math import ceil
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from tests.e2e.conftest import CLUSTER, NODE_PORT, Demo, say
from tests.e2e.kube import address_of, machines
from tests.e2e.test_faults import all_in_sync
from tests.e2e.test_lifecycle import under_load

PARTITIONS = 24
EVEN_S_MAX = 90.0
"""Counts have to be off for fifteen seconds, and the operator looks every ten."""


def leaders_and_replicas(demo: Demo) -> tuple[Counter[int], Counter[int]]:
    """How many partitions each broker leads, and has a replica of; internal topics as well."""
    topics = AdminClient({"bootstrap.servers": demo.outside}).list_topics(timeout=10).topics.values()
    partitions = [one for topic in topics for one in topic.partitions.values()]
    return Counter(one.leader for one in partitions), Counter(
        node for one in partitions for node in one.replicas
    )


def lies_on(demo: Demo, topic: str) -> list[set[int]]:
    """The brokers that have each partition of a topic."""
    found = AdminClient({"bootstrap.servers": demo.outside}).list_topics(topic, timeout=10).topics[topic]
    return [set(one.replicas) for _, one in sorted(found.partitions.items())]


def are_even(leaders: Counter[int], brokers: int) -> bool:
    """Whether nobody leads more than somebody has to."""
    return max(leaders.values()) <= ceil(leaders.total() / brokers)


def last_plan(demo: Demo) -> dict[str, Any]:
    """`status.balance.lastPlan`; empty where there is none."""
    return demo.kube.here("cluster", CLUSTER)["status"].get("balance", {}).get("lastPlan") or {}


def moldau(*arguments: str) -> str:
    """The command on this computer."""
    done = subprocess.run(
        [sys.executable, "-m", "moldau_cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def spread(demo: Demo) -> Iterator[Demo]:
    """The cluster with a further topic, and with even leaders."""
    wanted = {"cluster": CLUSTER, "partitions": PARTITIONS, "replicas": 3, "deletionPolicy": "Delete"}
    demo.kube.put("Topic", "spread", **wanted)
    demo.kube.ready("topic", "spread", 30)
    demo.kube.wait("leaders are even", lambda: are_even(leaders_and_replicas(demo)[0], 3), EVEN_S_MAX)
    yield demo
    demo.kube.delete("topic", "spread")


def test_leaders_are_even_again_after_a_broker_came_back(spread: Demo) -> None:
    """A pod is deleted and its leaderships go elsewhere; once it is back they are as even as before, no data moved."""
    kube, pod = spread.kube, spread.pod(1)
    before = lies_on(spread, "spread")
    with under_load(spread, "a broker went and came back"):
        gone = {None, spread.uids()[pod]}
        kube.run("delete", "pod", pod, "--wait=false")
        kube.wait("another pod", lambda: spread.uids().get(pod) not in gone, 60)
        kube.wait("full ISR", lambda: all_in_sync(spread), 60)
        begun, uneven = time.monotonic(), leaders_and_replicas(spread)[0]
        kube.wait("leaders are even again", lambda: are_even(leaders_and_replicas(spread)[0], 3), EVEN_S_MAX)
        took = time.monotonic() - begun
    say(f"leaders were {dict(sorted(uneven.items()))}, even {took:.1f} s after the return")
    assert lies_on(spread, "spread") == before
    say("moldau balance status:\n" + moldau("balance", "status", "-b", spread.outside))


def test_a_new_broker_gets_data_once_its_plan_is_approved(spread: Demo) -> None:
    """3 to 4: nothing moves; the plan stands in the status; its hash in the spec lets it go; 4 to 3 drains."""
    kube = spread.kube
    with under_load(spread, "a fourth broker, a plan approved, data moved"):
        spread.put(replicas=4)
        spread.ready()
        kube.wait("a plan waits", lambda: last_plan(spread).get("state") == "WaitingForApproval", EVEN_S_MAX)
        assert 3 not in leaders_and_replicas(spread)[1]
        plan = last_plan(spread)
        say(f"{plan['summary']}; {plan['hash']}, {plan['gapPercent']} % above the bound")
        assert float(plan["gapPercent"]) >= 0
        outside = f"{spread.outside},{address_of(machines()[0])}:{NODE_PORT + 3}"
        say("moldau balance plan:\n" + moldau("balance", "plan", "-b", outside))
        begun = time.monotonic()
        spread.put(replicas=4, balance={"mode": "LeadersOnly", "approvedPlan": plan["hash"]})
        kube.wait("the plan is done", lambda: last_plan(spread).get("state") == "Done", 180)
        took = time.monotonic() - begun
        replicas = leaders_and_replicas(spread)[1]
        say(f"approved, and moved after {took:.1f} s: replicas {dict(sorted(replicas.items()))}")
        assert replicas == {one["id"]: one["replicasAfter"] for one in plan["brokers"]}
        kube.wait("leaders are even", lambda: are_even(leaders_and_replicas(spread)[0], 4), EVEN_S_MAX)
        begun = time.monotonic()
        spread.put(replicas=3)
        spread.ready()
        say(f"4 -> 3 with drain: {time.monotonic() - begun:.1f} s")
        assert set(leaders_and_replicas(spread)[1]) == {0, 1, 2}
