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
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_broker.base.properties import format_properties, parse_properties
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
from moldau_operator.resources.conditions import Condition
from moldau_operator.seams.platform import (
    EnsurePool,
    NodeSpec,
    ObservedNode,
    PlatformAction,
    PlatformLimits,
    RestartNode,
    RetireNode,
)

BROKER_COMMAND: Final = (sys.executable, "-P", "-m", "moldau_broker.server")
"""-P keeps the node's folder off the module path."""

LIMITS: Final = PlatformLimits(
    nodes_max=16, nodes_reason="more than 16 nodes of about 80 MB each on one machine show nothing new"
)

ORPHAN_STOP_S: Final = 30.0
_ENVIRONMENT_PREFIX: Final = "MOLDAU_"


META_PROPERTIES: Final = "meta.properties"
"""Kafka's name card of a log directory; a folder without it was never formatted."""


@dataclass(slots=True)
class _Node:
    spec: NodeSpec
    ports: NodePorts
    process: SupervisedProcess
    running: str | None = None
    started_with: Mapping[str, str] = field(default_factory=dict)


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
        self._ports: dict[int, NodePorts] = {}
        self._controllers: tuple[int, ...] = ()
        self._retiring: dict[int, asyncio.Task[None]] = {}

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

    @property
    def remarks(self) -> tuple[Condition, ...]:
        """Nothing: what listens here is reached from this machine alone."""
        return ()

    async def volumes(self) -> Mapping[int, str]:
        """The nodes that have data, and the id of the cluster it belongs to; nodes being removed are left out."""
        return self._volumes()

    def _volumes(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for path in self._folder.glob(f"nodes/*/data/{META_PROPERTIES}"):
            name = path.parent.parent.name
            if name.isdigit() and int(name) not in self._retiring:
                with suppress(OSError, ValueError, KeyError):  # damaged: its node will say so
                    found[int(name)] = parse_properties(path.read_text(encoding="utf-8"))["cluster.id"]
        return found

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
            started_with=node.started_with if node.process.pid is not None else {},
            roles=node.spec.roles,
            state=life.state,
            pid=node.process.pid,
            kafka=f"{HOST}:{node.ports.kafka}",
            http=f"{HOST}:{node.ports.http}",
            restarts=life.restarts,
            message=life.message,
            hopeless=life.hopeless,
        )

    async def apply(self, action: PlatformAction) -> None:
        """Carry out one action.

        Raises:
            PlatformError: no port is free, or a folder cannot be written.
        """
        try:
            match action:
                case EnsurePool():
                    self._ensure_pool(action)
                case RestartNode():
                    self._nodes[action.node_id].process.restart()
                case RetireNode():
                    self._retire(action.node_id)
        except OSError as error:
            raise PlatformError(
                f"{error.filename or self._folder}: {error.strerror}; free it, or use --data-dir"
            ) from error

    def _ensure_pool(self, action: EnsurePool) -> None:
        """Every address is chosen before anybody starts: each node is told where all controllers will be."""
        ids = [spec.node_id for spec in action.pool.nodes]
        leaving = self._retiring.keys() & {*ids, *action.controllers}
        if leaving:
            raise PlatformError(f"node {min(leaving)} is still being removed; it comes back in a moment")
        self._controllers = action.controllers
        for node_id in sorted({*ids, *action.controllers}):
            if node_id not in self._ports:
                folder = self._node_folder(node_id)
                (folder / "data").mkdir(parents=True, exist_ok=True)
                self._ports[node_id] = self._choose_ports(node_id, folder / "ports.json")
        for spec in action.pool.nodes:
            self._ensure(spec)

    def _retire(self, node_id: int) -> None:
        node = self._nodes[node_id]
        if node_id not in self._retiring:
            self._retiring[node_id] = asyncio.get_running_loop().create_task(self._remove(node_id, node))

    async def _remove(self, node_id: int, node: _Node) -> None:
        """Stop the node and remove its folder; first its name card, so that half a folder counts as none."""
        await node.process.stop()
        folder = self._node_folder(node_id)
        try:
            (folder / "data" / META_PROPERTIES).unlink(missing_ok=True)
            await asyncio.to_thread(shutil.rmtree, folder)
        except OSError as error:
            self._on_notice(f"node {node_id} is gone, but {error.filename or folder} stays: {error.strerror}")
        self._controllers = tuple(one for one in self._controllers if one != node_id)
        del self._nodes[node_id], self._ports[node_id], self._retiring[node_id]
        self._on_change()

    def _ensure(self, spec: NodeSpec) -> None:
        node = self._nodes.get(spec.node_id)
        if node is None:
            folder, ports = self._node_folder(spec.node_id), self._ports[spec.node_id]
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
        (self._node_folder(node_id) / "data").mkdir(parents=True, exist_ok=True)  # a lost disk is refilled
        self._render(node)
        node.running, node.started_with = node.spec.revision, node.spec.settings

    def _render(self, node: _Node) -> None:
        text = format_properties(self._settings(node))
        heading = "# Written by `moldau up` at every start; edit the YAML instead.\n"
        write_text(self._node_folder(node.spec.node_id) / "server.properties", heading + text)

    def _settings(self, node: _Node) -> Mapping[str, str]:
        ports = node.ports
        controllers = ",".join(f"{HOST}:{self._ports[one].controller}" for one in self._controllers)
        settings = dict(node.spec.settings)
        if len(self._nodes) == 1 and node.running is not None and not self._volumes():
            # The only copy is lost: what begins now is another cluster, and must not pass for the old one.
            settings.pop("cluster.id", None)
        listeners = f"CLIENT://{HOST}:{ports.kafka},INTERNAL://{HOST}:{ports.internal},CONTROLLER://{HOST}:{ports.controller}"
        return {
            "telemetry.log.format": "human",
            **settings,
            **({"controller.quorum.bootstrap.servers": controllers} if controllers else {}),
            "listeners": listeners,
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._node_folder(node.spec.node_id) / "data"),
            "http.host": HOST,
            "http.port": str(ports.http),
        }

    def _choose_ports(self, node_id: int, path: Path) -> NodePorts:
        """The ports the node had before if it can have them again, else the next free ones."""
        reserved = {port for ports in self._ports.values() for port in ports.all}
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
        await asyncio.gather(*self._retiring.values())

    def kill(self) -> None:
        """Do not wait for good order any longer."""
        for node in self._nodes.values():
            node.process.kill()
