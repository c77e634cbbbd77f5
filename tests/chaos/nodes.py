"""Real brokers as child processes, ours or Apache Kafka's, which can be killed, paused and looked at.

Every node runs in a folder of its own, and dies with the process that started it. Whatever the cluster looks like is
asked from the brokers themselves by the protocol, so that both kinds are treated alike.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.network import Network

from moldau_broker.testing.node import free_ports, ports_in_a_row
from moldau_broker.testing.raw import ConnectionClosed, RawClient
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData,
    DescribeQuorumResponsePartitionData,
)
from moldau_broker.wire.messages.find_coordinator import FindCoordinatorRequest
from moldau_broker.wire.messages.metadata import MetadataRequest, MetadataResponsePartition

ASK_S: Final = 2.0
"""How long one question to one broker may take; a paused or cut one answers nothing."""


CLUSTER_ID: Final = "Y2hhb3MtY2x1c3Rlci0xIQ"


class NotNow(Exception):
    """Nobody could answer."""


@dataclass
class Node:
    """One broker process."""

    id: int
    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    controller_port: int = 0
    internal_port: int = 0
    http_port: int = 0
    command: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False
    starts: int = 0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "console.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass
class Cluster(ABC):
    """Some nodes. Starting and ending them is for the main thread: they die with the thread that started them."""

    folder: Path
    size: int = 3
    network: Network | None = None
    settings: dict[str, str] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)

    kind = ""
    session_timeout_s = 0.0
    """How long a broker may be silent before it is fenced."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the nodes, with empty folders."""

    @property
    def bootstrap(self) -> str:
        return ",".join(node.address for node in self.nodes.values())

    # --- processes ------------------------------------------------------------------------------------

    def start(self, node_id: int) -> None:
        """Start a node that does not run; does not wait for it."""
        node = self.nodes[node_id]
        assert not node.running, f"node {node_id} runs already"
        prefix = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        if self.network is not None:
            prefix += self.network.command(node_id)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        node.folder.mkdir(parents=True, exist_ok=True)
        with node.log.open("ab") as log:
            log.write(f"--- start {node.starts + 1} at {time.monotonic_ns()}\n".encode())
            log.flush()
            node.process = subprocess.Popen(
                [*prefix, *node.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=node.folder,
                env=environment,
            )
        node.starts += 1
        node.paused = False

    def start_all(self, within: float = 60.0) -> None:
        """Start everything and wait until every node knows every other."""
        for node_id in self.nodes:
            self.start(node_id)
        self.wait("every node knows all", lambda: self.all_know(self.size), within)

    def kill(self, *node_ids: int) -> None:
        """SIGKILL, all at once."""
        for node_id in node_ids:
            process = self.nodes[node_id].process
            assert process is not None
            process.kill()
        for node_id in node_ids:
            process = self.nodes[node_id].process
            assert process is not None
            process.wait(20)
            self.nodes[node_id].paused = False

    def terminate(self, node_id: int, within: float = 60.0) -> float:
        """SIGTERM and wait; gives the seconds it took."""
        process = self.nodes[node_id].process
        assert process is not None
        begun = time.monotonic()
        process.terminate()
        process.wait(within)
        return time.monotonic() - begun

    def pause(self, node_id: int) -> None:
        """SIGSTOP."""
        process = self.nodes[node_id].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        self.nodes[node_id].paused = True

    def resume(self, node_id: int) -> None:
        """SIGCONT."""
        process = self.nodes[node_id].process
        assert process is not None
        process.send_signal(signal.SIGCONT)
        self.nodes[node_id].paused = False

    def close(self) -> None:
        """End everything, at once."""
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait(20)

    def wipe(self, node_id: int) -> None:
        """Delete all that a node that does not run has stored."""
        assert not self.nodes[node_id].running
        shutil.rmtree(self.nodes[node_id].data)

    def dead(self) -> list[int]:
        """Nodes that ended by themselves or were ended."""
        return [node.id for node in self.nodes.values() if not node.running]

    # --- questions ------------------------------------------------------------------------------------

    def ask(self, node_id: int, api: ApiKey, version: int, request: Any) -> Any:
        """One question to one node.

        Raises:
            NotNow: it does not run or gives no answer.
        """
        node = self.nodes[node_id]
        if not node.running or node.paused:
            raise NotNow(f"node {node_id} does not run")
        try:
            with RawClient(node.host, node.port, timeout=ASK_S) as client:
                return client.call(api, version, request)
        except (OSError, ConnectionClosed) as error:
            raise NotNow(f"node {node_id}: {error!r}") from error

    def ask_any(self, api: ApiKey, version: int, request: Any, but: Iterable[int] = ()) -> Any:
        """The first answer that any node gives.

        Raises:
            NotNow: nobody answers.
        """
        said = []
        for node_id in self.nodes.keys() - set(but):
            try:
                return self.ask(node_id, api, version, request)
            except NotNow as error:
                said.append(str(error))
        raise NotNow("; ".join(said))

    def partitions(self, node_id: int) -> dict[str, MetadataResponsePartition]:
        """All partitions as one node sees them, by `topic-number`."""
        answer = self.ask(node_id, ApiKey.METADATA, 12, MetadataRequest(topics=None))
        return {
            f"{topic.name}-{partition.partition_index}": partition
            for topic in answer.topics
            for partition in topic.partitions
        }

    def leader(self, partition: str, but: Iterable[int] = ()) -> int:
        """Who leads, by the newest leader epoch that any node knows; -1: nobody.

        Raises:
            NotNow: nobody answers.
        """
        newest: MetadataResponsePartition | None = None
        for node_id in self.nodes.keys() - set(but):
            with suppress(NotNow):
                found = self.partitions(node_id).get(partition)
                if found is not None and (newest is None or found.leader_epoch > newest.leader_epoch):
                    newest = found
        if newest is None:
            raise NotNow(f"nobody knows {partition}")
        return newest.leader_id

    def quorum(self, but: Iterable[int] = ()) -> DescribeQuorumResponsePartitionData:
        """The metadata quorum.

        Raises:
            NotNow: nobody answers, or there is no leader.
        """
        topic = DescribeQuorumRequestTopicData(
            topic_name="__cluster_metadata",
            partitions=[DescribeQuorumRequestPartitionData(partition_index=0)],
        )
        said = []
        for node_id in self.nodes.keys() - set(but):
            try:
                answer = self.ask(node_id, ApiKey.DESCRIBE_QUORUM, 2, DescribeQuorumRequest(topics=[topic]))
            except NotNow as error:
                said.append(str(error))
                continue
            partitions = [partition for one in answer.topics for partition in one.partitions]
            if not answer.error_code and partitions and not partitions[0].error_code:
                return partitions[0]
            said.append(f"node {node_id}: error {answer.error_code or partitions}")
        raise NotNow("; ".join(said))

    def controller(self) -> int:
        """The active controller."""
        return self.quorum().leader_id

    def coordinator(self, group: str) -> int:
        """The group's coordinator."""
        request = FindCoordinatorRequest(key_type=0, coordinator_keys=[group])
        found = self.ask_any(ApiKey.FIND_COORDINATOR, 4, request).coordinators[0]
        if found.error_code:
            raise NotNow(f"no coordinator: {found}")
        return int(found.node_id)

    def all_know(self, count: int) -> bool:
        """Whether every running node names so many brokers."""
        request = MetadataRequest(topics=[])
        try:
            return all(
                len(self.ask(node.id, ApiKey.METADATA, 12, request).brokers) == count
                for node in self.nodes.values()
                if node.running
            )
        except NotNow:
            return False

    def in_sync(self, topics: Iterable[str]) -> bool:
        """Whether every node sees a leader and all replicas in sync, for every partition of these topics."""
        wanted = set(topics)
        try:
            for node_id in self.nodes:
                seen = set()
                for name, partition in self.partitions(node_id).items():
                    topic = name.rpartition("-")[0]
                    if topic not in wanted:
                        continue
                    seen.add(topic)
                    if partition.leader_id < 0 or len(partition.isr_nodes) != len(partition.replica_nodes):
                        return False
                if seen != wanted:
                    return False
        except NotNow:
            return False
        return True

    def wait(self, what: str, condition: Callable[[], bool], within: float = 60.0) -> float:
        """Wait until a condition holds; gives the seconds it took.

        Raises:
            AssertionError: it does not.
        """
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > within:
                raise AssertionError(f"not within {within:.0f} s: {what}")
            time.sleep(0.1)
        return time.monotonic() - begun


class Moldau(Cluster):
    """Our brokers, each broker and controller."""

    kind = "moldau"
    session_timeout_s = 6.0

    def prepare(self) -> None:
        for node_id in range(1, self.size + 1):
            folder = self.folder / f"node{node_id}"
            folder.mkdir(parents=True, exist_ok=True)
            host = self.network.address(node_id) if self.network else "127.0.0.1"
            ports = [9092, 9093, 9094, 9095] if self.network else free_ports(4)
            self.nodes[node_id] = Node(node_id, folder, host, *ports)
        for node in self.nodes.values():
            node.command = self.command(node)

    def command(self, node: Node) -> list[str]:
        """The command line of a node."""
        servers = ",".join(f"{one.host}:{one.controller_port}" for one in self.nodes.values())
        settings = {
            "node.id": str(node.id),
            "cluster.id": CLUSTER_ID,
            "process.roles": "broker,controller",
            "controller.quorum.bootstrap.servers": servers,
            "log.dirs": str(node.data),
            "listeners": (
                f"CLIENT://{node.host}:{node.port},INTERNAL://{node.host}:{node.internal_port},"
                f"CONTROLLER://{node.host}:{node.controller_port}"
            ),
            "http.port": str(node.http_port),
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "offsets.topic.num.partitions": "6",
            "group.initial.rebalance.delay.ms": "0",
            **self.settings,
        }
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        return [sys.executable, "-m", "moldau_broker.server", *sets]


class Kafka(Cluster):
    """Apache Kafka, by the launcher that MOLDAU_KAFKA_TOOLS names: the peer, and what the harness is tried on."""

    heap = "-Xmx512M -Xms512M"
    kind = "kafka"
    session_timeout_s = 9.0

    @property
    def launcher(self) -> str:
        return os.environ["MOLDAU_KAFKA_TOOLS"]

    def prepare(self) -> None:
        base = ports_in_a_row(self.size, twins=10_000)
        home = self.folder / "kafka"
        heap = ["--heap", self.heap, "--set", "offsets.topic.num.partitions=6"]
        sets = [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        command = [
            self.launcher,
            "up",
            "--brokers",
            str(self.size),
            "--replication",
            "3",
            "--port",
            str(base),
        ]
        command += ["--dir", str(home), "--prepare", *heap, *sets]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        cluster = json.loads((home / "cluster.json").read_text())
        for one in cluster["nodes"]:
            host = self.network.address(one["id"]) if self.network else one["host"]
            node = Node(
                one["id"], Path(one["dir"]), host, one["port"], one["port"] + 10_000, command=one["start"]
            )
            self.nodes[node.id] = node
        if self.network is not None:
            self._move(cluster["cluster_id"])

    def _move(self, cluster_id: str) -> None:
        """Let every node live at its own address: the settings anew, and the storage formatted anew."""
        voters = ",".join(
            f"{node.id}@{node.host}:{node.controller_port}:{'A' * 20}{node.id}w"
            for node in self.nodes.values()
        )
        for node in self.nodes.values():
            path = node.folder / "server.properties"
            text = path.read_text()
            for other in self.nodes.values():
                for port in (other.port, other.controller_port):
                    text = text.replace(f"127.0.0.1:{port}", f"{other.host}:{port}")
            path.write_text(text)
            shutil.rmtree(node.data)
            tool = [self.launcher, "run", "kafka-storage", "format", "--config", str(path)]
            tool += ["--cluster-id", cluster_id, "--initial-controllers", voters]
            subprocess.run(tool, check=True, stdout=subprocess.DEVNULL)


KINDS: Final[dict[str, type[Cluster]]] = {"moldau": Moldau, "kafka": Kafka}
