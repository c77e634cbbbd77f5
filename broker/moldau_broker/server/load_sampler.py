"""Looks at the partitions led here every few seconds, so that their load is known when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.server.load_tracker import SAMPLE_INTERVAL_MS, Counters, Load, LoadTracker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moldau_broker.base.clock import Clock
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.turn import LoopTimers


class LoadSampler:
    """Feeds the tracker from the partitions' counters; owned by the event loop."""

    def __init__(self, replicas: ReplicaManager, clock: Clock, timers: LoopTimers) -> None:
        self._replicas = replicas
        self._clock = clock
        self._timers = timers
        self._tracker: LoadTracker[Partition] = LoadTracker()
        self._stopped = False

    def start(self) -> None:
        """Look now, and every few seconds from now on."""
        if not self._stopped:
            self._tracker.sample(self._clock.monotonic_ms(), self._counters())
            self._timers.call_later(SAMPLE_INTERVAL_MS, self.start)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True

    def loads(self) -> Iterator[tuple[Partition, Load]]:
        """The averages of every partition led here that has been looked at twice."""
        for partition in self._replicas.partitions():
            load = self._tracker.load(partition)
            if load is not None and partition.is_leader:
                yield partition, load

    def _counters(self) -> Iterator[tuple[Partition, Counters]]:
        for partition in self._replicas.partitions():
            if partition.is_leader:
                read = partition.bytes_out + partition.replica_bytes_out
                requests = partition.produces + partition.fetches + partition.replica_fetches
                yield partition, (partition.bytes_in, read, requests)
