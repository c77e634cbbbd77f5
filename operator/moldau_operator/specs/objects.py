"""Names, labels and addresses of what a Cluster becomes in Kubernetes. Pure.

Dashboards, alerts and people's scripts depend on these names: pods are `<cluster>-<pool>-<n>`, volumes
`data-<pod>`, the container is `kafka`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from moldau_operator.names import API_VERSION
from moldau_operator.resources.cluster import Cluster, Pool

Manifest: TypeAlias = dict[str, Any]
"""An object as the API server takes it."""

FIELD_MANAGER: Final = "moldau-operator"

CONTAINER: Final = "kafka"
VOLUME: Final = "data"
USER_ID: Final = 10001
"""Fixed, so that volumes of one release open under the next; the images create the same user."""

CLIENT_PORT: Final = 9092
INTERNAL_PORT: Final = 9091
CONTROLLER_PORT: Final = 9093
HTTP_PORT: Final = 8092

LABEL_CLUSTER: Final = "moldau.dev/cluster"
LABEL_POOL: Final = "moldau.dev/pool"
ANNOTATION_APPLIED: Final = "moldau.dev/applied"
ANNOTATION_CLUSTER_ID: Final = "moldau.dev/cluster-id"
ANNOTATION_NODE_ID_BASE: Final = "moldau.dev/node-id-base"

_HASH_CHARS: Final = 12


class NodeName(NamedTuple):
    """A node of a pool by its ordinal, and what everything of it is called."""

    cluster: str
    namespace: str
    pool: str
    ordinal: int

    @property
    def pod(self) -> str:
        """The pod's name."""
        return f"{self.cluster}-{self.pool}-{self.ordinal}"

    @property
    def claim(self) -> str:
        """The volume claim's name."""
        return f"{VOLUME}-{self.pod}"

    @property
    def host(self) -> str:
        """The name it has in DNS, whether it is ready or not; the search path adds the cluster's own domain."""
        return f"{self.pod}.{headless_name(self.cluster)}.{self.namespace}.svc"


def node_name(cluster: Cluster, pool: Pool | str, ordinal: int) -> NodeName:
    """A node's names."""
    name = pool if isinstance(pool, str) else pool.name
    return NodeName(cluster.metadata.name, cluster.metadata.namespace, name, ordinal)


def names_by_id(cluster: Cluster, node_ids: Mapping[int, tuple[int, ...]]) -> dict[int, NodeName]:
    """The names of nodes by id; `node_ids` is what `specs.nodes.node_ids` gives."""
    return {
        node: node_name(cluster, pool, node - pool.node_id_base)
        for index, pool in enumerate(cluster.spec.pools)
        for node in node_ids[index]
    }


def set_name(cluster: str, pool: str) -> str:
    """The StatefulSet of a pool."""
    return f"{cluster}-{pool}"


def config_name(cluster: str, pool: str) -> str:
    """The ConfigMap of a pool."""
    return f"{cluster}-{pool}-config"


def ledger_name(cluster: str, number: int = 0) -> str:
    """A ConfigMap of what is left to do when resources go; one is enough for some thousand of them."""
    return f"{cluster}-ledger" if number == 0 else f"{cluster}-ledger-{number}"


def headless_name(cluster: str) -> str:
    """The Service that gives every node a name."""
    return f"{cluster}-kafka-brokers"


def bootstrap_name(cluster: str) -> str:
    """The Service clients inside Kubernetes begin with."""
    return f"{cluster}-kafka-bootstrap"


def labels(cluster: Cluster, pool: str | None = None) -> dict[str, str]:
    """Labels of everything that belongs to a cluster; labels of the resource itself are never copied."""
    found = {
        "app.kubernetes.io/name": "moldau",
        "app.kubernetes.io/instance": cluster.metadata.name,
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        LABEL_CLUSTER: cluster.metadata.name,
    }
    return found if pool is None else {**found, LABEL_POOL: pool}


def selector(cluster: Cluster, pool: str | None = None) -> dict[str, str]:
    """The labels that select a cluster's pods, or a pool's."""
    found = {LABEL_CLUSTER: cluster.metadata.name}
    return found if pool is None else {**found, LABEL_POOL: pool}


def manifest(
    api_version: str, kind: str, name: str, cluster: Cluster, body: Manifest, pool: str | None = None
) -> Manifest:
    """An object that goes when the Cluster goes, and that says what it was rendered from."""
    metadata: Manifest = {
        "name": name,
        "namespace": cluster.metadata.namespace,
        "labels": labels(cluster, pool),
    }
    if cluster.metadata.uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": "Cluster",
                "name": cluster.metadata.name,
                "uid": cluster.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]
    found: Manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    metadata["annotations"] = {ANNOTATION_APPLIED: digest(found)}
    return found


def digest(value: object) -> str:
    """A short name for exactly this value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
