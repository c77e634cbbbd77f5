"""The platform of child processes and folders: one broker process per node, below one instance folder.

nodes/<id>/data/              the broker's log directory
nodes/<id>/server.properties  rendered from the resource at every start
nodes/<id>/ports.json         the ports it was given, kept so that they stay the same
nodes/<id>/process.json       which process runs it, so that a survivor can be recognised
nodes/<id>/broker.log         what it wrote
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_broker.base.properties import format_properties
from moldau_operator.adapters.files import write_text
from moldau_operator.adapters.lifecycle import Patience, Phase
from moldau_operator.adapters.orphans import end, read_note, write_note
from moldau_operator.adapters.ports import (
    HOST,
    NodePorts,
    choose_ports,
    port_is_free,
    read_ports,
    write_ports,
)
from moldau_operator.adapters.supervision import ProcessSpec, SupervisedProcess
from moldau_operator.errors import PlatformError
from moldau_operator.seams.platform import (
    ClusterAction,
    EnsurePool,
    NodeSpec,
    ObservedNode,
    PlatformLimits,
)

BROKER_COMMAND: Final = (sys.executable, "-P", "-m", "moldau_broker.server")
"""-P keeps the node's folder off the module path."""

LIMITS: Final = PlatformLimits(nodes_max=1, nodes_reason="more than one node comes with replication")

ORPHAN_STOP_S: Final = 30.0
_ENVIRONMENT_PREFIX: Final = "MOLDAU_"


@dataclass(slots=True)
class _Node:
    spec: NodeSpec
    ports: NodePorts
    process: SupervisedProcess
    running: str | None = None


