"""A controller on a disk in memory: start it, write to it, pull the plug, start it again.

    bench = ControllerBench()
    async with bench.running() as controller:
        await controller.create_topics(...)
    bench.disk.crash(Random(seed))
    async with bench.running() as controller:
        ...

Flushes happen at the event loop's next turn, so operations issued together share one as they do in a broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from moldau_broker.base.ids import format_uuid, random_uuid
from moldau_broker.metadata.image import Endpoint
from moldau_broker.metadata.local_node import LocalNode
from moldau_broker.metadata.operation import ControllerSettings
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.metadata.runtime import ControllerRuntime
from moldau_broker.metadata.snapshotter import SnapshotPolicy
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.log import Log
from moldau_broker.storage.logdir import LogDir
from moldau_broker.testing.disk import SimDisk


class ManualClock:
    """A clock that stands still until it is moved; both hands move together."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch, as set."""
        return self.now_ms

    def monotonic_ms(self) -> int:
        """The same number."""
        return self.now_ms

    def advance(self, ms: int) -> None:
        """Move on."""
        self.now_ms += ms


class TurnCommitter:
    """Flushes at the event loop's next turn, all requests of one turn with one flush.

    Attributes:
        rounds: flushes done.
        held: while True nothing is flushed; `release` does what waits.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self.held = False
        self._waiting: list[tuple[Log, Callable[[StorageError | None], None]]] = []

    def request(self, log: Log, callback: Callable[[StorageError | None], None]) -> None:
        """See `raft.driver.Committer`."""
        self._waiting.append((log, callback))
        if len(self._waiting) == 1 and not self.held:
            asyncio.get_running_loop().call_soon(self.release)

    def release(self) -> None:
        """Flush what waits and tell those who asked."""
        waiting, self._waiting = self._waiting, []
        self.rounds += 1
        failures: dict[Log, StorageError | None] = {}
        for log, _ in waiting:
            if log not in failures:
                try:
                    log.mark_durable(log.flush())
                    failures[log] = None
                except StorageError as error:
                    failures[log] = error
        for log, callback in waiting:
            callback(failures[log])


class ControllerBench:
    """One node's data directory and what is needed to run its controller.

    Attributes:
        disk: the directory; survives the controller.
        clock, committer: of the running controller.
        publisher: of the last controller started.
        log_dir: of the last controller started.
    """

    def __init__(
        self,
        disk: SimDisk | None = None,
        *,
        settings: ControllerSettings | None = None,
        snapshots: SnapshotPolicy | None = None,
        seed: int = 0,
        rack: str | None = None,
        controller_port: int = 9093,
    ) -> None:
        self.disk = disk or SimDisk()
        self.clock = ManualClock()
        self.committer = TurnCommitter()
        self.rng = Random(seed)  # noqa: S311 - reproducible on purpose
        self.cluster_id = format_uuid(random_uuid(self.rng))
        self.settings = settings or ControllerSettings(node_id=1)
        self.snapshots = snapshots
        self.node = LocalNode(
            endpoints={"CLIENT": Endpoint("127.0.0.1", 9092)},
            controller_endpoints=(VoterEndpoint("CONTROLLER", "127.0.0.1", controller_port),),
            rack=rack,
        )
        self.publisher = MetadataPublisher(self.cluster_id)
        self.log_dir: LogDir | None = None

    def open(self) -> ControllerRuntime:
        """A controller on the directory as it is now; not started."""
        self.committer = TurnCommitter()
        self.log_dir = LogDir.open(
            self.disk,
            cluster_id=self.cluster_id,
            node_id=self.settings.node_id,
            clock=self.clock,
            rng=self.rng,
        )
        self.publisher = MetadataPublisher(self.cluster_id)
        return ControllerRuntime(
            self.log_dir,
            self.node,
            self.settings,
            self.publisher,
            self.committer,
            self.clock,
            self.rng,
            self.snapshots,
        )

    @asynccontextmanager
    async def running(self, *, clean: bool = True) -> AsyncIterator[ControllerRuntime]:
        """A started controller; afterwards the directory is closed, cleanly or as if the process was killed."""
        controller = self.open()
        log_dir = self.log_dir
        assert log_dir is not None
        try:
            await controller.start()
            yield controller
        finally:
            await controller.close()
            epoch = controller.registration.epoch if controller.registration is not None else -1
            log_dir.close(clean=clean, broker_epoch=epoch)
