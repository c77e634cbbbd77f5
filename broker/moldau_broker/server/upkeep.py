"""What a broker does by the clock: flushes that nobody waits for, checkpoints, retention, purging, scrubbing.

Everything blocking goes to a helper thread, the group commit's for what is short; the loop only takes values and asks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from moldau_broker.server.metadata_scrub import METADATA, MetadataScrub
from moldau_broker.server.scrubber import Scrubber
from moldau_broker.storage.errors import StorageError

if TYPE_CHECKING:
    from random import Random

    from moldau_broker.server.broker import Broker
    from moldau_broker.server.config import BrokerConfig
    from moldau_broker.storage.group_commit import GroupCommit

logger = logging.getLogger(__name__)

FLUSH_CHECK_MS: Final = 1_000
PRODUCER_CHECK_MS: Final = 600_000
PURGE_CHECK_MS: Final = 5_000
REPLICA_CHECK_MS: Final = 250


class Upkeep:
    """The broker's periodic chores.

    Attributes:
        segments_deleted: segments that retention took away, since start.
        scrubber: looks for damage.
    """

    def __init__(self, broker: Broker, commit: GroupCommit, rng: Random) -> None:
        """Nothing is done before `start`; settings are read anew each time."""
        self._log_dir = broker.log_dir
        self._replicas = broker.replicas
        self._commit = commit
        self._clock = broker.clock
        self._timers = broker.timers
        self._settings: Callable[[], BrokerConfig] = lambda: broker.settings
        self._stopped = False
        self._checkpoint_wanted = False
        self.segments_deleted = 0
        logs = broker.log_dir.logs
        self.scrubber = Scrubber(
            broker.node_id,
            broker.replicas,
            broker.readers,
            broker.clock,
            broker.timers,
            lambda: broker.settings.log,
            rng,
            MetadataScrub(
                broker.log_dir.disk, lambda: logs.get(METADATA), broker.clock, broker.metadata_damage
            ),
        )

    def start(self) -> None:
        """Begin; every chore then sets its own next time."""
        self._log_dir.on_flush_due = self._commit.flush_later
        self._every(lambda: FLUSH_CHECK_MS, self._flush_old_writes)
        self._every(lambda: self._settings().log.high_watermark_checkpoint_interval_ms, self.checkpoint)
        self._every(lambda: self._settings().log.retention_check_interval_ms, self._retain)
        self._every(lambda: PRODUCER_CHECK_MS, self._expire_producers)
        self._every(lambda: PURGE_CHECK_MS, self._purge)
        self._every(lambda: REPLICA_CHECK_MS, self._replicas.tick)
        self.scrubber.start()

    def stop(self) -> None:
        """No chore begins any more."""
        self._stopped = True
        self.scrubber.stop()

    def _every(self, interval_ms: Callable[[], float], chore: Callable[[], None]) -> None:
        def run() -> None:
            if not self._stopped:
                chore()
                self._timers.call_later(max(100, interval_ms()), run)

        self._timers.call_later(max(100, interval_ms()), run)

    def _flush_old_writes(self) -> None:
        """Keep what a crash would have to re-read within the bounds of bytes and time, and the topic's own."""
        bounds = self._settings().log
        now = self._clock.wall_ms()
        for partition in self._replicas.partitions():
            log = partition.log
            oldest = now - min(bounds.recovery_ms_max, log.config.flush_ms)
            if (
                0 <= log.unsynced_since_ms < oldest
                or log.unsynced_bytes > bounds.recovery_bytes_max
                or log.log_end_offset - log.durable_offset >= log.config.flush_messages
            ):
                self._commit.flush_later(log)

    def checkpoint(self) -> None:
        """Write recovery points, log starts and high watermarks down."""
        collected = self._log_dir.collect()
        self._commit.run(lambda: self._log_dir.checkpoint(collected), self._told("checkpoint.failed"))

    def _retain(self) -> None:
        now = self._clock.wall_ms()
        for partition in self._replicas.partitions():
            try:
                deleted = partition.log.enforce_retention(now)
            except StorageError as error:
                partition.go_offline(str(error))
                continue
            for deletion in deleted:
                self.segments_deleted += 1
                logger.info(
                    "log.segment_deleted",
                    extra={
                        "topic": partition.topic,
                        "partition": partition.index,
                        "base_offset": deletion.base_offset,
                        "bytes": deletion.size,
                        "reason": deletion.reason.value,
                    },
                )

    def _expire_producers(self) -> None:
        now = self._clock.wall_ms()
        for partition in self._replicas.partitions():
            partition.log.producers.expire(now, self._settings().log.producer_id_expiration_ms)

    def _purge(self) -> None:
        now = self._clock.wall_ms()
        self._commit.run(lambda: self._log_dir.purge(now), self._told("purge.failed"))

    def _told(self, event: str) -> Callable[[StorageError | None], None]:
        def answer(error: StorageError | None) -> None:
            if error is not None:
                logger.error(event, extra={"reason": str(error)})

        return answer
