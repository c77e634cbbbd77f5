"""The chores of a data directory, driven by a tick: flushes nobody asked for, checkpoints, retention, expiry.

Nothing here waits for the disk: what would runs on the group commit's helper threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Final

from moldau_broker.storage.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from moldau_broker.storage.group_commit import GroupCommit
    from moldau_broker.storage.log import Deletion, Log
    from moldau_broker.storage.logdir import LogDir

PURGE_EVERY_MS: Final = 5_000
"""How often files that are due are unlinked; their delay is a minute by default, so this adds little."""


class Housekeeper:
    """Looks after one directory. Call `tick` about once a second from the loop thread.

    Attributes:
        on_deletion: told of every segment that retention took out.
    """

    def __init__(self, directory: LogDir, commit: GroupCommit) -> None:
        self._directory = directory
        self._commit = commit
        self._policy = directory.policy
        self._checkpoint_at = self._expire_at = self._purge_at = 0
        self._flushed_bytes = 0
        self._checking: deque[Log] = deque()
        self._ticked_at = -1
        self.on_deletion: Callable[[Log, Deletion], None] | None = None
        directory.on_flush_due = commit.flush_later

    def tick(self, wall_ms: int, monotonic_ms: int) -> None:
        """Do what is due. `wall_ms` judges the age of records, `monotonic_ms` our own intervals."""
        elapsed = 1_000 if self._ticked_at < 0 else max(1, monotonic_ms - self._ticked_at)
        self._ticked_at = monotonic_ms
        logs = [log for log in self._directory.logs.values() if log.failure is None]
        self._flush(logs, monotonic_ms)
        self._checkpoint(logs, monotonic_ms)
        self._retain(logs, wall_ms, elapsed)
        if monotonic_ms >= self._expire_at:
            self._expire_at = monotonic_ms + self._policy.producer_check_ms
            for log in logs:
                log.expire_producers(wall_ms, self._policy.producer_expiration_ms)
        if monotonic_ms >= self._purge_at:
            self._purge_at = monotonic_ms + PURGE_EVERY_MS
            if self._directory.has_trash(wall_ms):
                self._commit.run(lambda: self._directory.purge(wall_ms))

    def _flush(self, logs: list[Log], now_ms: int) -> None:
        """Start flushes where too much waits, or something waits for too long."""
        waiting: list[tuple[int, Log]] = []
        for log in logs:
            size = 0 if log.durable_offset >= log.log_end_offset else log.unsynced_bytes
            if size == 0:
                log.unsynced_since_ms = -1
                continue
            if log.unsynced_since_ms < 0:
                log.unsynced_since_ms = now_ms
            if now_ms - log.unsynced_since_ms >= min(self._policy.unsynced_ms_max, log.config.flush_ms):
                self._commit.flush_later(log)
            else:
                waiting.append((size, log))
        excess = sum(size for size, _ in waiting) - self._policy.unsynced_bytes_max
        if excess > 0:
            for size, log in sorted(waiting, key=lambda item: item[0], reverse=True):
                self._commit.flush_later(log)
                excess -= size
                if excess <= 0:
                    return

    def _checkpoint(self, logs: list[Log], now_ms: int) -> None:
        """Write the checkpoints down at their interval, or when much has become durable since."""
        flushed = sum(log.flushed_bytes for log in logs)
        if now_ms < self._checkpoint_at and flushed - self._flushed_bytes < self._policy.checkpoint_bytes:
            return
        self._checkpoint_at = now_ms + self._policy.checkpoint_ms
        self._flushed_bytes = flushed
        collected = self._directory.collect()
        if self._directory.is_news(collected):
            self._commit.run(lambda: self._directory.checkpoint(collected))

    def _retain(self, logs: list[Log], wall_ms: int, elapsed_ms: int) -> None:
        """Look at as many logs as the interval asks for, in turn."""
        count = min(len(logs), ceil(len(logs) * elapsed_ms / self._policy.retention_check_ms))
        for _ in range(count):
            if not self._checking:
                self._checking.extend(logs)
            log = self._checking.popleft()
            if log.failure is not None:
                continue
            try:
                deleted = log.enforce_retention(wall_ms)
            except DiskFull:
                continue  # rolling the active segment needs a little space
            except StorageError as error:
                log.fail(error)
                continue
            if self.on_deletion is not None:
                for deletion in deleted:
                    self.on_deletion(log, deletion)
