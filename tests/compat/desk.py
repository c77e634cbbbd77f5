"""A person's desk: a data root of its own, a YAML file to edit, the command line, and real clients."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from moldau_operator.adapters.ports import HOST, choose_ports

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
PATIENCE_S = 60.0
"""For what takes a second or ten when the machine has nothing else to do."""


class Desk:
    """A data root of its own, a YAML file to edit, and the command line."""

    def __init__(self, folder: Path, port: int, nodes: int = 1) -> None:
        self.file = folder / "cluster.yaml"
        self.root = folder / "data"
        self.folder = self.root / "moldau" / "demo"
        self.port = port
        self.environment = {**os.environ, "XDG_DATA_HOME": str(self.root), "TERM": "xterm", "COLUMNS": "120"}
        self.write(list(yaml.safe_load_all(QUICKSTART.read_text())))
        self.scale(nodes)

    def scale(self, nodes: int) -> None:
        """Make it so many nodes, with as many replicas of everything as that allows."""
        replicas = min(nodes, 3)
        config = self.documents[0]["spec"]["config"] | {
            "default.replication.factor": replicas,
            "min.insync.replicas": max(replicas - 1, 1),
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 4,
        }
        self.edit("demo", replicas=nodes, config=config)
        for topic in ("orders", "payments"):
            self.edit(topic, replicas=replicas)

    def write(self, documents: list[dict[str, Any]]) -> None:
        """Make these the file's resources."""
        self.documents = documents
        self.file.write_text(yaml.safe_dump_all(documents))

    def edit(self, name: str, **spec: Any) -> None:
        """Change fields of a resource's spec; None removes one."""
        (document,) = [one for one in self.documents if one["metadata"]["name"] == name]
        document["spec"].update(spec)
        document["spec"] = {key: value for key, value in document["spec"].items() if value is not None}
        self.write(self.documents)

    def moldau(self, *arguments: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run the command to its end. Its pipes are ours: what inherits one keeps us waiting."""
        return subprocess.run(
            [sys.executable, "-m", "moldau_cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            check=False,
        )

    def up(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`moldau up --detach`, ending as expected."""
        port = () if self.folder.exists() else ("--port", str(self.port))
        done = self.moldau("up", "-f", str(self.file), "--detach", *port, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def status(self, *arguments: str) -> dict[str, Any]:
        """`moldau status -o json`."""
        done = self.moldau("status", "-o", "json", *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def node(self) -> dict[str, Any]:
        node: dict[str, Any] = self.status()["nodes"][0]
        return node

    def topic(self, name: str) -> dict[str, Any]:
        """A topic as `moldau status -o json` has always shown it."""
        found: dict[str, Any] = next(one for one in self.status()["topics"] if one["name"] == name)
        return {field: found[field] for field in ("name", "partitions", "replicas", "state")}

    def group(self) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.status()["groups"] if one["id"] == "billing")
        return found

    def kept(self) -> str:
        """What the instance remembers of its resources, conditions included."""
        return (self.folder / "memory.json").read_text()

    def keeper(self) -> int:
        """The process that looks after the instance."""
        return int((self.folder / "lock").read_text())

    @contextmanager
    def asleep(self, node: int) -> Iterator[str]:
        """A node under SIGSTOP, fenced by now; gives `bootstrap.servers` of the others.

        Its keeper sleeps too: that one would end it after 20 s, which is not what is tried.
        """
        nodes, keeper = self.status()["nodes"], self.keeper()
        sleeper = int(nodes[node]["pid"])
        others = ",".join(one["kafka"] for one in nodes if one["id"] != node)
        admin = AdminClient({"bootstrap.servers": others})
        for pid in (keeper, sleeper):
            os.kill(pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while node in admin.list_topics(timeout=10).brokers:
                assert time.monotonic() < deadline, f"node {node} is not fenced"
                time.sleep(0.1)
            yield others
        finally:
            for pid in (sleeper, keeper):
                os.kill(pid, signal.SIGCONT)

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.status()["bootstrap"]})

    def setting(self, topic: str, name: str) -> str:
        """A topic setting as a client sees it."""
        resource, admin = ConfigResource(ResourceType.TOPIC, topic), self.admin()
        return str(admin.describe_configs([resource])[resource].result(10)[name].value)

    def set(self, topic: str, name: str, value: str) -> None:
        """Change a topic setting behind the resource."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource, admin = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]), self.admin()
        admin.incremental_alter_configs([resource])[resource].result(10)

    def produce(self, topic: str, count: int) -> None:
        producer = Producer({"bootstrap.servers": self.status()["bootstrap"], "acks": "all"})
        for number in range(count):
            producer.produce(topic, f"record {number}", partition=0)
        assert producer.flush(20) == 0

    def fill(self, topic: str, megabytes: int) -> None:
        """So much into partition 0."""
        producer = Producer({"bootstrap.servers": self.status()["bootstrap"], "acks": "all"})
        for _ in range(megabytes * 10):
            producer.produce(topic, b"x" * 100_000, partition=0)
        assert producer.flush(60) == 0

    def consumer(self, bootstrap: str) -> Consumer:
        return Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "billing", "auto.offset.reset": "earliest"}
        )

    def consume(self, count: int) -> None:
        """Read as group billing, commit, leave."""
        consumer = self.consumer(self.status()["bootstrap"])
        consumer.subscribe(["orders"])
        seen = sum(1 for message in consumer.consume(count, timeout=20) if message.error() is None)
        assert seen == count
        consumer.commit(asynchronous=False)
        consumer.close()

    def eventually(self, check: Callable[[], bool], what: str) -> None:
        """Poll until `check` holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not check():
            assert time.monotonic() < deadline, f"{what}: {self.moldau('status').stdout}"
            time.sleep(0.1)


def quiet_port() -> int:
    """A first port where a node, and two beside it, find their usual ports free; nobody else is given it.

    Below those of `free_ports`. A datagram socket at its number, which no broker wants, keeps it for this process.
    """
    choices = list(range(12_000, 14_700, 13))
    random.SystemRandom().shuffle(choices)
    for first in choices:
        nodes = (choose_ports(port, HOST, ()) for port in (first, first + 1, first + 2))
        if all(not node.skipped and node.ports.http == node.ports.kafka - 1000 for node in nodes):
            with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
                holder.bind((HOST, first))
                holder.detach()
                return first
    raise AssertionError("every port is taken")


@contextmanager
def at_a_desk(folder: Path, nodes: int = 1) -> Iterator[Desk]:
    """A desk; whatever runs at the end is stopped, also where not all of it came up."""
    desk = Desk(folder, quiet_port(), nodes)
    try:
        yield desk
    finally:
        for instance in desk.root.glob("moldau/*/instance.json"):
            done = desk.moldau("down", "--data-dir", str(instance.parent), timeout=60)
            assert done.returncode == 0, done.stderr


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)
