"""A pool to its StatefulSet: restricted pods, a revision only declarations change, volumes that say whose they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from moldau_operator.resources.cluster import Cluster, PodRevision, Pool, Resources, Rollout, Storage
from moldau_operator.resources.meta import DeletionPolicy
from moldau_operator.resources.quantity import Quantity
from moldau_operator.specs.objects import USER_ID, Manifest
from moldau_operator.specs.statefulset import (
    adopted_by,
    name_problem,
    revision_of,
    started_with,
    stateful_set,
)
from moldau_operator.specs.template import template_problem

MakeCluster = Callable[..., Cluster]


def render(cluster: Cluster, image: str = "moldau/broker:1", found: Manifest | None = None) -> Manifest:
    return stateful_set(
        cluster,
        cluster.spec.pools[0],
        replicas=cluster.spec.pools[0].replicas,
        image=image,
        cluster_id="Q2x1c3RlcklkMTIzNDU2Nw",
        adopted=adopted_by(found),
    )


def test_a_pool_becomes_one_set_that_the_operator_restarts_itself(make_cluster: MakeCluster) -> None:
    """OnDelete and Parallel; names that dashboards look for."""
    found = render(make_cluster(replicas=3))
    assert found["metadata"]["name"] == "demo-kafka"
    spec = found["spec"]
    assert spec["replicas"] == 3
    assert spec["updateStrategy"] == {"type": "OnDelete"}
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["serviceName"] == "demo-kafka-brokers"
    assert spec["template"]["spec"]["containers"][0]["name"] == "kafka"
    assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "data"


def test_pods_keep_to_the_restricted_profile(make_cluster: MakeCluster) -> None:
    """Every rule of Kubernetes' restricted pod security standard, a read-only root and no token."""
    pod = render(make_cluster())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == USER_ID
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} == {
        "configMap",
        "emptyDir",
    }
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}


def test_pods_spread_over_machines_and_zones(make_cluster: MakeCluster) -> None:
    """Preferably: a cluster of one machine must start too."""
    pod = render(make_cluster())["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    (spread,) = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == (
        "topology.kubernetes.io/zone",
        "ScheduleAnyway",
    )


def test_volumes_say_which_cluster_and_node_they_belong_to(make_cluster: MakeCluster) -> None:
    """A volume that outlived everything is recognised by its claim."""
    storage = Storage(size=Quantity("2Gi", Decimal(2 << 30)), storage_class="fast")
    pool = Pool(name="kafka", node_id_base=100, replicas=1, storage=storage)
    (claim,) = render(make_cluster(pools=(pool,)))["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["annotations"] == {
        "moldau.dev/cluster-id": "Q2x1c3RlcklkMTIzNDU2Nw",
        "moldau.dev/node-id-base": "100",
    }
    assert claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
    assert claim["spec"]["storageClassName"] == "fast"


@pytest.mark.parametrize(
    ("policy", "then"), [(DeletionPolicy.RETAIN, "Retain"), (DeletionPolicy.DELETE, "Delete")]
)
def test_volumes_go_with_the_cluster_only_when_it_says_so(
    make_cluster: MakeCluster, policy: DeletionPolicy, then: str
) -> None:
    """A set that is scaled down by hand never takes data with it."""
    spec = render(make_cluster(deletion_policy=policy))["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": then, "whenScaled": "Retain"}


def test_a_new_operator_version_restarts_nothing_by_itself(make_cluster: MakeCluster) -> None:
    """The template of the same declaration is kept, with the image it was rendered with."""
    before = render(make_cluster(), image="moldau/broker:1")
    after = render(make_cluster(), image="moldau/broker:2", found=before)
    assert after == before


def test_an_automatic_revision_follows_the_operator(make_cluster: MakeCluster) -> None:
    """Whoever wants new images with a new operator says podRevision: Auto."""
    cluster = make_cluster(rollout=Rollout(pod_revision=PodRevision.AUTO))
    before = render(cluster, image="moldau/broker:1")
    after = render(cluster, image="moldau/broker:2", found=before)
    assert revision_of(after) != revision_of(before)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "mine/broker:7"},
        {"config": {"num.network.threads": "7"}},
        {"rollout": Rollout(restarted_at="2027-01-01")},
        {"pools": (Pool(name="kafka", node_id_base=0, replicas=1, rack="a"),)},
        {"pools": (Pool(name="kafka", node_id_base=0, replicas=1, template={"labels": {"team": "x"}}),)},
        {
            "pools": (
                Pool(
                    name="kafka",
                    node_id_base=0,
                    replicas=1,
                    resources=Resources(limits={"memory": Quantity("1Gi", Decimal(1 << 30))}),
                ),
            )
        },
    ],
)
def test_what_pods_cannot_take_over_makes_a_new_revision(
    make_cluster: MakeCluster, change: dict[str, object]
) -> None:
    """And the new operator's template is adopted with it: the pods restart anyway."""
    before = render(make_cluster(), image="moldau/broker:1")
    after = render(make_cluster(**change), image="moldau/broker:2", found=before)
    assert revision_of(after) != revision_of(before)


