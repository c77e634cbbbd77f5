"""The controller at work: operations in, committed metadata out.

Belongs to the event loop's thread. An operation is decided on the newest state, its records are appended at
once, and its answer leaves after they are fdatasynced, replayed and published; operations that arrive
meanwhile share the next round of fdatasync.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from random import Random
from typing import Any, NamedTuple, TypeVar

from moldau_broker.base.clock import Clock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import random_uuid
from moldau_broker.metadata.admin import ControllerAdmin
from moldau_broker.metadata.errors import ControllerUnavailable, MetadataError
from moldau_broker.metadata.features import SUPPORTED, bootstrap_records, unsupported
from moldau_broker.metadata.fencing import Registered, Registration, start_broker
from moldau_broker.metadata.id_allocator import ProducerIdAllocator
from moldau_broker.metadata.image import Endpoint, MetadataImage
from moldau_broker.metadata.machine import MetadataMachine
from moldau_broker.metadata.operation import ControllerSettings, Operation, Refusal, Result, View
from moldau_broker.metadata.producer_ids import ProducerIdBlock, allocate_producer_ids
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.metadata.records import METADATA_VERSION_FEATURE, decode, encode
from moldau_broker.metadata.snapshotter import SnapshotPolicy, Snapshotter
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.driver import Committer, NoPeers, RaftDriver
from moldau_broker.raft.errors import NotLeader, RaftError
from moldau_broker.raft.quorum import Voter, VoterEndpoint, VoterKey
from moldau_broker.raft.state import Role
from moldau_broker.raft.store import BATCH_BYTES_MAX, StoredSnapshot, found_quorum, knows_quorum, open_store
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.logdir import LogDir
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

T = TypeVar("T")


class LocalNode(NamedTuple):
    """What this node tells the cluster of itself.

    Attributes:
        endpoints: advertised broker listeners by name, the controller's not among them.
        controller_endpoints: where the quorum reaches it.
        rack: failure domain, None if it has no name.
    """

    endpoints: Mapping[str, Endpoint]
    controller_endpoints: tuple[VoterEndpoint, ...]
    rack: str | None = None


class _Waiting(NamedTuple):
    """An answer that leaves once everything below `offset` is committed."""

    offset: int
    response: Any
    future: asyncio.Future[Any]


class ControllerRuntime(ControllerAdmin):
    """The active controller of a quorum of one.

    Attributes:
        publisher: where committed images go.
        registration: what the cluster calls this incarnation of the broker; None before `start`.
        producer_ids: hands out producer ids.
    """

    def __init__(
        self,
        log_dir: LogDir,
        node: LocalNode,
        settings: ControllerSettings,
        publisher: MetadataPublisher,
        committer: Committer,
        clock: Clock,
        rng: Random,
        snapshots: SnapshotPolicy | None = None,
    ) -> None:
        super().__init__()
        self.publisher = publisher
        self.registration: Registered | None = None
        self.producer_ids = ProducerIdAllocator(self._allocate_producer_ids)
        self._log_dir = log_dir
        self._node = node
        self._settings = settings
        self._committer = committer
        self._clock = clock
        self._rng = rng
        self._snapshot_policy = snapshots or SnapshotPolicy()
        self._driver: RaftDriver | None = None
        self._machine = MetadataMachine(log_dir.cluster_id, self._read)
        self._active = False
        self._publishing = False
        self._waiting: deque[_Waiting] = deque()
        self._elected: asyncio.Future[None] | None = None
        self._snapshotter: Snapshotter | None = None

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> MetadataImage:
        """Load, elect, register this broker; the first image is published before this returns.

        Raises:
            RaftError, MetadataError: the folder cannot be used; the text says why.
            StorageError: the disk failed.
        """
        now_ms = self._clock.wall_ms()
        me = self._me()
        if not knows_quorum(self._log_dir):
            found_quorum(self._log_dir, me, map(encode, bootstrap_records()), now_ms)
        store = open_store(self._log_dir)
        store.check_voter(me)
        self._driver = RaftDriver(me, store, self._committer, self._clock, self, NoPeers(), self._rng)
        if store.snapshot is not None:
            self._machine.load(store.snapshot.id, store.snapshot.content)
            store.snapshot = None  # its records are in the image now
        self._elected = asyncio.get_running_loop().create_future()
        self._driver.tick()
        await self._elected
        level = unsupported(self._machine.committed.features)
        if level is not None:
            raise MetadataError(level)
        bootstrap = (
            [] if METADATA_VERSION_FEATURE in self._machine.latest.features else store.bootstrap_records()
        )
        self.registration = await self.write(lambda view: self._begin(view, bootstrap))
        self._publishing = True
        self.publisher.publish(self._machine.committed)
        self._snapshotter = Snapshotter(self._machine, self._driver, self._clock, self._snapshot_policy)
        self._snapshotter.watch()
        return self.publisher.image

    def _me(self) -> Voter:
        directory = self._log_dir.directory_id
        return Voter(VoterKey(self._log_dir.node_id, directory), self._node.controller_endpoints)

    def _begin(self, view: View, bootstrap: list[bytes]) -> Result[Registered]:
        """A new cluster's first records, and this broker's registration."""
        first = [decode(value) for value in bootstrap]
        shifted = View(view.image, view.next_offset + len(first), view.settings, view.rng)
        started = start_broker(
            shifted,
            Registration(
                broker_id=self._log_dir.node_id,
                incarnation_id=random_uuid(view.rng),
                endpoints=self._node.endpoints,
                directories=(self._log_dir.directory_id,),
                features=SUPPORTED,
                rack=self._node.rack,
                previous_epoch=self._log_dir.previous_broker_epoch if self._log_dir.was_clean else -1,
            ),
        )
        return Result(started.response, (*first, *started.records))

    async def close(self) -> None:
        """Stop writing. What was appended stays in the log; who still waits is told that the outcome is unknown."""
        self._active = False
        if self._snapshotter is not None:
            await self._snapshotter.close()
        if self._driver is not None:
            self._driver.stop()
        self._fail_waiting(ErrorCode.NOT_CONTROLLER, "the node is stopping")
        await self.finish_background()

    @property
    def is_active(self) -> bool:
        """Whether operations are taken."""
        return self._active

    @property
    def leader_epoch(self) -> int:
        """The quorum's current epoch."""
        return self._driver.node.epoch if self._driver is not None else 0

    @property
    def high_watermark(self) -> int:
        """First metadata offset that is not committed."""
        return self._driver.node.high_watermark if self._driver is not None else 0

    async def take_snapshot(self) -> None:
        """Write a snapshot of the committed metadata now."""
        assert self._snapshotter is not None, "start first"
        await self._snapshotter.begin()

    # -- writing ------------------------------------------------------------------------------------------

    async def write(self, operation: Operation[T]) -> T:
        """Decide, append, wait for the commit, answer.

        An operation without records waits as well: it may have decided on state that is not committed yet.

        Raises:
            ControllerUnavailable: not active, or the disk failed; with the protocol error to answer.
        """
        driver = self._driver
        if driver is None or not self._active:
            raise ControllerUnavailable(ErrorCode.NOT_CONTROLLER, "this node is not the active controller")
        node = driver.node
        machine = self._machine
        result = operation(View(machine.latest, node.log_end, self._settings, self._rng))
        if result.records:
            self._append(driver, result.records)
        if machine.applied == node.log_end:
            return result.response
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(node.log_end, result.response, future))
        return await future

    def _append(self, driver: RaftDriver, records: tuple[Struct, ...]) -> None:
        values = [encode(record) for record in records]
        assert sum(map(len, values)) < BATCH_BYTES_MAX, "operations bound what they write"
        end = driver.node.log_end + len(values)
        image = self._machine.prepare(records, end, driver.node.epoch)
        try:
            batch = driver.propose(values)
        except NotLeader as error:
            raise ControllerUnavailable(ErrorCode.NOT_CONTROLLER, str(error)) from error
        except StorageError as error:
            raise ControllerUnavailable(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error
        self._machine.written(batch.base_offset, image, batch.timestamp_ms, values)

    # -- what the quorum says (raft.driver.Listener) --------------------------------------------------------

    def on_role(self, role: Role, epoch: int) -> None:
        """Leading begins with the commit of the epoch's first entry; ceasing to lead ends everything at once."""
        if role is Role.LEADER:
            return
        self._active = False
        self._machine.discard_written()
        self._fail_waiting(ErrorCode.KAFKA_STORAGE_ERROR, f"the controller resigned in epoch {epoch}")

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """A quorum of one has no other leader."""

    def on_snapshot(self, snapshot: StoredSnapshot) -> None:
        """A quorum of one downloads none."""

    def on_commit(self, high_watermark: int) -> None:
        """Replay what is committed, publish it, then answer."""
        try:
            changed = self._machine.commit(high_watermark)
        except (MetadataError, RaftError, StorageError) as error:
            self._give_up(error)
            return
        if changed and self._publishing:
            self.publisher.publish(self._machine.committed)
            if self._snapshotter is not None:
                self._snapshotter.watch()
        self._activate()
        while self._waiting and self._waiting[0].offset <= high_watermark:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                waiting.future.set_result(waiting.response)

    def _activate(self) -> None:
        driver = self._driver
        assert driver is not None, "commits come from the driver"
        if not self._active and driver.node.role is Role.LEADER:
            self._active = True
            if self._elected is not None and not self._elected.done():
                self._elected.set_result(None)

    def _give_up(self, error: Exception) -> None:
        """The committed log cannot be followed: nothing decided from here on could be right."""
        logger.error("metadata.unreadable", extra={"reason": str(error)})
        self._active = False
        self._fail_waiting(ErrorCode.UNKNOWN_SERVER_ERROR, str(error))
        if self._elected is not None and not self._elected.done():
            self._elected.set_exception(error)

    def _fail_waiting(self, error: ErrorCode, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            if not one.future.done():
                one.future.set_exception(ControllerUnavailable(error, reason))

    def _read(self, from_offset: int, up_to: int) -> Iterator[ReadBatch]:
        assert self._driver is not None, "there is a log"
        return self._driver.read(from_offset, up_to)

    async def _allocate_producer_ids(self) -> ProducerIdBlock | Refusal:
        registration = self.registration
        if registration is None:
            raise ControllerUnavailable(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, "the broker is starting")
        return await self.write(
            partial(allocate_producer_ids, broker_id=self._log_dir.node_id, broker_epoch=registration.epoch)
        )
