"""A namespace is deleted with its volumes retained, and the cluster is rebuilt by the steps of docs/kubernetes.md."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from confluent_kafka import Producer
from tests.e2e.conftest import CLIENT_IMAGE, ROOT, helm, image_values, make_namespace, say
from tests.e2e.kube import Kube, address_of, machines

NAME = "moldau-rebuild"
CLUSTER = "demo"
PORT = 30192
RECORDS = 500
STEPS = (ROOT / "docs" / "kubernetes.md").read_text()


def steps(after: str, folder: Path, *, leave_out: str) -> None:
    """Run what a block of the documentation says, for our namespace, without lines that are done otherwise here."""
    block = STEPS.split("## Volumes that stayed", 1)[1].split("## ", 1)[0].split(after, 1)[1]
    lines = re.search(r"```console\n(.*?)```", block, re.DOTALL)
    assert lines is not None
    script = "\n".join(
        line.removeprefix("$ ") for line in lines[1].splitlines() if not re.search(leave_out, line)
    )
    assert "kubectl" in script
    script = script.replace("shop", NAME).replace("examples/", f"{ROOT}/examples/")
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, script + done.stdout + done.stderr


def install(kube: Kube) -> None:
    helm(
        *("upgrade", "--install", "moldau", str(ROOT / "charts" / "moldau"), "--namespace", kube.namespace),
        *("--wait", "--timeout", "2m", *image_values()),
    )


def declare(kube: Kube) -> None:
    outside = {"name": "outside", "type": "nodeport", "port": 9094, "advertised": {"port": PORT}}
    config = {"default.replication.factor": 3, "min.insync.replicas": 2}
    kube.put("Cluster", CLUSTER, replicas=3, storage={"size": "300Mi"}, config=config, listeners=[outside])


def test_a_namespace_is_rebuilt_from_its_volumes(big_enough: None, tmp_path: Path) -> None:
    """Records, the cluster's id and a group's offsets are there again."""
    kube = make_namespace(NAME)
    try:
        install(kube)
        declare(kube)
        kube.put("Topic", "orders", cluster=CLUSTER, partitions=3, replicas=3)
        kube.ready("cluster", CLUSTER, 90)
        kube.ready("topic", "orders", 30)
        racks = kube.condition("cluster", CLUSTER, "RacksKnown")
        assert racks["status"] == "False", "the chart was installed without its ClusterRole"
        say(f"without the ClusterRole: {racks['reason']}: {racks['message']}")
        bootstrap = ",".join(f"{address_of(one)}:{PORT + node}" for node, one in enumerate(machines()[:3]))
        producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        for number in range(RECORDS):
            producer.produce("orders", str(number).encode())
        assert producer.flush(30) == 0
        inside = kube.here("cluster", CLUSTER)["status"]["bootstrap"]
        read = f"kcat -b {inside} -G billing -X auto.offset.reset=earliest -e -q orders"
        assert len(kube.client(CLIENT_IMAGE, f"{read} -c {RECORDS // 2}").split()) == RECORDS // 2
        cluster_id = kube.here("cluster", CLUSTER)["status"]["clusterId"]

        steps("Before it goes", tmp_path, leave_out="^never$")
        assert kube.get("namespace", NAME) is None
        steps("Afterwards free", tmp_path, leave_out="helm|create namespace|examples/kind|claims.yaml$")
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": label}})
        kube.run("apply", "-f", str(tmp_path / "claims.yaml"))
        install(kube)
        declare(kube)
        took = kube.ready("cluster", CLUSTER, 120)

        assert kube.here("cluster", CLUSTER)["status"]["clusterId"] == cluster_id
        rest = kube.client(CLIENT_IMAGE, read).split()
        assert len(rest) == RECORDS - RECORDS // 2  # the group goes on where it was
        everything = kube.client(CLIENT_IMAGE, f"kcat -b {inside} -C -t orders -o beginning -e -q").split()
        assert sorted(map(int, everything)) == list(range(RECORDS))
        say(
            f"rebuilt from three volumes in {took:.1f} s: the same cluster id, {RECORDS} records, offsets kept"
        )
    finally:
        claims = kube.items("pvc")
        helm("uninstall", "moldau", "--namespace", NAME, "--ignore-not-found", "--wait")
        kube.delete("namespace", NAME)
        for one in claims:
            subprocess.run(
                ["kubectl", "delete", "pv", one["spec"]["volumeName"], "--ignore-not-found", "--wait=false"],
                check=True,
                capture_output=True,
            )