class ProcessPlatform:
    """Runs nodes as children of this process. Implements `Platform`.

    Args:
        folder: the instance's folder; must exist and be held by this process alone.
        first_port: the first client port wished for.
        on_change: called whenever a node's state, pid or message changed.
        on_notice: called with a line for people (a port that was taken).
        command: what runs a node; its properties file is appended.
    """

    def __init__(
        self,
        folder: Path,
        first_port: int,
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_notice: Callable[[str], None] = lambda _line: None,
        command: Sequence[str] = BROKER_COMMAND,
        patience: Patience | None = None,
    ) -> None:
        self._folder = folder
        self._first_port = first_port
        self._clock = clock
        self._on_change = on_change
        self._on_notice = on_notice
        self._command = tuple(command)
        self._patience = patience
        self._nodes: dict[int, _Node] = {}

    @property
    def limits(self) -> PlatformLimits:
        """What it cannot do."""
        return LIMITS

    async def end_orphans(self) -> list[int]:
        """End node processes that outlived an earlier supervisor; gives their pids."""
        notes = {path: read_note(path) for path in self._folder.glob("nodes/*/process.json")}
        ended = await asyncio.gather(
            *(end(note, ORPHAN_STOP_S) for note in notes.values() if note is not None)
        )
        for path in notes:
            write_note(path, None)
        pids = [note.pid for note in notes.values() if note is not None]
        return [pid for pid, was_alive in zip(pids, ended, strict=True) if was_alive]

    async def observe(self) -> tuple[ObservedNode, ...]:
        """Every node it was told to run since it was made, by id."""
        return self.nodes()

    def nodes(self) -> tuple[ObservedNode, ...]:
        """`observe`, for callers that cannot wait."""
        return tuple(self._observe(self._nodes[node_id]) for node_id in sorted(self._nodes))

    def _observe(self, node: _Node) -> ObservedNode:
        life = node.process.lifecycle
        return ObservedNode(
            node_id=node.spec.node_id,
            pool=node.spec.pool,
            wanted=node.spec.revision,
            running=node.running if node.process.pid is not None else None,
            settings=node.spec.settings,
            state=life.state,
            pid=node.process.pid,
            kafka=f"{HOST}:{node.ports.kafka}",
            http=f"{HOST}:{node.ports.http}",
            restarts=life.restarts,
            message=life.message,
            hopeless=life.hopeless,
        )

    async def apply(self, action: ClusterAction) -> None:
        """Carry out one action.

        Raises:
            PlatformError: no port is free, or a folder cannot be written.
        """
        try:
            if isinstance(action, EnsurePool):
                for spec in action.pool.nodes:
                    self._ensure(spec)
            else:
                self._nodes[action.node_id].process.restart()
        except OSError as error:
            raise PlatformError(
                f"{error.filename or self._folder}: {error.strerror}; free it, or use --data-dir"
            ) from error

    def _ensure(self, spec: NodeSpec) -> None:
        node = self._nodes.get(spec.node_id)
        if node is None:
            folder = self._node_folder(spec.node_id)
            (folder / "data").mkdir(parents=True, exist_ok=True)
            ports = self._ports(spec.node_id, folder / "ports.json")
            process = SupervisedProcess(
                ProcessSpec(
                    command=(*self._command, str(folder / "server.properties")),
                    folder=folder,
                    log=folder / "broker.log",
                    kafka=(HOST, ports.kafka),
                    http=(HOST, ports.http),
                    check=lambda: self._before_start(spec.node_id),
                ),
                self._clock,
                self._on_change,
                self._patience,
                {
                    name: value
                    for name, value in os.environ.items()
                    if not name.startswith(_ENVIRONMENT_PREFIX)
                },
            )
            node = self._nodes[spec.node_id] = _Node(spec=spec, ports=ports, process=process)
        node.spec = spec
        if node.process.lifecycle.phase is not Phase.RUNNING:
            node.process.start()

    def _before_start(self, node_id: int) -> None:
        """Called before each start: a start on a taken port would only fail less clearly."""
        node = self._nodes[node_id]
        for port in node.ports.all:
            if not port_is_free(HOST, port):
                raise PlatformError(f"port {port} is taken by another process; stop that one")
        self._render(node)
        node.running = node.spec.revision

    def _render(self, node: _Node) -> None:
        text = format_properties(self._settings(node))
        heading = "# Written by `moldau up` at every start; edit the YAML instead.\n"
        write_text(self._node_folder(node.spec.node_id) / "server.properties", heading + text)

    def _settings(self, node: _Node) -> Mapping[str, str]:
        ports = node.ports
        listeners = f"CLIENT://{HOST}:{ports.kafka},INTERNAL://{HOST}:{ports.internal},CONTROLLER://{HOST}:{ports.controller}"
        return {
            "telemetry.log.format": "human",
            **node.spec.settings,
            "listeners": listeners,
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._node_folder(node.spec.node_id) / "data"),
            "http.host": HOST,
            "http.port": str(ports.http),
        }

    def _ports(self, node_id: int, path: Path) -> NodePorts:
        """The ports the node had before if it can have them again, else the next free ones."""
        reserved = {port for node in self._nodes.values() for port in node.ports.all}
        kept = read_ports(path, self._first_port)
        if kept is not None and not any(
            port in reserved or not port_is_free(HOST, port) for port in kept.all
        ):
            return kept
        if kept is not None:
            taken = next(port for port in kept.all if port in reserved or not port_is_free(HOST, port))
            self._on_notice(f"node {node_id} had port {taken}, which is taken now")
        choice = choose_ports(self._first_port, HOST, reserved)
        if choice.skipped:
            skipped = ", ".join(map(str, choice.skipped[:5])) + (", ..." if len(choice.skipped) > 5 else "")
            word = "port" if len(choice.skipped) == 1 else "ports"
            self._on_notice(f"{word} {skipped} taken; node {node_id} listens on {choice.ports.kafka}")
        write_ports(path, self._first_port, choice.ports)
        return choice.ports

    def _node_folder(self, node_id: int) -> Path:
        return self._folder / "nodes" / str(node_id)

    def retry(self) -> None:
        """Start nodes that are down now, without waiting out their pauses: a person may have mended the cause."""
        for node in self._nodes.values():
            if node.process.lifecycle.phase is Phase.WAITING:
                node.process.start()

    async def stop(self) -> None:
        """Stop all nodes in good order."""
        await asyncio.gather(*(node.process.stop() for node in self._nodes.values()))

    def kill(self) -> None:
        """Do not wait for good order any longer."""
        for node in self._nodes.values():
            node.process.kill()
