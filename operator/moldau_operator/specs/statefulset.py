"""A pool to its StatefulSet. Pure.

The pods' revision is pinned: what a person declared makes it, not the version of the operator that renders it. The
rendered template is kept beside the set it was rendered for, and used again as long as the declaration is the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from moldau_operator.resources.cluster import Cluster, PodRevision, Pool, Resources
from moldau_operator.resources.meta import DeletionPolicy
from moldau_operator.specs.config import CONFIG_FOLDER, DATA_FOLDER, HOST_IP, MACHINE, ZONE, client_ports
from moldau_operator.specs.nodes import differences, is_dynamic
from moldau_operator.specs.objects import (
    ANNOTATION_CLUSTER_ID,
    ANNOTATION_NODE_ID_BASE,
    CONTAINER,
    CONTROLLER_PORT,
    HTTP_PORT,
    INTERNAL_PORT,
    USER_ID,
    VOLUME,
    Manifest,
    digest,
    headless_name,
    labels,
    manifest,
    selector,
    set_name,
)
from moldau_operator.specs.template import STOP_S, pod_fields

ANNOTATION_REVISION: Final = "moldau.dev/pod-revision"
ANNOTATION_INTENT: Final = "moldau.dev/declared"
ANNOTATION_TEMPLATE: Final = "moldau.dev/pod-template"
ANNOTATION_SETTINGS: Final = "moldau.dev/settings"

STORAGE_DEFAULT: Final = "10Gi"
"""A volume needs a size; enough to begin with, and it can grow."""

_SET_NAME_CHARS_MAX: Final = 52
"""Kubernetes adds 11 characters and needs the result to be a label of 63."""
_PORT_NAME_CHARS_MAX: Final = 15


@dataclass(frozen=True, slots=True)
class Adopted:
    """The pod template a StatefulSet has now, and the declaration it was rendered from."""

    intent: str
    template: Manifest


def name_problem(cluster: Cluster) -> str | None:
    """Why a pool cannot have its name, in words; None when all can."""
    for pool in cluster.spec.pools:
        name = set_name(cluster.metadata.name, pool.name)
        if len(name) > _SET_NAME_CHARS_MAX:
            return (
                f"pool {pool.name} makes pods named {name}-0; shorten it by {len(name) - _SET_NAME_CHARS_MAX}"
            )
    return None


def stateful_set(
    cluster: Cluster,
    pool: Pool,
    *,
    replicas: int,
    image: str,
    cluster_id: str,
    adopted: Adopted | None = None,
) -> Manifest:
    """The StatefulSet of a pool.

    Args:
        replicas: nodes, with those that are still to be emptied.
        image: where the Cluster names none.
        cluster_id: written on every volume, so that it is found again where all else was lost.
        adopted: what the set has now; a pinned revision keeps it while the declaration is the same.
    """
    intent = digest(_declared(cluster, pool))
    template = _pod_template(cluster, pool, cluster.spec.image or image)
    if (
        adopted is not None
        and cluster.spec.rollout.pod_revision is PodRevision.PINNED
        and adopted.intent == intent
    ):
        template = adopted.template
    revision = digest(template)
    pods = {
        **template,
        "metadata": {
            **template["metadata"],
            "annotations": {
                **template["metadata"]["annotations"],
                ANNOTATION_REVISION: revision,
                ANNOTATION_SETTINGS: json.dumps(
                    dict(sorted(cluster.spec.config.items())), separators=(",", ":")
                ),
            },
        },
    }
    spec = {
        "replicas": replicas,
        "serviceName": headless_name(cluster.metadata.name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "selector": {"matchLabels": selector(cluster, pool.name)},
        "persistentVolumeClaimRetentionPolicy": {
            "whenDeleted": "Delete" if cluster.spec.deletion_policy is DeletionPolicy.DELETE else "Retain",
            "whenScaled": "Retain",  # a set scaled by hand must not take data with it
        },
        "template": pods,
        "volumeClaimTemplates": [_claim(cluster, pool, cluster_id)],
    }
    found = manifest(
        "apps/v1",
        "StatefulSet",
        set_name(cluster.metadata.name, pool.name),
        cluster,
        {"spec": spec},
        pool.name,
    )
    found["metadata"]["annotations"] |= {
        ANNOTATION_INTENT: intent,
        ANNOTATION_TEMPLATE: json.dumps(template, sort_keys=True, separators=(",", ":")),
    }
    return found


def revision_of(one: Manifest) -> str:
    """The pods' revision a StatefulSet asks for, or a pod has; empty when it says none."""
    meta: Manifest = one.get("spec", {}).get("template", one).get("metadata", {})
    return str((meta.get("annotations") or {}).get(ANNOTATION_REVISION, ""))


def adopted_by(found: Manifest | None) -> Adopted | None:
    """What an existing StatefulSet was rendered from; None when nobody can tell any more."""
    notes = (found or {}).get("metadata", {}).get("annotations") or {}
    try:
        template = json.loads(notes[ANNOTATION_TEMPLATE])
        template["metadata"]["annotations"], template["spec"]["containers"]
        return Adopted(notes[ANNOTATION_INTENT], template)
    except (KeyError, TypeError, ValueError):
        return None


