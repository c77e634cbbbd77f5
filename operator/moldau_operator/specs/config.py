"""A pool to its ConfigMap: one server.properties for each node. Pure.

What only the node itself knows when it starts (the machine it runs on, its zone) is left to the broker as
`${env:NAME}`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from moldau_broker.base.properties import format_properties, parse_properties
from moldau_operator.resources.cluster import Cluster, ListenerType, Role
from moldau_operator.seams.platform import NodeSpec, PoolSpec
from moldau_operator.specs.objects import (
    CLIENT_PORT,
    CONTROLLER_PORT,
    HTTP_PORT,
    INTERNAL_PORT,
    Manifest,
    NodeName,
    config_name,
    manifest,
)

DATA_FOLDER: Final = "/var/lib/moldau/data"
CONFIG_FOLDER: Final = "/etc/moldau"
HOST_IP: Final = "HOST_IP"
ZONE: Final = "ZONE"
MACHINE: Final = "MACHINE"
ZONES_KEY: Final = "zones.properties"
"""Which machine is in which zone; a pod looks its own up when it starts, wherever it was placed."""

CLIENT: Final = "CLIENT"
INTERNAL: Final = "INTERNAL"
CONTROLLER: Final = "CONTROLLER"

NodePorts = Mapping[tuple[str, int], int]
"""(listener, node id) -> the port at which every machine forwards to that node."""

PLATFORM_SETTINGS: Final = frozenset(
    {
        "advertised.listeners",
        "controller.listener.names",
        "controller.quorum.bootstrap.servers",
        "http.host",
        "http.port",
        "inter.broker.listener.name",
        "listeners",
        "log.dirs",
    }
)
"""Settings added here to those that follow from the resource."""

_ZONE_OF_POD: Final = f"${{env:{ZONE}}}"
_ZONE_OF_MACHINE: Final = f"${{file:{CONFIG_FOLDER}/{ZONES_KEY}:${{env:{MACHINE}}}}}"
_ZONE_VALUES: Final = frozenset({_ZONE_OF_POD, _ZONE_OF_MACHINE})


def properties_key(node: NodeName) -> str:
    """The file of a node; its pod finds it by its own name."""
    return f"{node.pod}.properties"


def config_map(
    cluster: Cluster,
    pool: PoolSpec,
    controllers: Collection[int],
    names: Mapping[int, NodeName],
    node_ports: NodePorts,
    zones: Mapping[str, str] | None = None,
) -> Manifest:
    """The ConfigMap of a pool.

    Args:
        zones: of machines, by their names; None where nobody may know.
        controllers: of the whole cluster, in the order in which nodes ask them for the quorum; the first founds it.
        names: of all nodes of the cluster.
    """
    data = {
        properties_key(names[node.node_id]): format_properties(
            node_settings(cluster, node, controllers, names, node_ports, zones is not None)
        )
        for node in pool.nodes
    }
    if zones is not None:
        data[ZONES_KEY] = format_properties(dict(sorted(zones.items())))
    name = config_name(cluster.metadata.name, pool.name)
    return manifest("v1", "ConfigMap", name, cluster, {"data": data}, pool.name)


def node_settings(
    cluster: Cluster,
    node: NodeSpec,
    controllers: Collection[int],
    names: Mapping[int, NodeName],
    node_ports: NodePorts,
    zones_known: bool = False,
) -> dict[str, str]:
    """Everything a node's file says."""
    servers = ",".join(f"{names[one].host}:{CONTROLLER_PORT}" for one in controllers)
    settings = {
        "broker.rack": _ZONE_OF_MACHINE if zones_known else _ZONE_OF_POD,
        **node.settings,
        "controller.quorum.bootstrap.servers": servers,
        "controller.listener.names": CONTROLLER,
        "log.dirs": DATA_FOLDER,
        "http.host": "0.0.0.0",  # noqa: S104 (the pod's own network)
        "http.port": str(HTTP_PORT),
        **_listeners(cluster, node, names[node.node_id], node_ports),
    }
    if Role.BROKER in node.roles:
        settings["inter.broker.listener.name"] = INTERNAL
    return settings


def declared_settings(text: str) -> dict[str, str]:
    """What a node's file says without what was added here: the settings its plan gave."""
    return {
        name: value
        for name, value in parse_properties(text).items()
        if name not in PLATFORM_SETTINGS and value not in _ZONE_VALUES
    }


def client_ports(cluster: Cluster) -> dict[str, int]:
    """The client listeners and their ports: `CLIENT` unless a declared one takes its port, then the declared."""
    declared = {listener.name.upper(): listener.port for listener in cluster.spec.listeners}
    return declared if CLIENT_PORT in declared.values() else {CLIENT: CLIENT_PORT, **declared}


def listener_problem(cluster: Cluster) -> str | None:
    """Why the declared listeners cannot be opened beside ours, in words; None when they can."""
    taken = {INTERNAL_PORT: "the brokers'", CONTROLLER_PORT: "the controllers'", HTTP_PORT: "the probes'"}
    for listener in cluster.spec.listeners:
        if listener.name.upper() in {CLIENT, INTERNAL, CONTROLLER}:
            return f"{listener.name} is the name of a listener every node has; choose another"
        if listener.port in taken:
            return f"{listener.name} asks for port {listener.port}, which is {taken[listener.port]} own; choose another"
    return None


def _listeners(cluster: Cluster, node: NodeSpec, name: NodeName, node_ports: NodePorts) -> dict[str, str]:
    """`listeners` opens every interface of the pod; a client is told the address of the side it came from."""
    opened: dict[str, int] = {}
    if Role.BROKER in node.roles:
        opened = {**client_ports(cluster), INTERNAL: INTERNAL_PORT}
    if Role.CONTROLLER in node.roles:
        opened[CONTROLLER] = CONTROLLER_PORT
    told = {listener: (name.host, port) for listener, port in opened.items()}
    for listener in cluster.spec.listeners:
        key = listener.name.upper()
        if key not in told:
            continue
        host, port = told[key]
        if listener.type is ListenerType.NODEPORT:
            host, port = f"${{env:{HOST_IP}}}", node_ports.get((listener.name, node.node_id), port)
        if listener.advertised_port is not None:
            port = listener.advertised_port + (node.node_id if listener.type is ListenerType.NODEPORT else 0)
        told[key] = (listener.advertised_host or host, port)
    return {
        "listeners": ",".join(f"{one}://:{port}" for one, port in opened.items()),
        "advertised.listeners": ",".join(f"{one}://{host}:{port}" for one, (host, port) in told.items()),
    }
