"""Installed by one file, with no more rights than its Role says, and gone without a trace but the volumes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import yaml
from tests.e2e.conftest import BROKER_IMAGE, NAMESPACE, OPERATOR_IMAGE, ROOT, Demo, helm, say
from tests.e2e.kube import Kube, Object

SINGLE_FILE = ROOT / "deploy" / "moldau.yaml"
SINGLE = "moldau"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:moldau-operator"

MAY_NOT = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "pods"),
    ("patch", "pods"),
    ("create", "pods/exec"),
    ("get", "serviceaccounts"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("create", "clusters.moldau.dev"),
    ("delete", "clusters.moldau.dev"),
    ("delete", "topics.moldau.dev"),
    ("create", "persistentvolumeclaims"),
    ("create", "deployments.apps"),
    ("delete", "leases.coordination.k8s.io"),
]


def test_the_single_file_is_what_the_chart_renders() -> None:
    """`make manifests` was run."""
    rendered = helm(
        *("template", "moldau", str(ROOT / "charts" / "moldau"), "--namespace", SINGLE),
        *("--kube-version", "1.34.0", "--include-crds", "--set", "clusterRole.create=true"),
    )
    kept = [one for one in yaml.safe_load_all(SINGLE_FILE.read_text()) if one]
    assert kept[1:] == [one for one in yaml.safe_load_all(rendered) if one]
    assert (kept[0]["kind"], kept[0]["metadata"]["name"]) == ("Namespace", SINGLE)


def test_values_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """By the chart's schema, before anything is installed."""
    helm("lint", str(ROOT / "charts" / "moldau"))
    done = subprocess.run(
        ["helm", "template", "m", str(ROOT / "charts" / "moldau"), "--set", "colour=red"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "colour" in done.stderr


def test_installed_by_one_file_and_uninstalled_in_the_wrong_order(kube: Kube) -> None:
    """A cluster of one node; the operator goes first, and nothing hangs; the volume stays until it is deleted."""
    single = Kube(SINGLE)
    documents: list[Object] = [one for one in yaml.safe_load_all(SINGLE_FILE.read_text()) if one]
    for one in documents:
        if one["kind"] == "Deployment":
            container = one["spec"]["template"]["spec"]["containers"][0]
            container["image"] = OPERATOR_IMAGE
            for variable in container["env"]:
                if variable["name"].endswith("BROKER_IMAGE"):
                    variable["value"] = BROKER_IMAGE
    ours = [one for one in documents if one["kind"] != "CustomResourceDefinition"]
    subprocess.run(
        ["kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-"],
        input=yaml.safe_dump_all(documents),
        text=True,
        check=True,
        capture_output=True,
    )
    try:
        single.run("rollout", "status", "deployment/moldau-operator", "--timeout=90s")
        single.put("Cluster", "one", replicas=1, storage={"size": "300Mi"})
        single.put("Topic", "orders", cluster="one", partitions=1, replicas=1, deletionPolicy="Delete")
        single.ready("cluster", "one", 90)
        single.ready("topic", "orders", 30)
        single.run("delete", "deployment", "moldau-operator")
        single.wait(
            "the operator is gone",
            lambda: not single.items("pods", "app.kubernetes.io/name=moldau-operator"),
            60,
        )
        begun = time.monotonic()
        single.delete("cluster", "one", within=60)
        single.delete("topic", "orders", within=10)  # though nobody is there to delete its topic
        assert single.get("topic", "orders") is None
        say(f"uninstalled in the wrong order in {time.monotonic() - begun:.1f} s")
        single.wait("its pods are gone", lambda: not single.items("pods"), 90)
        left = {
            f"{one['kind']}/{one['metadata']['name']}"
            for one in single.items("all,pvc,configmaps,pdb,clusters,topics,consumergroups")
        }
        assert left == {"PersistentVolumeClaim/data-one-kafka-0", "ConfigMap/kube-root-ca.crt"}
    finally:
        subprocess.run(
            ["kubectl", "delete", "--ignore-not-found", "-f", "-"],
            input=yaml.safe_dump_all(ours),
            text=True,
            check=True,
            capture_output=True,
        )
    assert single.get("namespace", SINGLE) is None


def can_i(kube: Kube, verb: str, what: str) -> bool:
    """Whether the operator's account may do this in its namespace."""
    done = subprocess.run(
        ["kubectl", "auth", "can-i", verb, what, "--as", ACCOUNT, "-n", kube.namespace],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() == "yes"


def test_the_operator_may_do_what_its_role_says_and_nothing_more(demo: Demo) -> None:
    """Every verb of the Role by impersonation, and what it must not be able to do."""
    role = demo.kube.here("role", "moldau-operator")
    count = 0
    for rule in role["rules"]:
        for resource in rule["resources"]:
            group = rule["apiGroups"][0]
            base, _, sub = resource.partition("/")
            name = f"{base}.{group}" if group else base
            for verb in rule["verbs"]:
                assert can_i(demo.kube, verb, f"{name}/{sub}" if sub else name), (verb, resource)
                count += 1
    for verb, what in MAY_NOT:
        assert not can_i(demo.kube, verb, what), (verb, what)
    other = Kube("kube-system")
    for what in ("pods", "configmaps", "topics.moldau.dev", "secrets"):
        assert not can_i(other, "get", what), what
    assert can_i(other, "list", "nodes")  # the optional ClusterRole
    say(f"{count} rights as its Role says, {len(MAY_NOT)} refused, none in another namespace")


def test_brokers_have_no_account_and_no_rights(demo: Demo) -> None:
    """No token in the pod, a root that cannot be written, no capability, a fixed user."""
    pod = demo.kube.here("pod", demo.pod(0))
    assert pod["spec"]["automountServiceAccountToken"] is False
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "kafka"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    namespace = demo.kube.here("namespace", NAMESPACE)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_operator_is_small_and_idle(demo: Demo) -> None:
    """Its memory and processor time as the kernel counts them, over half a minute in which nothing changes."""
    (pod,) = demo.kube.items("pods", "app.kubernetes.io/name=moldau-operator")
    name = pod["metadata"]["name"]

    def read() -> tuple[float, float]:
        text = demo.kube.run(
            *("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"),
        )
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return float(lines["process_resident_memory_bytes"]), float(lines["process_cpu_seconds_total"])

    _, before = read()
    time.sleep(30)
    memory, after = read()
    say(f"operator: {memory / 2**20:.0f} MiB, {(after - before) / 30:.1%} of a core while nothing changes")
    assert memory < 200 * 2**20
    assert after - before < 3.0
