"""Changes of a running cluster while a real client writes: nothing acknowledged is lost, nobody falls under min ISR."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from confluent_kafka.admin import AdminClient
from tests.compat.writer import Writer, judge
from tests.e2e.conftest import BROKER_IMAGE, CLUSTER, NEXT_IMAGE, Demo, say


class IsrWatch:
    """Looks all the time how many replicas are in sync of each partition, and remembers the fewest."""

    def __init__(self, bootstrap: str) -> None:
        self.fewest = 99
        self.looks = 0
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 3000, "log_level": 0})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            try:
                topics = self._admin.list_topics(timeout=3).topics
            except Exception:  # noqa: BLE001 (the broker asked is just restarting; the next one answers)
                continue
            counts = [
                len(one.isrs)
                for topic in topics.values()
                for one in topic.partitions.values()
                if len(one.replicas) == 3
            ]
            if counts:
                self.looks += 1
                self.fewest = min(self.fewest, *counts)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def under_load(demo: Demo, what: str, fewest: int = 2) -> Iterator[Writer]:
    """A writer and a watch; afterwards the judgement: lost = 0, and never fewer than `fewest` in sync."""
    with IsrWatch(demo.outside) as watch, Writer(demo.outside) as writer:
        writer.wait_for_more(100)
        begun = time.monotonic()
        yield writer
        took = time.monotonic() - begun
        writer.wait_for_more(100)
    judge(writer)
    say(
        f"{what}: {took:.1f} s, {len(writer.acknowledged)} acknowledged, lost 0, longest gap {writer.gap_s:.2f} s, "
        f"fewest in sync {watch.fewest} in {watch.looks} looks"
    )
    assert watch.looks > 5
    assert watch.fewest >= fewest


def test_a_dynamic_setting_restarts_nobody(demo: Demo) -> None:
    """Brokers take it as they run."""
    before = demo.uids()
    config = {
        "num.partitions": 6,
        "default.replication.factor": 3,
        "min.insync.replicas": 2,
        "offsets.topic.num.partitions": 6,
        "group.initial.rebalance.delay.ms": 0,
        "log.retention.ms": 7200000,
    }
    demo.put(config=config)
    demo.ready(60)
    assert demo.uids() == before


def test_a_roll_under_load(demo: Demo) -> None:
    """Asked for by `restartedAt`: one at a time, the controller last; the status says what it waits for."""
    before = demo.uids()
    said: list[str] = []
    with under_load(demo, "roll of three") as writer:
        demo.put(rollout={"restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})

        def done() -> bool:
            status = demo.kube.here("cluster", CLUSTER)["status"]
            text = str(demo.kube.condition("cluster", CLUSTER, "Ready").get("message"))
            rollout = status.get("rollout")
            line = f"{rollout}: {text}" if rollout else text
            if not said or said[-1] != line:
                said.append(line)
            return demo.kube.is_ready("cluster", CLUSTER)

        demo.kube.wait("rolled", done, 180)
        writer.wait_for_more(50)
    say("\n  ".join(said))
    after = demo.uids()
    assert all(after[name] != before[name] for name in before)


def test_an_upgrade_under_load(demo: Demo) -> None:
    """Another image in the spec, and back again."""
    with under_load(demo, "upgrade of three"):
        demo.put(image=NEXT_IMAGE)
        demo.ready(180)
        assert _images(demo) == {NEXT_IMAGE}
    with under_load(demo, "downgrade of three"):
        demo.put(image=BROKER_IMAGE)
        demo.ready(180)
        assert _images(demo) == {BROKER_IMAGE}


def _images(demo: Demo) -> set[str]:
    pods = demo.kube.items("pods", f"moldau.dev/cluster={CLUSTER}")
    return {one["spec"]["containers"][0]["image"] for one in pods}


def test_a_bad_image_halts_after_the_first_pod_and_heals(demo: Demo) -> None:
    """Two go on with what they have; the condition names the image; the right image ends it."""
    before = demo.uids()
    with under_load(demo, "bad image and back"):
        demo.put(image="moldau/broker:does-not-exist")
        demo.kube.wait(
            "it is said",
            lambda: demo.kube.condition("cluster", CLUSTER, "Stalled").get("status") == "True",
            60,
        )
        say(str(demo.kube.condition("cluster", CLUSTER, "Stalled")["message"]))
        time.sleep(5)
        after = demo.uids()
        assert sum(after.get(name) != uid for name, uid in before.items()) == 1
        demo.put()
        demo.ready(120)


def test_an_impossible_request_halts_after_the_first_pod_and_heals(demo: Demo) -> None:
    """A pod that no machine has room for."""
    before = demo.uids()
    with under_load(demo, "impossible memory and back"):
        demo.put(resources={"requests": {"memory": "900Gi"}})
        demo.kube.wait(
            "it is said",
            lambda: "machine" in str(demo.kube.condition("cluster", CLUSTER, "Ready").get("message")),
            60,
        )
        time.sleep(5)
        after = demo.uids()
        assert sum(after.get(name) != uid for name, uid in before.items()) == 1
        demo.put()
        demo.ready(120)


def test_the_operator_dies_in_the_middle_of_a_roll(demo: Demo) -> None:
    """The next one goes on from what it finds."""
    before = demo.uids()
    with under_load(demo, "roll with a killed operator"):
        demo.put(rollout={"restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        demo.kube.wait("it has begun", lambda: demo.uids() != before, 60)
        demo.kube.run(
            "delete", "pod", "-l", "app.kubernetes.io/name=moldau-operator", "--force", "--grace-period=0"
        )
        demo.ready(240)
    after = demo.uids()
    assert all(after[name] != before[name] for name in before)


def test_three_become_five_become_three(demo: Demo) -> None:
    """Two more brokers and voters, then they are drained and go; their volumes go with them."""
    with under_load(demo, "3 -> 5 -> 3"):
        demo.put(replicas=5)
        took = demo.ready(120)
        say(f"3 -> 5: {took:.1f} s")
        demo.kube.run("scale", "cluster", CLUSTER, "--replicas=3")
        took = demo.ready(240)
        say(f"5 -> 3: {took:.1f} s")

    def left() -> tuple[list[str], list[str]]:
        claims = demo.kube.items("pvc", f"moldau.dev/cluster={CLUSTER}")
        return sorted(demo.uids()), sorted(one["metadata"]["name"] for one in claims)

    pods = [demo.pod(node) for node in range(3)]
    wanted = pods, [f"data-{pod}" for pod in pods]
    # It is ready when nothing depends on them any more; a kubelet takes some seconds to be done with a pod.
    demo.kube.wait("nothing is left of the other two", lambda: left() == wanted, 30)


def test_volumes_grow(demo: Demo) -> None:
    """In place: no pod is restarted for it."""
    before = demo.uids()
    demo.put(storage={"size": "1536Mi"})

    def sizes() -> set[str]:
        found = demo.kube.items("pvc", f"moldau.dev/cluster={CLUSTER}")
        return {one["status"].get("capacity", {}).get("storage", "") for one in found}

    took = demo.kube.wait("all volumes have 1.5 GiB", lambda: sizes() == {"1536Mi"}, 120)
    say(f"volumes grown in {took:.1f} s")
    demo.ready()
    assert demo.uids() == before
    demo.put()  # smaller again is refused, and nothing else happens
    time.sleep(3)
    assert sizes() == {"1536Mi"}
    assert demo.uids() == before