def started_with(pod: Manifest) -> dict[str, str]:
    """The declared settings that were in force when a pod was made."""
    notes = pod.get("metadata", {}).get("annotations") or {}
    try:
        found = json.loads(notes.get(ANNOTATION_SETTINGS, "{}"))
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def restart_words(cluster: Cluster, pod: Manifest, wanted: Manifest) -> str:
    """What a pod would change by being made anew from a StatefulSet: its image, settings, or all that is left."""
    old, new = (
        str(spec["containers"][0].get("image", ""))
        for spec in (pod["spec"], wanted["spec"]["template"]["spec"])
    )
    before, now = (
        {name: value for name, value in settings.items() if not is_dynamic(name)}
        for settings in (started_with(pod), cluster.spec.config)
    )
    words = [f"image {old} -> {new}"] if old != new else []
    words += [differences(before, now)] if before != now else []
    return (
        ", ".join(words) or "its pod template changed, or a restart was asked for (spec.rollout.restartedAt)"
    )


def _declared(cluster: Cluster, pool: Pool) -> dict[str, Any]:
    """What a person declared and a running pod cannot take over: a change of it restarts pods."""
    spec = cluster.spec
    return {
        "image": spec.image,
        "version": spec.version,
        "settings": {name: value for name, value in spec.config.items() if not is_dynamic(name)},
        "restartedAt": spec.rollout.restarted_at,
        "listeners": [
            [one.name, one.type, one.port, one.advertised_host, one.advertised_port] for one in spec.listeners
        ],
        "rack": pool.rack,
        "roles": sorted(pool.roles),
        "resources": _resources(pool.resources),
        "template": pool.template,
    }


def _pod_template(cluster: Cluster, pool: Pool, image: str) -> Manifest:
    given = pool.template
    affinity: Manifest = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": selector(cluster)},
                    },
                }
            ]
        }
    }
    if "nodeAffinity" in given:
        affinity["nodeAffinity"] = given["nodeAffinity"]
    return {
        "metadata": {
            "labels": {**given.get("labels", {}), **labels(cluster, pool.name)},
            "annotations": {
                **given.get("annotations", {}),
                ANNOTATION_INTENT: digest(_declared(cluster, pool)),
            },
        },
        "spec": {
            **pod_fields(pool),
            "affinity": affinity,
            "topologySpreadConstraints": [
                {
                    "topologyKey": "topology.kubernetes.io/zone",
                    "maxSkew": 1,
                    "whenUnsatisfiable": "ScheduleAnyway",  # a cluster of one zone must start too
                    "labelSelector": {"matchLabels": selector(cluster)},
                }
            ],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,  # a Service named moldau would set MOLDAU_PORT
            "terminationGracePeriodSeconds": given.get("terminationGracePeriodSeconds", STOP_S),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(cluster, pool, image)],
            "volumes": [
                {
                    "name": "config",
                    "configMap": {"name": f"{set_name(cluster.metadata.name, pool.name)}-config"},
                },
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            ],
        },
    }


def _container(cluster: Cluster, pool: Pool, image: str) -> Manifest:
    ports = {"internal": INTERNAL_PORT, "controller": CONTROLLER_PORT, "http": HTTP_PORT}
    ports |= {name.lower(): port for name, port in client_ports(cluster).items()}
    return {
        "name": CONTAINER,
        "image": image,
        "args": [f"{CONFIG_FOLDER}/$(POD_NAME).properties"],
        "env": [
            _from_pod("POD_NAME", "metadata.name"),
            _from_pod(HOST_IP, "status.hostIP"),
            _from_pod(MACHINE, "spec.nodeName"),
            # Kubernetes from 1.35 on copies the machine's zone to its pods; before, it is empty.
            _from_pod(ZONE, "metadata.labels['topology.kubernetes.io/zone']"),
        ],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in ports.items()
            if len(name) <= _PORT_NAME_CHARS_MAX  # naming it is for people only
        ],
        "resources": _resources(pool.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {**_probe("/livez"), "periodSeconds": 1, "failureThreshold": 600},
        "livenessProbe": {
            **_probe("/livez"),
            "periodSeconds": 10,
            "failureThreshold": 6,
            "timeoutSeconds": 5,
        },
        "readinessProbe": {
            **_probe("/readyz"),
            "periodSeconds": 2,
            "failureThreshold": 2,
            "timeoutSeconds": 2,
        },
        "volumeMounts": [
            {"name": VOLUME, "mountPath": DATA_FOLDER.rpartition("/")[0]},
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (a volume of this pod alone)
        ],
    }


def _probe(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "http"}}


def _from_pod(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _resources(resources: Resources) -> Manifest:
    found = {
        "requests": {name: amount.text for name, amount in resources.requests.items()},
        "limits": {name: amount.text for name, amount in resources.limits.items()},
    }
    return {name: amounts for name, amounts in found.items() if amounts}


def _claim(cluster: Cluster, pool: Pool, cluster_id: str) -> Manifest:
    size = pool.storage.size.text if pool.storage.size is not None else STORAGE_DEFAULT
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if pool.storage.storage_class is not None:
        spec["storageClassName"] = pool.storage.storage_class
    return {
        "metadata": {
            "name": VOLUME,
            "labels": labels(cluster, pool.name),
            "annotations": {
                ANNOTATION_CLUSTER_ID: cluster_id,
                ANNOTATION_NODE_ID_BASE: str(pool.node_id_base),
            },
        },
        "spec": spec,
    }
