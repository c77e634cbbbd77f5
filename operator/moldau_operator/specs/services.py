"""A Cluster to its Services: one that names nodes, one to begin with, one for each node reached from outside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_operator.resources.cluster import Cluster, Listener, ListenerType
from moldau_operator.specs.config import client_ports
from moldau_operator.specs.objects import (
    CLIENT_PORT,
    CONTROLLER_PORT,
    HTTP_PORT,
    INTERNAL_PORT,
    Manifest,
    NodeName,
    bootstrap_name,
    headless_name,
    manifest,
    selector,
)

NODE_PORTS: Final = range(30000, 32768)
"""Kubernetes' default range for ports of its machines."""

LABEL_POD: Final = "statefulset.kubernetes.io/pod-name"


def headless_service(cluster: Cluster) -> Manifest:
    """Gives every node a name before it is ready: the quorum forms through these names."""
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector(cluster),
        "ports": [
            _port("internal", INTERNAL_PORT),
            _port("controller", CONTROLLER_PORT),
            _port("http", HTTP_PORT),
            *(_port(name.lower(), port) for name, port in client_ports(cluster).items()),
        ],
    }
    return manifest("v1", "Service", headless_name(cluster.metadata.name), cluster, {"spec": spec})


def bootstrap_service(cluster: Cluster) -> Manifest:
    """Leads clients inside Kubernetes to any node that is ready."""
    spec = {
        "type": "ClusterIP",
        "selector": selector(cluster),
        "ports": [_port(name.lower(), port) for name, port in client_ports(cluster).items()],
    }
    return manifest("v1", "Service", bootstrap_name(cluster.metadata.name), cluster, {"spec": spec})


def bootstrap_address(cluster: Cluster) -> str:
    """host:port for clients inside Kubernetes."""
    ports = client_ports(cluster)
    port = CLIENT_PORT if CLIENT_PORT in ports.values() else next(iter(ports.values()))
    return f"{bootstrap_name(cluster.metadata.name)}.{cluster.metadata.namespace}.svc:{port}"


def node_services(cluster: Cluster, names: Mapping[int, NodeName]) -> dict[tuple[str, int], Manifest]:
    """A Service for each node and each listener of type nodeport, by the listener's name and the node's id."""
    return {
        (listener.name, node_id): _node_service(cluster, listener, node_id, name)
        for listener in cluster.spec.listeners
        if listener.type is ListenerType.NODEPORT
        for node_id, name in sorted(names.items())
    }


def _node_service(cluster: Cluster, listener: Listener, node_id: int, name: NodeName) -> Manifest:
    port = _port(listener.name, listener.port)
    if listener.advertised_port is not None and listener.advertised_port + node_id in NODE_PORTS:
        port["nodePort"] = listener.advertised_port + node_id
    spec = {
        "type": "NodePort",
        "publishNotReadyAddresses": True,  # a client that knows the leader's address must reach just that one
        "selector": {**selector(cluster), LABEL_POD: name.pod},
        "ports": [port],
    }
    return manifest("v1", "Service", f"{name.pod}-{listener.name}", cluster, {"spec": spec}, name.pool)


def given_node_port(service: Manifest) -> int | None:
    """The machines' port an API server chose for a node's Service; None while it has none."""
    ports = service.get("spec", {}).get("ports") or [{}]
    found = ports[0].get("nodePort")
    return found if isinstance(found, int) else None


def _port(name: str, port: int) -> Manifest:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
