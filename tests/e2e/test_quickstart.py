"""The first minutes: a cluster is there, clients inside and outside reach it, kubectl shows it, nothing is written."""

from __future__ import annotations

import json
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from tests.e2e.conftest import CLIENT_IMAGE, CLUSTER, Demo, say
from tests.e2e.kube import machines


def test_a_client_on_this_computer_produces_and_consumes(demo: Demo) -> None:
    """Through the ports that every machine has for every broker."""
    producer = Producer({"bootstrap.servers": demo.outside, "acks": "all"})
    for number in range(100):
        producer.produce("orders", b"outside-%d" % number)
    assert producer.flush(20) == 0
    consumer = Consumer(
        {"bootstrap.servers": demo.outside, "group.id": "outside", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["orders"])
    seen: set[bytes] = set()
    deadline = time.monotonic() + 30
    while len(seen) < 100 and time.monotonic() < deadline:
        found = (one.value() or b"" for one in consumer.consume(500, timeout=1) if one.error() is None)
        seen |= {value for value in found if value.startswith(b"outside-")}
    consumer.close()
    assert len(seen) == 100


def test_a_client_in_a_pod_produces_and_consumes(demo: Demo) -> None:
    """Through the bootstrap Service, under the brokers' names."""
    said = demo.kube.client(
        CLIENT_IMAGE,
        f"echo inside | kcat -P -b {demo.inside} -t orders -X acks=all && "
        f"kcat -C -b {demo.inside} -t orders -o beginning -e -q",
    )
    assert "inside" in said.splitlines()


def test_brokers_stand_in_the_zones_of_their_machines(demo: Demo) -> None:
    """A rack for each broker, and replicas of a partition in three of them."""
    zones = {
        one["metadata"]["name"]: one["metadata"]["labels"]["topology.kubernetes.io/zone"]
        for one in machines()
    }
    pods = demo.kube.items("pods", f"moldau.dev/cluster={CLUSTER}")
    wanted = {int(one["metadata"]["name"].rsplit("-", 1)[1]): zones[one["spec"]["nodeName"]] for one in pods}
    assert len({one["spec"]["nodeName"] for one in pods}) == 3, "one machine for each broker"
    admin = AdminClient({"bootstrap.servers": demo.outside})
    nodes = admin.describe_cluster().result(10).nodes
    assert {node.id: node.rack for node in nodes} == wanted
    assert demo.kube.condition("cluster", CLUSTER, "RacksKnown")["status"] == "True"


def test_kubectl_shows_what_people_act_on(demo: Demo) -> None:
    """The columns have words in them."""
    demo.kube.put("ConsumerGroup", "outside", cluster=CLUSTER, groupId="outside")
    demo.kube.ready("consumergroup", "outside", 20)
    for kind in ("clusters", "topics", "consumergroups"):
        table = demo.kube.run("get", kind)
        say(table.replace("\n", "\n  "))
        assert "True" in table or kind == "consumergroups"
    described = demo.kube.run("describe", "cluster", CLUSTER)
    say(described.replace("\n", "\n  "))
    assert "AsDeclared" in described
    assert demo.kube.condition("cluster", CLUSTER, "Plaintext")["status"] == "True"
    demo.kube.delete("consumergroup", "outside")


def test_what_was_applied_is_what_is_there(demo: Demo) -> None:
    """GitOps compares: no default and no operator may add to spec."""
    found = demo.kube.here("cluster", CLUSTER)
    applied = json.loads(found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert found["spec"] == applied["spec"]
    topic = demo.kube.here("topic", "orders")
    applied = json.loads(topic["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert topic["spec"] == applied["spec"]


def test_a_converged_cluster_causes_no_writes(demo: Demo) -> None:
    """Ten resyncs of ten seconds would be too long to wait here: three of them."""
    kinds = "clusters,topics,statefulsets,services,configmaps,poddisruptionbudgets,pods,pvc"

    def versions() -> dict[str, str]:
        found = demo.kube.items(kinds)
        return {
            f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found
        }

    time.sleep(3)
    before = versions()
    time.sleep(32)
    assert versions() == before
