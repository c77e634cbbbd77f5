"""Balance on a real Kubernetes: leaders come back by themselves, data moves only once its plan is approved."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

from confluent_kafka.admin import AdminClient
from tests.e2e.conftest import CLUSTER, NODE_PORT, Demo, say
from tests.e2e.kube import address_of, machines
from tests.e2e.test_faults import all_in_sync
from tests.e2e.test_lifecycle import under_load

PARTITIONS = 24
EVEN_S_MAX = 90.0
"""Counts have to be off for fifteen seconds, and the operator looks every ten."""


def leaders_and_replicas(demo: Demo, topic: str) -> tuple[Counter[int], Counter[int]]:
    """How many partitions of a topic each broker leads, and has a replica of."""
    found = AdminClient({"bootstrap.servers": demo.outside}).list_topics(topic, timeout=10).topics[topic]
    partitions = found.partitions.values()
    return Counter(one.leader for one in partitions), Counter(
        node for one in partitions for node in one.replicas
    )


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


def test_leaders_are_even_again_after_a_broker_came_back(demo: Demo) -> None:
    """A pod is deleted and its leaderships go elsewhere; once it is back they are spread as before, no data moved."""
    demo.kube.put("Topic", "spread", cluster=CLUSTER, partitions=PARTITIONS, replicas=3)
    demo.kube.ready("topic", "spread", 30)
    demo.kube.wait(
        "leaders are even", lambda: max(leaders_and_replicas(demo, "spread")[0].values()) <= 8, 120
    )
    before = leaders_and_replicas(demo, "spread")[1]
    try:
        with under_load(demo, "a broker went and came back"):
            gone = {None, demo.uids()[demo.pod(1)]}
            demo.kube.run("delete", "pod", demo.pod(1), "--wait=false")
            demo.kube.wait("another pod", lambda: demo.uids().get(demo.pod(1)) not in gone, 60)
            demo.kube.wait("full ISR", lambda: all_in_sync(demo), 60)
            begun = time.monotonic()
            uneven = leaders_and_replicas(demo, "spread")[0]
            demo.kube.wait(
                "leaders are even again",
                lambda: max(leaders_and_replicas(demo, "spread")[0].values()) <= PARTITIONS // 3,
                EVEN_S_MAX,
            )
        say(
            f"leaders were {dict(sorted(uneven.items()))}, even {time.monotonic() - begun:.1f} s after the return"
        )
        assert leaders_and_replicas(demo, "spread")[1] == before
        say("moldau balance status:\n" + moldau("balance", "status", "-b", demo.outside))
    finally:
        demo.kube.delete("topic", "spread")


def test_a_new_broker_gets_data_once_its_plan_is_approved(demo: Demo) -> None:
    """3 to 4: nothing moves; the plan stands in the status; its hash in the spec lets it go; 4 to 3 drains."""
    demo.kube.put(
        "Topic", "spread", cluster=CLUSTER, partitions=PARTITIONS, replicas=3, deletionPolicy="Delete"
    )
    demo.kube.ready("topic", "spread", 30)
    try:
        with under_load(demo, "a fourth broker, a plan approved, data moved"):
            demo.put(replicas=4)
            demo.ready()
            demo.kube.wait(
                "a plan stands in the status",
                lambda: bool(demo.kube.here("cluster", CLUSTER)["status"].get("balance", {}).get("lastPlan")),
                180,
            )
            assert 3 not in leaders_and_replicas(demo, "spread")[1]
            plan = demo.kube.here("cluster", CLUSTER)["status"]["balance"]["lastPlan"]
            say(f"status.balance.lastPlan: {plan}")
            outside = f"{demo.outside},{address_of(machines()[0])}:{NODE_PORT + 3}"
            say("moldau balance plan:\n" + moldau("balance", "plan", "-b", outside))
            demo.put(replicas=4, balance={"mode": "LeadersOnly", "approvedPlan": plan["hash"]})
            begun = time.monotonic()
            demo.kube.wait(
                "replicas are even over four brokers",
                lambda: set(leaders_and_replicas(demo, "spread")[1].values()) == {PARTITIONS * 3 // 4},
                180,
            )
            demo.kube.wait(
                "leaders are even over four brokers",
                lambda: set(leaders_and_replicas(demo, "spread")[0].values()) == {PARTITIONS // 4},
                180,
            )
            say(
                f"approved, and even after {time.monotonic() - begun:.1f} s: {leaders_and_replicas(demo, 'spread')}"
            )
            demo.put(replicas=3)
            begun = time.monotonic()
            demo.ready()
            say(f"4 -> 3 with drain: {time.monotonic() - begun:.1f} s")
            assert set(leaders_and_replicas(demo, "spread")[1]) == {0, 1, 2}
    finally:
        demo.kube.delete("topic", "spread")
