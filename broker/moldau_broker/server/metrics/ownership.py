"""Which series this broker tells: those of what it has led for a while, so that no two brokers tell the same.

A leadership moves at once, a page of metrics is up to a second old, and images reach brokers some milliseconds apart.
So whoever has begun to lead waits until every page of the leader before it is gone; a series is absent for that long
rather than doubled. A process that stood still (SIGSTOP, a frozen machine) may have lost what it still believes to
lead, and waits in the same way. Alone in its cluster a broker need not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from moldau_broker.base.topics import CONSUMER_OFFSETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from moldau_broker.base.clock import Clock
    from moldau_broker.metadata.publisher import MetadataPublisher
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.partition import Partition

SETTLE_MS: Final = 2_000
"""A page is served for a second, and takes some of another to make."""

LOOK_MS: Final = 500
_PAUSE_MS: Final = 1_500


class Controller(Protocol):
    """See `controller_channel.ControllerChannel`."""

    @property
    def is_active(self) -> bool:
        """Whether this node is the controller."""
        ...

    @property
    def leader_epoch(self) -> int:
        """The quorum's epoch."""
        ...


class Ownership:
    """See the module; owned by the event loop. Somebody has to call `look` every `LOOK_MS`."""

    __slots__ = (
        "_active_epoch",
        "_active_since_ms",
        "_awake_since_ms",
        "_clock",
        "_controller",
        "_is_forgotten",
        "_looked_ms",
        "_metadata",
        "_replicas",
    )

    def __init__(
        self,
        replicas: ReplicaManager,
        metadata: MetadataPublisher,
        controller: Controller,
        is_forgotten: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """`is_forgotten`: whether the controller may believe that this broker is dead."""
        self._replicas = replicas
        self._metadata = metadata
        self._controller = controller
        self._is_forgotten = is_forgotten
        self._clock = clock
        self._active_epoch = -1
        self._active_since_ms = 0
        self._looked_ms = self._awake_since_ms = clock.monotonic_ms()

    def look(self) -> None:
        """Note that the process runs, and whether this node is the controller."""
        now = self._clock.monotonic_ms()
        if now - self._looked_ms > _PAUSE_MS:
            self._awake_since_ms = now
        self._looked_ms = now
        if not self._controller.is_active:
            self._active_epoch = -1
        elif self._controller.leader_epoch != self._active_epoch:
            self._active_epoch = self._controller.leader_epoch
            self._active_since_ms = now

    def settled_ms(self) -> float:
        """Leaderships that began by then are old enough to be told, monotonic; below zero while none is."""
        self.look()
        if len(self._metadata.image.brokers) <= 1:
            return self._looked_ms
        if self._is_forgotten() or self._looked_ms - self._awake_since_ms < SETTLE_MS:
            return -1
        return self._looked_ms - SETTLE_MS

    def leads(self, partition: Partition) -> bool:
        """Whether this broker tells the partition's series."""
        return tells(partition, self.settled_ms())

    def coordinates(self, index: int) -> bool:
        """Whether it tells those of the groups in that partition of the offsets topic."""
        partition = self._replicas.partition(CONSUMER_OFFSETS, index)
        return partition is not None and self.leads(partition)

    def controls(self) -> bool:
        """Whether it tells those of the cluster."""
        settled_ms = self.settled_ms()
        return self._active_epoch >= 0 and self._active_since_ms <= settled_ms


def tells(partition: Partition, settled_ms: float) -> bool:
    """The same of many partitions, by what `settled_ms` said a moment ago."""
    return (
        partition.is_leader
        and partition.is_ready
        and not partition.is_cut_off
        and partition.led_since_ms <= settled_ms
    )
