"""Nodes as a dictionary, behind `Platform`; a status store and a clock to go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from moldau_operator.errors import PlatformError
from moldau_operator.resources.conditions import Condition
from moldau_operator.resources.meta import Key
from moldau_operator.seams.platform import (
    NodeState,
    ObservedNode,
    PlatformAction,
    PlatformLimits,
    RestartNode,
    RetireNode,
)
from moldau_operator.seams.status_store import Status


class FakePlatform:
    """Implements `Platform`: does at once what it is told.

    Attributes:
        by_id: the nodes; change them to change the world behind the reconciler.
        disks: the cluster's id on each node's disk.
        actions: what it was told, in order.
        refusal: while set, every action is refused with these words.
        stops: how often it was told to stop or kill its nodes.
    """

    def __init__(self, nodes_max: int = 1_000) -> None:
        self.limits = PlatformLimits(nodes_max=nodes_max, nodes_reason="this platform is small")
        self.by_id: dict[int, ObservedNode] = {}
        self.disks: dict[int, str] = {}
        self.stops: list[str] = []
        self.actions: list[PlatformAction] = []
        self.refusal = ""

    @property
    def remarks(self) -> tuple[Condition, ...]:
        """Nothing: what listens here is reached from this machine alone."""
        return ()

    async def volumes(self) -> Mapping[int, str]:
        """As the protocol."""
        return dict(self.disks)

    async def observe(self) -> tuple[ObservedNode, ...]:
        """As the protocol."""
        return self.nodes()

    def nodes(self) -> tuple[ObservedNode, ...]:
        """`observe`, for callers that cannot wait."""
        return tuple(self.by_id[node_id] for node_id in sorted(self.by_id))

    async def end_orphans(self) -> list[int]:
        """There are none."""
        return []

    def retry(self) -> None:
        """Nodes here do not wait."""

    async def stop(self) -> None:
        """Stop all nodes."""
        self.stops.append("stop")

    def kill(self) -> None:
        """Stop all nodes at once."""
        self.stops.append("kill")

    async def apply(self, action: PlatformAction) -> None:
        """As the protocol."""
        if self.refusal:
            raise PlatformError(self.refusal)
        self.actions.append(action)
        if isinstance(action, RetireNode):
            del self.by_id[action.node_id]
            self.disks.pop(action.node_id, None)
            return
        if isinstance(action, RestartNode):
            node = self.by_id[action.node_id]
            self.by_id[action.node_id] = replace(
                node, running=node.wanted, started_with=node.settings, state=NodeState.SERVING
            )
            return
        for spec in action.pool.nodes:
            before = self.by_id.get(spec.node_id)
            runs = before is not None and before.running
            self.by_id[spec.node_id] = ObservedNode(
                node_id=spec.node_id,
                pool=spec.pool,
                wanted=spec.revision,
                running=before.running if before is not None and runs else spec.revision,
                settings=spec.settings,
                started_with=before.started_with if before is not None and runs else spec.settings,
                roles=spec.roles,
                state=before.state if before is not None else NodeState.SERVING,
            )
            self.disks.setdefault(spec.node_id, spec.settings.get("cluster.id", ""))


class FakeStore:
    """Implements `StatusStore` in memory. `writes` counts the calls that kept something."""

    def __init__(self) -> None:
        self.statuses: dict[Key, Status] = {}
        self.writes = 0

    async def save(self, changed: Mapping[Key, Status]) -> None:
        """As the protocol."""
        self.writes += 1
        self.statuses.update(changed)

    async def forget(self, keys: frozenset[Key]) -> None:
        """As the protocol."""
        self.writes += 1
        for key in keys:
            self.statuses.pop(key, None)


class FakeClock:
    """Implements `Clock`; time moves when told to."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def wall_ms(self) -> int:
        """As the protocol."""
        return self.now_ms

    def monotonic_ms(self) -> int:
        """As the protocol."""
        return self.now_ms

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now_ms += milliseconds
