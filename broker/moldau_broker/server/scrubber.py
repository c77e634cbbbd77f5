"""Looks through logs for damage that nobody reads, slowly, for as long as the broker runs.

Theory of operation: a walk takes every log in turn, a stretch of each segment at a time, on the helper threads that
also warm cold reads; between two stretches it rests (`storage.scrub_pace`). Damage is what it is to a reader: the
replica goes offline, leads no more, and is begun anew once nobody counts on it (`replication.lost`). With one
difference, because nobody is waiting: a log goes on serving what is sound until another replica that is in sync can
take over. A partition of one replica has nobody to fetch from, so it is reported and left in service. So is the
quorum's own log, which has its turn among the others (`server.metadata_scrub`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from moldau_broker.server.metadata_scrub import METADATA, Listing, MetadataScrub
from moldau_broker.storage.scrub import FileCheck, SegmentCheck, next_check
from moldau_broker.storage.scrub_pace import STRETCH_BYTES, Key, Round, rest_ms

if TYPE_CHECKING:
    from random import Random

    from moldau_broker.base.clock import Clock
    from moldau_broker.base.data_config import LogSettings
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.readers import Readers
    from moldau_broker.server.turn import LoopTimers
    from moldau_broker.storage.errors import CorruptLog
    from moldau_broker.telemetry.exposition import Exposition

logger = logging.getLogger(__name__)

FIRST_REST_MS: Final = 60_000
"""A broker that has just started has better things to do."""

LOOK_MS: Final = 1_000
"""Between two looks at what waits: a walk that is not due yet, damage that nobody could take over from."""

LOGS_AT_ONCE: Final = 200
"""Logs without anything to look at that are passed over in one go."""


class Scrubber:
    """Owned by the event loop.

    Attributes:
        bytes_read: by all walks since start.
        found: damaged segments and snapshots found since start.
        walks: walks that have come to their end.
    """

    def __init__(
        self,
        node_id: int,
        replicas: ReplicaManager,
        readers: Readers,
        clock: Clock,
        timers: LoopTimers,
        settings: Callable[[], LogSettings],
        rng: Random,
        metadata: MetadataScrub | None = None,
    ) -> None:
        """`metadata` is the look at the quorum's folder; without it that is left out."""
        self._node_id = node_id
        self._replicas = replicas
        self._readers = readers
        self._clock = clock
        self._timers = timers
        self._settings = settings
        self._rng = rng
        self._metadata = metadata
        self._round: Round | None = None
        self._due_ms = 0
        self._check: FileCheck | Listing | None = None
        self._waiting: dict[Key, SegmentCheck] = {}
        self._looked = (0.0, 0.0)
        self._stopped = False
        self.bytes_read = 0
        self.found = 0
        self.walks = 0

    def start(self) -> None:
        """Begin, unless a rate of 0 says not to."""
        settings = self._settings()
        if settings.scrub_bytes_per_second > 0:
            first_ms = min(FIRST_REST_MS, settings.scrub_interval_ms)
            self._due_ms = self._clock.monotonic_ms() + first_ms
            self._timers.call_later(first_ms, self._turn)

    def stop(self) -> None:
        """No stretch begins any more."""
        self._stopped = True

    def emit(self, exposition: Exposition) -> None:
        """Show how far it got, and what it found."""
        exposition.add("moldau_log_scrubbed_bytes_total", self.bytes_read)
        exposition.add("moldau_log_damage_found_total", self.found)
        if self._metadata is not None:
            self._metadata.emit(exposition)

    def _turn(self) -> None:
        if self._stopped:
            return
        self._settle()
        check = self._check = self._next()
        if check is None:
            self._timers.call_later(LOOK_MS if self._round is None else 0, self._turn)
            return
        began = time.monotonic()
        stretch = partial(check.step, STRETCH_BYTES)
        self._readers.run(stretch, partial(self._stepped, check, check.position, began))

    def _next(self) -> FileCheck | Listing | None:
        """What to read now; None to ask again, at once while a walk is under way."""
        now_ms = self._clock.monotonic_ms()
        walk = self._round
        if walk is None:
            if now_ms < self._due_ms:
                return None
            keys = [(one.topic, one.index) for one in self._replicas.partitions()]
            if self._metadata is not None:
                keys.append(METADATA)
            walk = self._round = Round(keys, now_ms, self._rng.random() if self.walks == 0 else 0.0)
        if self._check is not None and not self._check.done and self._check.is_current:
            return self._check
        for _ in range(LOGS_AT_ONCE):
            if walk.key is None:
                self._round = None
                self._due_ms = walk.next_round_ms(self._settings().scrub_interval_ms)
                self.walks += 1
                return None
            if walk.key == METADATA and self._metadata is not None:
                check = self._metadata.next_check(walk)
            else:
                check = self._next_of_partition(walk, walk.key)
            if check is not None:
                return check
            walk.next_log()
        return None

    def _next_of_partition(self, walk: Round, key: Key) -> SegmentCheck | None:
        partition = self._replicas.partition(*key)
        if partition is None or partition.offline_reason is not None or key in self._waiting:
            return None
        if walk.up_to is None:
            walk.up_to = partition.log.log_end_offset
        check = next_check(partition.log, walk.after, walk.up_to)
        if check is not None:
            walk.after = check.segment.base_offset
        return check

    def _stepped(self, check: FileCheck | Listing, position: int, began: float) -> None:
        if self._stopped:
            return
        size = check.position - position
        self.bytes_read += size
        if isinstance(check, SegmentCheck) and (check.log.topic, check.log.partition) != METADATA:
            if check.damage is not None and check.is_current:
                self._found(check, check.damage)
        elif self._metadata is not None:
            self.found += self._metadata.stepped(check)
        now = time.monotonic()
        rest = rest_ms(
            size, (now - began) * 1000, self._busy_share(now), self._settings().scrub_bytes_per_second
        )
        self._timers.call_later(rest, self._turn)

    def _busy_share(self, now: float) -> float:
        """CPU time of this thread by elapsed time, since the last call."""
        cpu = time.thread_time()
        (then, cpu_then), self._looked = self._looked, (now, cpu)
        return (cpu - cpu_then) / (now - then) if then and now > then else 0.0

    # --- damage ---------------------------------------------------------------------------------------

    def _found(self, check: SegmentCheck, damage: CorruptLog) -> None:
        log = check.log
        self.found += 1
        partition = self._replicas.partition(log.topic, log.partition)
        if partition is None or partition.log is not log:
            return
        if not partition.replicated:
            outcome = "no other replica has the same: left in service, clients check what they read"
        elif self._others_in_sync(partition):
            outcome = "out of service, to be fetched again"
        else:
            outcome = "left in service until another replica is in sync"
        logger.error(
            "log.damage_found",
            extra={
                "topic": log.topic,
                "partition": log.partition,
                "offset": damage.offset,
                "reason": str(damage),
                "outcome": outcome,
            },
        )
        if partition.replicated:
            self._waiting[(log.topic, log.partition)] = check
            self._settle()

    def _settle(self) -> None:
        """Take damaged logs out of service whose partition others can serve."""
        for key, check in list(self._waiting.items()):
            partition = self._replicas.partition(*key)
            if partition is None or partition.log is not check.log or not check.is_current:
                del self._waiting[key]  # deleted, begun anew, or retention has come to the same end
            elif self._others_in_sync(partition):
                del self._waiting[key]
                damage = check.damage
                assert damage is not None, "only damaged logs wait"
                # A note for restarts is written first, which waits for the disk.
                self._readers.run(partial(check.log.fail, damage), partial(self._failed, partition, damage))

    def _failed(self, partition: Partition, damage: CorruptLog) -> None:
        if self._replicas.partition(partition.topic, partition.index) is partition:
            partition.go_offline(str(damage))
            self._replicas.look_again(partition.topic)  # nobody may have counted on it, and no image come

    def _others_in_sync(self, partition: Partition) -> bool:
        return any(replica != self._node_id for replica in partition.isr)
