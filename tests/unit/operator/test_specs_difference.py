"""How an object differs from the one we would apply: in words, and never because of what others added."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from moldau_operator.resources.cluster import Cluster
from moldau_operator.specs.difference import first_difference
from moldau_operator.specs.statefulset import stateful_set

MakeCluster = Callable[..., Cluster]


@pytest.fixture
def wanted(make_cluster: MakeCluster) -> dict[str, Any]:
    cluster = make_cluster(replicas=3)
    return stateful_set(cluster, cluster.spec.pools[0], replicas=3, image="moldau/broker:1", cluster_id="x")


def test_what_the_server_adds_is_no_difference(wanted: dict[str, Any]) -> None:
    """Defaults, statuses, other managers' labels, quantities in another spelling, empty things left out."""
    found = copy.deepcopy(wanted)
    found["metadata"] |= {"uid": "1", "resourceVersion": "7"}
    found["metadata"]["labels"]["team"] = "x"
    container = found["spec"]["template"]["spec"]["containers"][0]
    container["imagePullPolicy"] = "IfNotPresent"
    container["ports"][0]["hostPort"] = 0
    del container["resources"]
    found["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = "10240Mi"
    found["spec"]["volumeClaimTemplates"][0]["status"] = {"phase": "Pending"}
    assert first_difference(wanted, found) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one["spec"].update(replicas=1), "spec.replicas: 1 -> 3"),
        (
            lambda one: one["metadata"]["labels"].clear(),
            "metadata.labels.app.kubernetes.io/name: not there -> moldau",
        ),
        (
            lambda one: one["spec"]["template"]["spec"]["containers"][0].update(image="bad"),
            "spec.template.spec.containers[kafka].image: bad -> moldau/broker:1",
        ),
        (
            lambda one: one["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"}),
            "spec.template.spec.containers[sidecar]: there -> not there",
        ),
        (
            lambda one: one["spec"]["template"]["spec"]["containers"][0].update(args=["x", "y"]),
            "spec.template.spec.containers[kafka].args: ['x', 'y'] -> ",
        ),
        (lambda one: one["metadata"]["annotations"].clear(), "metadata.annotations.moldau.dev/declared"),
    ],
)
def test_a_hand_made_change_is_named(
    wanted: dict[str, Any], change: Callable[[Any], None], words: str
) -> None:
    """By its path, what is there and what should be."""
    found = copy.deepcopy(wanted)
    change(found)
    assert first_difference(wanted, found).startswith(words)


def test_a_field_that_is_no_longer_ours_shows_in_the_digest(wanted: dict[str, Any]) -> None:
    """What we do not name is not compared, but that we once named it is."""
    found = copy.deepcopy(wanted)
    found["metadata"]["annotations"]["moldau.dev/applied"] = "before"
    assert first_difference(wanted, found).startswith("rendered anew: before -> ")
    assert first_difference(wanted, None) == "it is not there"
