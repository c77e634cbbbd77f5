"""What runs the nodes: child processes, or Kubernetes. Pure values and one Protocol.

A platform keeps what it was given running by itself (a crashed node is started again without being asked,
as a kubelet does); the reconciler only decides what should run and when a running node may be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from moldau_operator.resources.conditions import Condition


class NodeState(StrEnum):
    """A node's state as its users see it."""

    STARTING = "starting"
    RECOVERING = "recovering"
    SERVING = "serving"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What one node should run with.

    Attributes:
        settings: broker settings that follow from the resource; the platform adds addresses and folders.
        revision: names the settings that a running node cannot change; one that runs another revision is out of
            date.
    """

    node_id: int
    pool: str
    roles: frozenset[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """Nodes that are kept alike: one StatefulSet, or a few processes."""

    name: str
    nodes: tuple[NodeSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedNode:
    """One node as it is.

    Attributes:
        wanted: the revision the platform was last told to run (from `EnsurePool`).
        running: the revision of what runs, None when nothing does.
        settings: what it was last told to run with, so that a plan can name the difference.
        started_with: the settings the running process was started with; empty when nothing runs.
        roles: what it was last told to be.
        kafka, http: host:port for clients and probes.
        restarts: how often it was started again since the platform took it over.
        message: why it is not serving, in words.
        hopeless: it failed so often without ever serving that trying again will not help.
        volume_problem: what of the declared storage its volume will not get, in words.
        drift: how what the platform keeps for its pool differs from what it would make now, in words.
        restart_for: what a restart would change, in words, where the platform knows better than the settings tell.
    """

    node_id: int
    pool: str
    wanted: str
    running: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    started_with: Mapping[str, str] = field(default_factory=dict)
    roles: frozenset[str] = frozenset()
    state: NodeState = NodeState.DOWN
    pid: int | None = None
    kafka: str = ""
    http: str = ""
    restarts: int = 0
    message: str = ""
    hopeless: bool = False
    volume_problem: str = ""
    drift: str = ""
    restart_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLimits:
    """What this platform cannot do, so that a plan can refuse in words instead of failing half-way.

    Attributes:
        nodes_max: most nodes of one cluster; `nodes_reason` says why.
    """

    nodes_max: int
    nodes_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsurePool:
    """Make the platform run this pool; running nodes are not touched, a node that is down starts anew.

    Attributes:
        controllers: ids of all controllers of the cluster, in every pool, in the order in which nodes ask them
            for the quorum; the first founds it.
    """

    pool: PoolSpec
    reason: str
    controllers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"set up pool {self.pool.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartNode:
    """Stop a running node in good order and run what its pool says now."""

    node_id: int
    reason: str

    def __str__(self) -> str:
        return f"restart node {self.node_id}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireNode:
    """Stop a node for good, in good order, and remove its data: whoever asks has moved everything off it."""

    node_id: int
    reason: str

    def __str__(self) -> str:
        return f"remove node {self.node_id}: {self.reason}"


PlatformAction = EnsurePool | RestartNode | RetireNode


class Platform(Protocol):
    """Runs nodes. Implementations: `adapters.processes`, `adapters.kube`."""

    @property
    def limits(self) -> PlatformLimits:
        """What it cannot do."""
        ...

    @property
    def remarks(self) -> tuple[Condition, ...]:
        """What people should know of the ground a cluster stands on, as conditions of its Cluster."""
        ...

    async def volumes(self) -> Mapping[int, str]:
        """The nodes that have data, whether they run or not, and the id of the cluster it belongs to.

        Raises:
            PlatformError: it cannot be asked.
        """
        ...

    async def observe(self) -> tuple[ObservedNode, ...]:
        """Every node it was told to run, by id.

        Raises:
            PlatformError: it cannot be asked.
        """
        ...

    async def apply(self, action: PlatformAction) -> None:
        """Carry out one action; returns when it is accepted, not when the node serves.

        Raises:
            PlatformError: it cannot be done.
        """
        ...