@pytest.mark.parametrize("change", [{"config": {"log.segment.bytes": "777777"}}, {"replicas": 5}])
def test_what_running_pods_take_over_makes_none(make_cluster: MakeCluster, change: dict[str, object]) -> None:
    """Dynamic settings and further nodes restart nobody."""
    before = render(make_cluster())
    after = render(make_cluster(**change), found=before)
    assert revision_of(after) == revision_of(before)
    assert after != before


def test_a_pod_tells_the_settings_it_was_made_with(make_cluster: MakeCluster) -> None:
    """They are what a plan compares overrides with."""
    pods = render(make_cluster(config={"log.retention.ms": "7"}))["spec"]["template"]
    assert started_with(pods) == {"log.retention.ms": "7"}
    assert started_with({"metadata": {"annotations": {"moldau.dev/settings": "?"}}}) == {}


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"moldau.dev/pod-template": "{", "moldau.dev/declared": "x"},
        {"moldau.dev/pod-template": "[]"},
    ],
)
def test_a_spoilt_note_is_no_adopted_template(make_cluster: MakeCluster, notes: dict[str, str]) -> None:
    """Whoever edits our annotations gets a template rendered anew, not an operator that fails."""
    assert adopted_by({"metadata": {"annotations": notes}}) is None
    assert adopted_by(None) is None


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"hostNetwork": True}, "hostNetwork cannot be set"),
        ({"tolerationz": []}, "did you mean tolerations?"),
        ({"containers": []}, "containers cannot be set"),
        ({"volumes": [{"hostPath": {"path": "/"}}]}, "volumes cannot be set"),
        ({"tolerations": {}}, "must be a list"),
        ({"labels": {"a": 1}}, "put it in quotes"),
        ({"labels": {"moldau.dev/cluster": "other"}}, "set by the operator"),
        ({"terminationGracePeriodSeconds": 0}, "at least 1"),
        ({"terminationGracePeriodSeconds": True}, "whole number"),
    ],
)
def test_a_template_may_only_hold_what_gives_no_rights(template: dict[str, object], words: str) -> None:
    """Host paths, other containers and security settings are refused by name."""
    assert words in (
        template_problem(Pool(name="kafka", node_id_base=0, replicas=1, template=template)) or ""
    )


def test_an_allowed_template_reaches_the_pods(make_cluster: MakeCluster) -> None:
    """Labels, tolerations, priorities, affinity to machines."""
    template = {
        "labels": {"team": "x"},
        "tolerations": [{"key": "kafka", "operator": "Exists"}],
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}},
        "terminationGracePeriodSeconds": 30,
    }
    pool = Pool(name="kafka", node_id_base=0, replicas=1, template=template)
    assert template_problem(pool) is None
    pods = render(make_cluster(pools=(pool,)))["spec"]["template"]
    assert pods["metadata"]["labels"]["team"] == "x"
    assert pods["spec"]["tolerations"] == template["tolerations"]
    assert pods["spec"]["affinity"]["nodeAffinity"] == template["nodeAffinity"]
    assert pods["spec"]["terminationGracePeriodSeconds"] == 30


def test_names_that_kubernetes_would_cut_are_refused(make_cluster: MakeCluster) -> None:
    """A set's name and what Kubernetes adds to it must be a label."""
    cluster = make_cluster(pools=(Pool(name="p" * 40, node_id_base=0, replicas=1),))
    assert name_problem(cluster) is None
    long = replace(cluster, metadata=replace(cluster.metadata, name="c" * 40))
    assert "shorten it by 29" in (name_problem(long) or "")


def test_everything_goes_with_its_cluster(make_cluster: MakeCluster) -> None:
    """The garbage collector removes what the Cluster owns; no finalizer is needed for it."""
    (owner,) = render(make_cluster(uid="u-1"))["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Cluster", "u-1", True)
    assert json.loads(json.dumps(render(make_cluster()))) == render(make_cluster())
