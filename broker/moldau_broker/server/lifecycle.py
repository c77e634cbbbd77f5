"""What the node is doing, as probes and people see it. No I/O here.

```
STARTING -> RECOVERING -> SERVING -> DRAINING
    \\___________\\____________\\______/
```
Every state may go straight to DRAINING (asked to stop), and nothing leads back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class NodeState(Enum):
    """The states of `/readyz`; only SERVING is ready."""

    STARTING = "starting"
    RECOVERING = "recovering"
    SERVING = "serving"
    DRAINING = "draining"


TRANSITIONS: Final[Mapping[NodeState, frozenset[NodeState]]] = {
    NodeState.STARTING: frozenset({NodeState.RECOVERING, NodeState.SERVING, NodeState.DRAINING}),
    NodeState.RECOVERING: frozenset({NodeState.SERVING, NodeState.DRAINING}),
    NodeState.SERVING: frozenset({NodeState.DRAINING}),
    NodeState.DRAINING: frozenset(),
}


class Lifecycle:
    """The node's state, and how far recovery has come."""

    __slots__ = ("impediment", "recovery", "state")

    def __init__(self) -> None:
        self.state = NodeState.STARTING
        self.recovery: Mapping[str, object] = MappingProxyType({})
        self.impediment: Callable[[], str | None] = lambda: None

    def become(self, state: NodeState) -> None:
        """Change the state; staying in it is allowed."""
        if state is not self.state:
            assert state in TRANSITIONS[self.state], f"{self.state.value} does not lead to {state.value}"
            self.state = state

    @property
    def ready(self) -> bool:
        """Whether clients are served, and nothing stands in the way of doing it well."""
        return self.state is NodeState.SERVING and self.impediment() is None

    def health(self) -> dict[str, object]:
        """What `/readyz` shows: `state`, `ready`, and `recovery` while there is something to say of it."""
        health: dict[str, object] = {"state": self.state.value, "ready": self.ready}
        if self.recovery:
            health["recovery"] = dict(self.recovery)
        impediment = self.impediment()
        if impediment is not None:
            health["reason"] = impediment
        return health
