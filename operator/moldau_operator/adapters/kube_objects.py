"""A Cluster to all of its objects, in the order in which they are applied. Pure.

Services come first because node ports go into the nodes' files, files before the sets whose pods read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moldau_operator.resources.cluster import Cluster
from moldau_operator.resources.quantity import Quantity, parse_quantity
from moldau_operator.seams.api_server import Object
from moldau_operator.seams.platform import PoolSpec
from moldau_operator.specs.config import config_map
from moldau_operator.specs.difference import first_difference
from moldau_operator.specs.nodes import controllers_of
from moldau_operator.specs.objects import Manifest, NodeName, node_name
from moldau_operator.specs.services import (
    bootstrap_service,
    given_node_port,
    headless_service,
    node_services,
)
from moldau_operator.specs.statefulset import adopted_by, stateful_set


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A cluster's objects as they are, by name."""

    sets: Mapping[str, Object] = field(default_factory=dict)
    services: Mapping[str, Object] = field(default_factory=dict)
    configs: Mapping[str, Object] = field(default_factory=dict)
    pods: Mapping[str, Object] = field(default_factory=dict)
    claims: Mapping[str, Object] = field(default_factory=dict)

    def of(self, manifest: Manifest) -> Object | None:
        """The object that a manifest is about."""
        kinds = {"StatefulSet": self.sets, "Service": self.services, "ConfigMap": self.configs}
        return kinds[manifest["kind"]].get(manifest["metadata"]["name"])


def services_of(cluster: Cluster, names: Mapping[int, NodeName]) -> list[Manifest]:
    """All Services of a cluster."""
    return [headless_service(cluster), bootstrap_service(cluster), *node_services(cluster, names).values()]


def node_ports_of(
    cluster: Cluster, names: Mapping[int, NodeName], found: Found
) -> dict[tuple[str, int], int]:
    """The ports of machines that lead to nodes, as far as the server gave them."""
    ports = {}
    for key, wanted in node_services(cluster, names).items():
        given = given_node_port(found.services.get(wanted["metadata"]["name"], {}))
        if given is not None:
            ports[key] = given
    return ports


def configs_of(
    cluster: Cluster,
    pools: Sequence[PoolSpec],
    names: Mapping[int, NodeName],
    found: Found,
    zones: Mapping[str, str] | None,
) -> list[Manifest]:
    """The ConfigMaps of all pools."""
    ports = node_ports_of(cluster, names, found)
    return [config_map(cluster, pool, controllers_of(pools), names, ports, zones) for pool in pools]


def sets_of(
    cluster: Cluster, pools: Sequence[PoolSpec], image: str, cluster_id: str, found: Found
) -> list[Manifest]:
    """The StatefulSets of all pools. A claim template never shrinks and never changes its class."""
    sets = []
    for pool, spec in zip(cluster.spec.pools, pools, strict=True):
        highest = max((node.node_id - pool.node_id_base for node in spec.nodes), default=-1)
        there = found.sets.get(node_name(cluster, pool, 0).pod.removesuffix("-0"))
        wanted = stateful_set(
            cluster,
            pool,
            replicas=highest + 1,
            image=image,
            cluster_id=cluster_id,
            adopted=adopted_by(there),
        )
        if there is not None and not grows(wanted, there):
            wanted["spec"]["volumeClaimTemplates"] = there["spec"]["volumeClaimTemplates"]
        elif there is not None:
            _keep_class(wanted, there)
        sets.append(wanted)
    return sets


def _keep_class(wanted: Manifest, there: Object) -> None:
    (claim,), (now,) = (one["spec"]["volumeClaimTemplates"] for one in (wanted, there))
    claim["spec"].pop("storageClassName", None)
    if "storageClassName" in now["spec"]:
        claim["spec"]["storageClassName"] = now["spec"]["storageClassName"]


def names_of(cluster: Cluster, pools: Sequence[PoolSpec]) -> dict[int, NodeName]:
    """The names of all nodes, by id."""
    return {
        node.node_id: node_name(cluster, pool, node.node_id - pool.node_id_base)
        for pool, spec in zip(cluster.spec.pools, pools, strict=True)
        for node in spec.nodes
    }


def grows(wanted: Manifest, there: Object) -> bool:
    """Whether a set's volumes are to become larger than its claim template says."""
    now, then = _size(there), _size(wanted)
    return now is not None and then is not None and then.amount > now.amount


def claim_size(one: Object) -> Quantity | None:
    """What a claim, or a claim template, asks for."""
    text = one.get("spec", {}).get("resources", {}).get("requests", {}).get("storage")
    found = parse_quantity(str(text))
    return found if isinstance(found, Quantity) else None


def _size(one: Object) -> Quantity | None:
    templates = one.get("spec", {}).get("volumeClaimTemplates") or [{}]
    return claim_size(templates[0])


def differs(wanted: Sequence[Manifest], found: Found) -> str:
    """The first difference of all these objects, in words; empty when there is none."""
    for one in wanted:
        words = first_difference(one, found.of(one))
        if words:
            return f"{one['kind']} {one['metadata']['name']}: {words}"
    return ""
