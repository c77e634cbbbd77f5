"""What the coordinator needs of the rest of the broker. Protocols only."""

from __future__ import annotations

from typing import Protocol

from moldau_broker.base.deferred import Deferred
from moldau_broker.replication.outcome import AppendOutcome


class Replica(Protocol):
    """The part of `replication.partition.Partition` that the coordinator looks at."""

    is_leader: bool
    offline_reason: str | None
    high_watermark: int


class Replicas(Protocol):
    """The part of `replication.manager.ReplicaManager` that the coordinator uses."""

    def partition(self, topic: str, index: int) -> Replica | None:
        """The hosted replica, or None."""
        ...

    def append_internal(self, topic: str, index: int, batch: bytearray) -> Deferred[AppendOutcome]:
        """Append one batch and tell when it is committed."""
        ...


class TimerHandle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Do not fire."""
        ...
