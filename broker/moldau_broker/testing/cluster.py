"""Real brokers in processes of their own, which can be killed, paused, wiped and added to.

    with ProcessCluster(3) as cluster:
        cluster.kill(1)
        cluster.start(1)
        node = cluster.add_node()
        producer = Producer({"bootstrap.servers": cluster.bootstrap})

Every process ends with the cluster, and with the test's process, however that ends. Serving in about a second.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from moldau_broker.base.ids import format_uuid, random_uuid
from moldau_broker.testing.node import HOST, NoAnswer, ProcessNode, dies_with_its_parent, free_ports
from moldau_broker.wire.messages.describe_quorum import DescribeQuorumResponsePartitionData

__all__ = ["HOST", "NoAnswer", "ProcessCluster", "ProcessNode", "free_ports"]

SERVE_S_MAX: Final = 60.0
STOP_S_MAX: Final = 60.0
POLL_S: Final = 0.01
COMBINED: Final = "broker,controller"
_LOG_TAIL: Final = 2_000


class ProcessCluster:
    """Some nodes of one cluster. A context manager; `start` and `close` are its two halves.

    Attributes:
        nodes: by id.
        folder: where their data and logs are.
        cluster_id: given to every node.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        folder: Path | str | None = None,
        settings: Mapping[str, str] | None = None,
        node_settings: Mapping[int, Mapping[str, str]] | None = None,
        roles: Sequence[str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Prepare nodes 1 to `size`; nothing runs before `start`.

        Args:
            size: how many; ignored where `roles` are given.
            folder: kept after `close`; a temporary one that is removed where it is None.
            settings: Kafka's setting names and values, for every node.
            node_settings: more of them for single nodes, by id.
            roles: process.roles of each node; without them each is broker and controller.
            python: the interpreter.
        """
        self._keeps_folder = folder is not None
        self.folder = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="moldau-cluster-"))
        self.cluster_id = format_uuid(random_uuid(random.SystemRandom()))
        self.settings = dict(settings or {})
        self.nodes: dict[int, ProcessNode] = {}
        self._python = python
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="cluster-starter")
        for node_id, role in enumerate(roles or [COMBINED] * size, 1):
            self._make(node_id, role, (node_settings or {}).get(node_id, {}))

    def _make(self, node_id: int, roles: str, settings: Mapping[str, str]) -> ProcessNode:
        node = ProcessNode(node_id, self.folder / f"node{node_id}", roles, settings)
        self.nodes[node_id] = node
        return node

    def node(self, node_id: int) -> ProcessNode:
        """A node by its id."""
        return self.nodes[node_id]

    @property
    def running(self) -> list[ProcessNode]:
        """The nodes that run and are not paused."""
        return [node for node in self.nodes.values() if node.running and not node.paused]

    @property
    def bootstrap(self) -> str:
        """`bootstrap.servers` for clients: every broker."""
        return ",".join(node.bootstrap for node in self.nodes.values() if node.is_broker)

    @property
    def controllers(self) -> str:
        """`controller.quorum.bootstrap.servers`: every controller."""
        return ",".join(node.controller_address for node in self.nodes.values() if node.is_controller)

    # --- life -----------------------------------------------------------------------------------------

    def start(self, *node_ids: int, wait: bool = True, within: float = SERVE_S_MAX) -> Self:
        """Start these nodes, or all that do not run, side by side; all serve when this returns unless `wait` is False.

        Raises:
            AssertionError: not all serve in time, or one has ended; the text has the end of its log.
        """
        chosen = node_ids or tuple(node.id for node in self.nodes.values() if not node.running)
        for node_id in chosen:
            self._spawn(self.nodes[node_id])
        if wait:
            self.wait_serving(within)
        return self

    def _spawn(self, node: ProcessNode) -> None:
        assert not node.running, f"node {node.id} runs already"
        settings = self.node_settings(node)
        flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with node.log_path.open("ab") as log:
            # By a thread that lives as long as the cluster: the kernel ends a child with the *thread* that started it.
            node.process = self._starter.submit(
                subprocess.Popen,
                [self._python, "-m", "moldau_broker.server", *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=node.log_path.parent,
                env=environment,
                preexec_fn=dies_with_its_parent(),
            ).result()
        node.paused = False

    def node_settings(self, node: ProcessNode) -> dict[str, str]:
        """All that a node is started with."""
        listeners = []
        if node.is_broker:
            listeners += [f"CLIENT://{node.bootstrap}", f"INTERNAL://{HOST}:{node.internal_port}"]
        if node.is_controller:
            listeners += [f"CONTROLLER://{node.controller_address}"]
        return {
            "node.id": str(node.id),
            "cluster.id": self.cluster_id,
            "process.roles": node.roles,
            "listeners": ",".join(listeners),
            "controller.quorum.bootstrap.servers": self.controllers,
            "log.dirs": str(node.data_dir),
            "http.host": HOST,
            "http.port": str(node.http_port),
            **self.settings,
            **node.settings,
        }

    def kill(self, *node_ids: int) -> None:
        """SIGKILL these, or all that run, at once."""
        nodes = self._chosen(node_ids)
        for node in nodes:
            self._process(node).kill()
        for node in nodes:
            self._process(node).wait(STOP_S_MAX)
            node.paused = False

    def stop(self, *node_ids: int, within: float = STOP_S_MAX) -> float:
        """SIGTERM these, or all that run, at once, and wait for their end; gives the seconds it took.

        Raises:
            subprocess.TimeoutExpired: one did not end in time; it goes on.
        """
        nodes = self._chosen(node_ids)
        begun = time.monotonic()
        for node in nodes:
            self._process(node).terminate()
        for node in nodes:
            self._process(node).wait(within)
        return time.monotonic() - begun

    def restart(self, *node_ids: int, within: float = SERVE_S_MAX) -> None:
        """Stop these in order, one after the other, and start each before the next."""
        for node_id in node_ids or tuple(self.nodes):
            self.stop(node_id)
            self.start(node_id, within=within)

    def pause(self, node_id: int) -> None:
        """SIGSTOP: alive for the kernel, silent for everybody."""
        self._process(self.nodes[node_id]).send_signal(signal.SIGSTOP)
        self.nodes[node_id].paused = True

    def resume(self, node_id: int) -> None:
        """SIGCONT."""
        self._process(self.nodes[node_id]).send_signal(signal.SIGCONT)
        self.nodes[node_id].paused = False

    def wipe(self, node_id: int) -> None:
        """Delete what a node that does not run has stored."""
        node = self.nodes[node_id]
        assert not node.running, f"node {node_id} runs"
        shutil.rmtree(node.data_dir, ignore_errors=True)

    def add_node(
        self,
        node_id: int | None = None,
        *,
        roles: str = COMBINED,
        settings: Mapping[str, str] | None = None,
        start: bool = True,
        wait: bool = True,
        within: float = SERVE_S_MAX,
    ) -> ProcessNode:
        """One more node, with the next free id where none is given."""
        chosen = max(self.nodes, default=0) + 1 if node_id is None else node_id
        assert chosen not in self.nodes, f"there is a node {chosen}"
        node = self._make(chosen, roles, settings or {})
        if start:
            self.start(chosen, wait=wait, within=within)
        return node

    def close(self) -> None:
        """End every process at once, and remove the folder where it is ours. Harmless when repeated."""
        try:
            self.kill()
        finally:
            self._starter.shutdown()
            if not self._keeps_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chosen(self, node_ids: Iterable[int]) -> list[ProcessNode]:
        chosen = [self.nodes[node_id] for node_id in node_ids]
        return chosen or [node for node in self.nodes.values() if node.running]

    @staticmethod
    def _process(node: ProcessNode) -> subprocess.Popen[bytes]:
        assert node.process is not None, f"node {node.id} was never started"
        return node.process

    # --- waiting --------------------------------------------------------------------------------------

    def wait_serving(self, within: float = SERVE_S_MAX) -> float:
        """Until every node that runs serves, and every broker tells clients of all others; gives the seconds it took.

        Raises:
            AssertionError: not in time, or one has ended.
        """
        return self.wait("all nodes serve and are unfenced", self._all_serve, within)

    def _all_serve(self) -> bool:
        for node in self.nodes.values():
            assert node.exit_code in (None, -signal.SIGKILL, 0), (
                f"node {node.id} ended with {node.exit_code}: {self.log_tail(node.id)}"
            )
        wanted = {node.id for node in self.running if node.is_broker}
        for node in self.running:
            if node.is_broker and not wanted <= node.broker_ids():
                return False
            if not node.is_broker and node.leader_id() < 0:
                return False
        return True

    def wait(self, what: str, condition: Callable[[], object], within: float = SERVE_S_MAX) -> float:
        """Until a condition holds; one that finds NoAnswer does not yet. Gives the seconds it took.

        Raises:
            AssertionError: it does not hold in time.
        """
        begun = time.monotonic()
        while True:
            try:
                said: object = condition()
            except NoAnswer as error:
                said = error
            if said and not isinstance(said, NoAnswer):
                return time.monotonic() - begun
            if time.monotonic() - begun > within:
                tails = "\n".join(f"node {node.id}: {self.log_tail(node.id)}" for node in self.nodes.values())
                raise AssertionError(f"not within {within:.0f} s: {what} ({said})\n{tails}")
            time.sleep(POLL_S)

    def log_tail(self, node_id: int) -> str:
        """The end of what a node has written."""
        with suppress(OSError):
            return self.nodes[node_id].log_path.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        return ""

    # --- asking ---------------------------------------------------------------------------------------

    def quorum(self) -> DescribeQuorumResponsePartitionData:
        """The metadata quorum, as the first node tells it that can.

        Raises:
            NoAnswer: no node can.
        """
        said = []
        for node in self.running:
            try:
                found = node.quorum()
            except NoAnswer as error:
                said.append(str(error))
                continue
            if found.leader_id >= 0:
                return found
        raise NoAnswer("; ".join(said) or "nobody leads")

    def controller(self) -> int:
        """The id of the active controller.

        Raises:
            NoAnswer: nobody leads.
        """
        return self.quorum().leader_id

    def voters(self) -> set[int]:
        """The ids of the quorum's voters.

        Raises:
            NoAnswer: nobody leads.
        """
        return {voter.replica_id for voter in self.quorum().current_voters}
