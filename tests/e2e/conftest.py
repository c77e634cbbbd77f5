"""A Kubernetes of three machines or more, the operator in it by its chart, and one cluster for most tests."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kube import Kube, address_of, machines

ROOT = Path(__file__).parents[2]
NAMESPACE = "moldau-e2e"
CLUSTER = "demo"
NODE_PORT = 30092

VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "pyproject.toml").read_text().splitlines()
    if line.startswith("version")
)
BROKER_IMAGE = os.environ.get("MOLDAU_E2E_BROKER_IMAGE", f"moldau/broker:{VERSION}")
NEXT_IMAGE = os.environ.get("MOLDAU_E2E_NEXT_BROKER_IMAGE", f"moldau/broker:{VERSION}-next")
OPERATOR_IMAGE = os.environ.get("MOLDAU_E2E_OPERATOR_IMAGE", f"moldau/operator:{VERSION}")
CLIENT_IMAGE = os.environ.get("MOLDAU_E2E_CLIENT_IMAGE", "moldau/e2e-client:1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a Kubernetes, and takes its time."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


def say(text: str) -> None:
    """A figure, for those who run with -s."""
    sys.stdout.write(f"\n  {text}\n")
    sys.stdout.flush()


def helm(*arguments: str) -> str:
    """What helm printed."""
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def image_values() -> list[str]:
    """The chart's values for the images under test."""
    repository, _, tag = OPERATOR_IMAGE.rpartition(":")
    return [
        *("--set", f"image.repository={repository}"),
        *("--set-string", f"image.tag={tag}"),
        *("--set", f"brokerImage={BROKER_IMAGE}"),
    ]


def make_namespace(name: str) -> Kube:
    """An empty namespace in which only restricted pods may run."""
    kube = Kube(name)
    kube.delete("namespace", name)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return kube


@pytest.fixture(scope="session")
def big_enough() -> None:
    """Three machines that take pods."""
    assert os.environ.get("KUBECONFIG"), "KUBECONFIG names no Kubernetes"
    assert len(machines()) >= 3


@pytest.fixture(scope="session")
def kube(big_enough: None) -> Iterator[Kube]:
    """A namespace with the operator, installed by the chart."""
    kube = make_namespace(NAMESPACE)
    helm(
        *("upgrade", "--install", "moldau", str(ROOT / "charts" / "moldau"), "--namespace", NAMESPACE),
        *("--set", "clusterRole.create=true", "--wait", "--timeout", "2m"),
        *image_values(),
    )
    yield kube
    for kind in ("consumergroup", "topic", "cluster"):
        kube.delete(kind, "--all")
    helm("uninstall", "moldau", "--namespace", NAMESPACE, "--wait")
    kube.delete("namespace", NAMESPACE)


class Demo:
    """The cluster most tests work with."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    def put(self, **spec: object) -> None:
        """Apply the Cluster, with these fields instead of the usual ones; None leaves one out."""
        usual = {
            "replicas": 3,
            "storage": {"size": "1Gi"},
            "config": {
                "num.partitions": 6,
                "default.replication.factor": 3,
                "min.insync.replicas": 2,
                "offsets.topic.num.partitions": 6,
                "group.initial.rebalance.delay.ms": 0,
            },
            "listeners": [
                {"name": "outside", "type": "nodeport", "port": 9094, "advertised": {"port": NODE_PORT}}
            ],
        }
        wanted = {name: value for name, value in {**usual, **spec}.items() if value is not None}
        self.kube.put("Cluster", CLUSTER, **wanted)

    @property
    def outside(self) -> str:
        """`bootstrap.servers` for clients on this computer: every machine leads to every broker."""
        return ",".join(f"{address_of(one)}:{NODE_PORT + node}" for node, one in enumerate(machines()[:3]))

    @property
    def inside(self) -> str:
        """The same for pods."""
        return str(self.kube.here("cluster", CLUSTER)["status"]["bootstrap"])

    def ready(self, within: float = 180) -> float:
        """Until it is as declared."""
        return self.kube.ready("cluster", CLUSTER, within)

    def pod(self, node: int) -> str:
        """The pod of a node."""
        return f"{CLUSTER}-kafka-{node}"

    def uids(self) -> dict[str, str]:
        """The pods that run now."""
        return {
            one["metadata"]["name"]: one["metadata"]["uid"]
            for one in self.kube.items("pods", f"moldau.dev/cluster={CLUSTER}")
        }


@pytest.fixture(scope="session")
def made(kube: Kube) -> Demo:
    """The cluster with a topic, made once; how long it took is printed and held to its promise."""
    demo = Demo(kube)
    demo.put()
    kube.put("Topic", "orders", cluster=CLUSTER, partitions=6, replicas=3)
    took = demo.ready(60)
    say(f"apply to Ready of three nodes: {took:.1f} s (promised: 60 s)")
    kube.ready("topic", "orders", 30)
    return demo


@pytest.fixture
def demo(made: Demo) -> Iterator[Demo]:
    """The cluster as declared, before and after."""
    made.ready()
    yield made
    made.put()
    made.ready()


@pytest.fixture
def power() -> tuple[list[str], list[str]]:
    """Commands that cut a machine's power and give it back, with the machine's name as their last argument."""
    stop, start = (os.environ.get(f"MOLDAU_E2E_MACHINE_{what}", "") for what in ("STOP", "START"))
    if not stop or not start:
        pytest.skip("MOLDAU_E2E_MACHINE_STOP and _START name no commands")
    return shlex.split(stop), shlex.split(start)
