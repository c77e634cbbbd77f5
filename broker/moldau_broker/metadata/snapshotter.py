"""Decides when a snapshot is due and has it written beside the event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from moldau_broker.base.clock import Clock
from moldau_broker.metadata.machine import MetadataMachine
from moldau_broker.metadata.records import encode
from moldau_broker.metadata.snapshot_records import snapshot_records
from moldau_broker.raft.driver import RaftDriver
from moldau_broker.storage.errors import StorageError

logger = logging.getLogger(__name__)

RECORDS_MAX: Final = 50_000
"""Records after which a snapshot is due whatever their size: replaying them takes about half a second at start."""


class SnapshotPolicy(NamedTuple):
    """When a snapshot is due: after so many bytes of records, or so long after the first new one (0: never)."""

    bytes_between: int = 20 * 1024 * 1024
    interval_ms: int = 3_600_000


class Snapshotter:
    """Snapshots of one machine's committed image. Belongs to the loop thread."""

    def __init__(
        self, machine: MetadataMachine, driver: RaftDriver, clock: Clock, policy: SnapshotPolicy
    ) -> None:
        self._machine = machine
        self._driver = driver
        self._clock = clock
        self._policy = policy
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def watch(self) -> None:
        """Call after each commit: begins a snapshot if one is due, or sees to it that time will."""
        machine, policy = self._machine, self._policy
        if self._closed or self._task is not None or not machine.records_since_snapshot:
            return
        if (
            machine.bytes_since_snapshot >= policy.bytes_between
            or machine.records_since_snapshot >= RECORDS_MAX
        ):
            self.begin()
        elif policy.interval_ms and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(policy.interval_ms / 1000, self.begin)

    def begin(self) -> asyncio.Task[None]:
        """Write a snapshot of the committed image; the task ends when it is durable, or has failed and was logged."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())
            self._task.add_done_callback(self._done)
        return self._task

    async def close(self) -> None:
        """Begin no more; wait for the one being written."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        machine, driver = self._machine, self._driver
        image, snapshot_id, timestamp_ms = machine.committed, machine.snapshot_id, machine.timestamp_ms
        voters, now_ms = driver.node.history.at(snapshot_id.end_offset), self._clock.wall_ms()
        machine.snapshot_taken()

        def work() -> int:
            # The image never changes, so another thread may read it for as long as it likes.
            values = (encode(record) for record in snapshot_records(image))
            return driver.store.write_snapshot(
                snapshot_id, values, voters=voters, last_timestamp_ms=timestamp_ms, now_ms=now_ms
            )

        try:
            size = await asyncio.to_thread(work)
            driver.snapshot_written()
        except StorageError as error:
            logger.warning("snapshot.failed", extra={"reason": str(error)})
            return
        logger.info("snapshot.written", extra={"end_offset": snapshot_id.end_offset, "bytes": size})

    def _done(self, _: asyncio.Task[None]) -> None:
        self._task = None
