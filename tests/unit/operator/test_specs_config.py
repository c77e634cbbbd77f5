"""A pool to its ConfigMap: what each node's file says, and that a broker takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from moldau_broker.base.properties import parse_properties
from moldau_broker.server.config import load_config
from moldau_operator.resources.cluster import Cluster, Listener, ListenerType, Pool, Role
from moldau_operator.specs.config import config_map, declared_settings, listener_problem
from moldau_operator.specs.nodes import controllers_of, node_ids, pool_specs
from moldau_operator.specs.objects import names_by_id

MakeCluster = Callable[..., Cluster]
OUTSIDE = Listener(name="outside", type=ListenerType.NODEPORT, port=9094)


def files(cluster: Cluster, ports: dict[tuple[str, int], int] | None = None) -> dict[str, str]:
    pools = pool_specs(cluster, "Q2x1c3RlcklkMTIzNDU2Nw")
    names = names_by_id(cluster, node_ids(cluster))
    found: dict[str, str] = {}
    for pool in pools:
        found |= config_map(cluster, pool, controllers_of(pools), names, ports or {})["data"]
    return found


def test_every_node_has_a_file_named_like_its_pod(make_cluster: MakeCluster) -> None:
    """Its pod finds it without a shell."""
    assert sorted(files(make_cluster(replicas=3))) == [f"demo-kafka-{n}.properties" for n in range(3)]


def test_all_nodes_ask_the_first_node_first_for_the_quorum(make_cluster: MakeCluster) -> None:
    """The first of the list founds it; names, not addresses, so that pods may move."""
    for text in files(make_cluster(replicas=2)).values():
        assert parse_properties(text)["controller.quorum.bootstrap.servers"] == (
            "demo-kafka-0.demo-kafka-brokers.default.svc:9093,demo-kafka-1.demo-kafka-brokers.default.svc:9093"
        )


def test_a_broker_reads_its_file(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Addresses by name, the machine's own where it is reached from outside; an empty zone is no rack."""
    text = files(make_cluster(listeners=(OUTSIDE,)), {("outside", 0): 31234})["demo-kafka-0.properties"]
    path = tmp_path / "server.properties"
    path.write_text(text)
    config = load_config(str(path), (), {"HOST_IP": "10.0.0.7", "ZONE": ""})
    told = {one.name: f"{one.advertised_host}:{one.advertised_port}" for one in config.listeners}
    host = "demo-kafka-0.demo-kafka-brokers.default.svc"
    assert told == {
        "CLIENT": f"{host}:9092",
        "OUTSIDE": "10.0.0.7:31234",
        "INTERNAL": f"{host}:9091",
        "CONTROLLER": f"{host}:9093",
    }
    assert config.quorum_servers == ((host, 9093),)
    assert config.node.rack is None
    assert config.http.port == 8092
    zoned = load_config(str(path), (), {"HOST_IP": "10.0.0.7", "ZONE": "zone-a"})
    assert zoned.node.rack == "zone-a"


def test_a_variable_that_is_not_there_is_a_problem(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """A broker must not tell its clients half an address."""
    path = tmp_path / "server.properties"
    path.write_text(files(make_cluster(listeners=(OUTSIDE,)))["demo-kafka-0.properties"])
    with pytest.raises(Exception, match="the environment has no HOST_IP"):
        load_config(str(path), (), {"ZONE": ""})


def test_an_advertised_address_counts_up_with_the_nodes(make_cluster: MakeCluster) -> None:
    """Each broker has an address of its own: the laptop reaches all of them through mapped ports."""
    listener = Listener(
        name="outside",
        type=ListenerType.NODEPORT,
        port=9094,
        advertised_host="localhost",
        advertised_port=30092,
    )
    found = files(make_cluster(replicas=3, listeners=(listener,)))
    told = [parse_properties(text)["advertised.listeners"] for _, text in sorted(found.items())]
    assert [f"OUTSIDE://localhost:{30092 + n}" in text for n, text in enumerate(told)] == [True] * 3


def test_roles_decide_which_listeners_are_opened(make_cluster: MakeCluster) -> None:
    """A controller alone serves no clients, a broker alone no quorum."""
    pools = (
        Pool(name="control", node_id_base=0, replicas=1, roles=frozenset({Role.CONTROLLER})),
        Pool(name="kafka", node_id_base=10, replicas=1, roles=frozenset({Role.BROKER}), rack="a"),
    )
    found = {name: parse_properties(text) for name, text in files(make_cluster(pools=pools)).items()}
    assert found["demo-control-0.properties"]["listeners"] == "CONTROLLER://:9093"
    assert found["demo-kafka-0.properties"]["listeners"] == "CLIENT://:9092,INTERNAL://:9091"
    assert found["demo-kafka-0.properties"]["broker.rack"] == "a"
    assert "inter.broker.listener.name" not in found["demo-control-0.properties"]


def test_a_file_read_back_is_what_the_plan_gave(make_cluster: MakeCluster) -> None:
    """Otherwise every pass would see a difference."""
    cluster = make_cluster(config={"log.retention.ms": "7"}, listeners=(OUTSIDE,))
    (pool,) = pool_specs(cluster, "Q2x1c3RlcklkMTIzNDU2Nw")
    assert declared_settings(files(cluster)["demo-kafka-0.properties"]) == pool.nodes[0].settings


def test_a_declared_listener_may_take_the_clients_port(make_cluster: MakeCluster) -> None:
    """Then it stands in for ours."""
    plain = Listener(name="plain", type=ListenerType.INTERNAL, port=9092)
    found = files(make_cluster(listeners=(plain,)))["demo-kafka-0.properties"]
    assert parse_properties(found)["listeners"].startswith("PLAIN://:9092,INTERNAL")


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        (Listener(name="internal", type=ListenerType.INTERNAL, port=9095), "every node has"),
        (Listener(name="mine", type=ListenerType.INTERNAL, port=9093), "the controllers' own"),
    ],
)
def test_listeners_that_clash_with_ours_are_refused(
    make_cluster: MakeCluster, listener: Listener, words: str
) -> None:
    """In words, before a pod fails on it."""
    assert words in (listener_problem(make_cluster(listeners=(listener,))) or "")
    assert listener_problem(make_cluster(listeners=(OUTSIDE,))) is None
