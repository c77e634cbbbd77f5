"""A Cluster to its Services."""

from __future__ import annotations

from collections.abc import Callable

from moldau_operator.resources.cluster import Cluster, Listener, ListenerType
from moldau_operator.specs.nodes import node_ids
from moldau_operator.specs.objects import names_by_id
from moldau_operator.specs.services import (
    bootstrap_address,
    bootstrap_service,
    given_node_port,
    headless_service,
    node_services,
)

MakeCluster = Callable[..., Cluster]


def outside(port: int | None) -> Listener:
    return Listener(name="outside", type=ListenerType.NODEPORT, port=9094, advertised_port=port)


def test_nodes_have_names_before_they_are_ready(make_cluster: MakeCluster) -> None:
    """The quorum forms through them."""
    spec = headless_service(make_cluster())["spec"]
    assert spec["clusterIP"] == "None"
    assert spec["publishNotReadyAddresses"] is True
    assert spec["selector"] == {"moldau.dev/cluster": "demo"}
    assert {port["name"]: port["port"] for port in spec["ports"]} == {
        "internal": 9091,
        "controller": 9093,
        "http": 8092,
        "client": 9092,
    }


def test_clients_begin_with_any_node_that_is_ready(make_cluster: MakeCluster) -> None:
    """The bootstrap Service publishes ready addresses only, and no port of the brokers' own."""
    service = bootstrap_service(make_cluster())
    assert service["metadata"]["name"] == "demo-kafka-bootstrap"
    assert "publishNotReadyAddresses" not in service["spec"]
    assert [port["port"] for port in service["spec"]["ports"]] == [9092]
    assert bootstrap_address(make_cluster()) == "demo-kafka-bootstrap.default.svc:9092"


def test_every_node_has_a_port_of_its_own_outside(make_cluster: MakeCluster) -> None:
    """A Kafka client must reach the very broker that leads."""
    cluster = make_cluster(replicas=3, listeners=(outside(30092),))
    found = node_services(cluster, names_by_id(cluster, node_ids(cluster)))
    assert {key: given_node_port(one) for key, one in found.items()} == {
        ("outside", 0): 30092,
        ("outside", 1): 30093,
        ("outside", 2): 30094,
    }
    selectors = [one["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] for one in found.values()]
    assert selectors == ["demo-kafka-0", "demo-kafka-1", "demo-kafka-2"]


def test_the_server_chooses_ports_that_nobody_named(make_cluster: MakeCluster) -> None:
    """So does it where the advertised port is no port of the machines (a load balancer's, say)."""
    for port in (None, 443):
        cluster = make_cluster(listeners=(outside(port),))
        (service,) = node_services(cluster, names_by_id(cluster, node_ids(cluster))).values()
        assert given_node_port(service) is None
