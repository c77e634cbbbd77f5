"""This node's part in the cluster's metadata: follows the log, and is the controller while it leads the quorum.

Belongs to the event loop's thread. An operation is decided on the newest state, its records are appended at once, and
its answer leaves after they are committed (fdatasynced on a majority), replayed and published; operations that
arrive meanwhile share the next round of fdatasync. Who does not lead replays what is committed all the same: the same
images, a moment later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, TypeVar

from moldau_broker.base.clock import Clock
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid, random_uuid
from moldau_broker.metadata.admin import ControllerAdmin
from moldau_broker.metadata.auto_topics import auto_topics_request
from moldau_broker.metadata.beginning import first_records, first_registration
from moldau_broker.metadata.controller_work import ControllerWork
from moldau_broker.metadata.errors import ControllerUnavailable, MetadataError
from moldau_broker.metadata.features import bootstrap_records, unsupported
from moldau_broker.metadata.fencing import Registered
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.local_node import LocalNode, QuorumOptions
from moldau_broker.metadata.machine import MetadataMachine
from moldau_broker.metadata.operation import ControllerSettings, Operation, Result, View
from moldau_broker.metadata.pending import PendingAnswers, as_future, look_away
from moldau_broker.metadata.publisher import MetadataPublisher
from moldau_broker.metadata.records import METADATA_VERSION_FEATURE, encode
from moldau_broker.metadata.snapshotter import SnapshotPolicy, Snapshotter
from moldau_broker.metadata.unavailable import unavailable_response
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.driver import Committer, RaftDriver
from moldau_broker.raft.errors import NotLeader, RaftError
from moldau_broker.raft.messages import Leader
from moldau_broker.raft.opening import found_quorum, knows_quorum, open_store
from moldau_broker.raft.ports import NoPeers
from moldau_broker.raft.protocol import APIS as QUORUM_APIS
from moldau_broker.raft.protocol import whole_error
from moldau_broker.raft.quorum import Voter, VoterKey
from moldau_broker.raft.state import Role
from moldau_broker.raft.store import BATCH_BYTES_MAX, StoredSnapshot
from moldau_broker.raft.transport import Ticker
from moldau_broker.storage.errors import StorageError
from moldau_broker.storage.logdir import LogDir
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.create_topics import CreateTopicsRequest
from moldau_broker.wire.schema import Struct

logger = logging.getLogger(__name__)

T = TypeVar("T")


class ControllerRuntime(ControllerAdmin):
    """The quorum's log as this node holds it, and the controller while this node leads.

    Attributes:
        publisher: where committed images go.
        incarnation_id: this process, among all that ever held the data directory.
        registration: of this broker, where it registered with itself at the start (a quorum of one); else None.
        work: what the active controller does by itself.
        on_leader_change: called whenever another node, or nobody, leads.
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
        super().__init__(log_dir.node_id)
        self.publisher = publisher
        self.registration: Registered | None = None
        self.incarnation_id: Uuid = random_uuid(rng)
        self.on_leader_change: Callable[[], None] | None = None
        self._log_dir = log_dir
        self._node = node
        self._settings = settings
        self._committer = committer
        self._clock = clock
        self._rng = rng
        self._snapshot_policy = snapshots or SnapshotPolicy()
        self._driver: RaftDriver | None = None
        self._ticker: Ticker | None = None
        self._machine = MetadataMachine(log_dir.cluster_id, self._read)
        self.work = ControllerWork(clock, self._view, self._submit_own)
        self._active = False
        self._publishing = False
        self._stopping = False
        self._pending = PendingAnswers()
        self._caught_up: asyncio.Future[None] | None = None
        self._snapshotter: Snapshotter | None = None

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> MetadataImage:
        """Load, find or be the leader; the first image is published before this returns.

        A quorum of one elects itself and registers its broker in the same write. Anybody else has waited for what
        was committed until now, and registers later. May wait as long as there is no quorum: `begin` first, for peers
        to be answered meanwhile.

        Raises:
            RaftError, MetadataError: the folder cannot be used; the text says why.
            StorageError: the disk failed.
        """
        if self._driver is None:
            self.begin()
        driver, ticker = self._driver, self._ticker
        assert driver is not None, "begun"
        assert ticker is not None, "begun"
        self._caught_up = asyncio.get_running_loop().create_future()
        driver.tick()
        driver.on_progress = ticker.arm
        ticker.arm()
        await self._caught_up
        level = unsupported(self._machine.committed.features)
        if level is not None:
            raise MetadataError(level)
        if self._active and len(driver.node.voters) == 1 and self._node.is_broker:
            self.registration = await self.write(self._begin)
        self._publishing = True
        self.publisher.publish(self._machine.committed)
        self._snapshotter = Snapshotter(self._machine, driver, self._clock, self._snapshot_policy)
        self._snapshotter.watch()
        return self.publisher.image

    def begin(self, quorum: QuorumOptions | None = None) -> None:
        """Open the folder; peers' requests are answered from now on, but time stands still until `start`.

        Raises:
            RaftError, MetadataError, StorageError: as `start`.
        """
        quorum, me = quorum or QuorumOptions(), self._me()
        if quorum.founds and not knows_quorum(self._log_dir):
            found_quorum(self._log_dir, me, map(encode, bootstrap_records()), self._clock.wall_ms())
        store = open_store(self._log_dir)
        if isinstance(quorum.transport, NoPeers):
            store.check_voter(me)
        self._driver = driver = RaftDriver(
            me,
            store,
            self._committer,
            self._clock,
            self,
            quorum.transport,
            self._rng,
            quorum.timing,
            cluster_id=self._log_dir.cluster_id,
            bootstrap=quorum.servers,
            auto_join=quorum.auto_join,
        )
        if store.snapshot is not None:
            self._machine.load(store.snapshot.id, store.snapshot.content)
            store.snapshot = None  # its records are in the image now
        self._ticker = Ticker(
            driver.tick, lambda: driver.next_deadline_ms, self._clock.monotonic_ms, self._tick_failed
        )

    @staticmethod
    def _tick_failed(error: Exception) -> None:
        logger.warning("raft.tick_failed", extra={"reason": str(error)})

    def _me(self) -> Voter:
        directory = self._log_dir.directory_id
        return Voter(VoterKey(self._log_dir.node_id, directory), self._node.controller_endpoints)

    def _bootstrap(self, view: View) -> list[Struct]:
        assert self._driver is not None, "there is a log"
        return first_records(view, self._driver.store)

    def _begin(self, view: View) -> Result[Registered]:
        return first_registration(view, self._bootstrap(view), self._log_dir, self._node, self.incarnation_id)

    async def hand_over(self, timeout_ms: int) -> None:
        """Leave the quorum's lead in order, where this node has it; at most for so long."""
        if self._driver is None:
            return
        await asyncio.wait([as_future(self._driver.shutdown())], timeout=timeout_ms / 1000)

    async def close(self) -> None:
        """Stop writing. What was appended stays in the log; who still waits is told that the outcome is unknown."""
        self._stopping = True
        self._step_down()
        if self._snapshotter is not None:
            await self._snapshotter.close()
        if self._ticker is not None:
            self._ticker.close()
        if self._driver is not None:
            self._driver.stop()
        self._pending.fail(ErrorCode.NOT_CONTROLLER, "the node is stopping")
        await self.finish_background()

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether this node is the controller, and takes operations."""
        return self._active

    @property
    def broker_epoch(self) -> int:
        """See `ControllerAdmin`."""
        return self.registration.epoch if self.registration is not None else -1

    @property
    def leader(self) -> Leader | None:
        """The quorum's leader, as far as this node knows."""
        return self._driver.leader if self._driver is not None else None

    @property
    def leader_epoch(self) -> int:
        """The quorum's current epoch."""
        return self._driver.node.epoch if self._driver is not None else 0

    @property
    def high_watermark(self) -> int:
        """First metadata offset that is not committed."""
        return self._driver.node.high_watermark if self._driver is not None else 0

    @property
    def driver(self) -> RaftDriver | None:
        """The quorum itself."""
        return self._driver

    async def take_snapshot(self) -> None:
        """Write a snapshot of the committed metadata now."""
        assert self._snapshotter is not None, "start first"
        await self._snapshotter.begin()

    # -- asking -------------------------------------------------------------------------------------------

    async def ask(self, key: ApiKey, request: Struct, version: int | None = None) -> Any:
        """Answer as the controller, NOT_CONTROLLER where this node is not; the quorum's own APIs as its voter."""
        number = API_SCHEMAS[key].last_version if version is None else version
        if key in QUORUM_APIS:
            if self._driver is None:
                return whole_error(key, ErrorCode.BROKER_NOT_AVAILABLE)
            return await as_future(self._driver.handle(key, number, request))
        try:
            return await self.write(
                lambda view: self.work.core.handle(key, request, number, view, self._clock.monotonic_ms())
            )
        except ControllerUnavailable as error:
            return unavailable_response(key, request, error.error, str(error))
        finally:
            self.work.poke()

    def auto_topics_request(self, names: Iterable[str]) -> CreateTopicsRequest:
        """See `ControllerAdmin`."""
        return auto_topics_request(self._machine.latest, self._settings.groups, names)

    # -- writing ------------------------------------------------------------------------------------------

    async def write(self, operation: Operation[T]) -> T:
        """Decide, append, wait for the commit, answer.

        An operation without records waits as well: it may have decided on state that is not committed yet.

        Raises:
            ControllerUnavailable: not active, or the disk failed; with the protocol error to answer.
        """
        response, future = self._submit(operation)
        if future is not None:
            await future
        return response

    def _submit(self, operation: Operation[T]) -> tuple[T, asyncio.Future[T] | None]:
        """Decide and append; the answer, and what to wait for before it may leave (None: nothing)."""
        driver = self._driver
        if driver is None or not self._active:
            raise ControllerUnavailable(ErrorCode.NOT_CONTROLLER, "this node is not the active controller")
        result = operation(self._view())
        if result.records:
            self._append(driver, result.records)
        end = driver.node.log_end
        if self._machine.applied == end:
            return result.response, None
        return result.response, self._pending.add(end, result.response)

    def _submit_own(self, operation: Operation[None]) -> None:
        """An operation nobody waits for."""
        _, future = self._submit(operation)
        if future is not None:
            look_away(future)

    def _view(self) -> View:
        assert self._driver is not None, "there is a log"
        return View(self._machine.latest, self._driver.node.log_end, self._settings, self._rng)

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

    # -- what the quorum says (raft.ports.Listener) ---------------------------------------------------------

    def on_role(self, role: Role, epoch: int) -> None:
        """Leading begins with the commit of the epoch's first entry; ceasing to lead ends everything at once."""
        if role is Role.LEADER:
            return
        self._step_down()
        self._machine.discard_written()
        broken = self._driver is not None and self._driver.store.log.failure is not None
        error = ErrorCode.KAFKA_STORAGE_ERROR if broken else ErrorCode.NOT_CONTROLLER
        self._pending.fail(error, f"the controller resigned in epoch {epoch}")

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """Tell who sends requests to the controller."""
        logger.info("raft.leader", extra={"leader": leader_id, "epoch": epoch})
        if self.on_leader_change is not None:
            self.on_leader_change()

    def on_snapshot(self, snapshot: StoredSnapshot) -> None:
        """What was applied is in it, and more: begin anew from there."""
        try:
            self._machine.load(snapshot.id, snapshot.content)
        except MetadataError as error:
            self._give_up(error)
            return
        self._publish()

    def on_commit(self, high_watermark: int) -> None:
        """Replay what is committed, publish it, then answer."""
        try:
            changed = self._machine.commit(high_watermark)
        except (MetadataError, RaftError, StorageError) as error:
            self._give_up(error)
            return
        if changed:
            self._publish()
        self._activate()
        self._pending.release(high_watermark)
        if self._caught_up is not None and not self._caught_up.done() and self._has_a_beginning():
            self._caught_up.set_result(None)

    def _has_a_beginning(self) -> bool:
        """A leader begins with itself; others have the records that every cluster begins with."""
        return self._active or METADATA_VERSION_FEATURE in self._machine.committed.features

    def _publish(self) -> None:
        if self._publishing:
            self.publisher.publish(self._machine.committed)
            if self._snapshotter is not None:
                self._snapshotter.watch()
        self.work.poke()

    def _activate(self) -> None:
        driver = self._driver
        assert driver is not None, "commits come from the driver"
        if self._active or self._stopping or driver.node.role is not Role.LEADER:
            return
        self._active = True
        if len(driver.node.voters) > 1 or not self._node.is_broker:
            try:
                self._submit_own(lambda view: Result(None, tuple(self._bootstrap(view))))
            except ControllerUnavailable as error:
                logger.warning("controller.not_begun", extra={"reason": str(error)})
                return
        self.work.activate()
        if self.on_leader_change is not None:
            self.on_leader_change()

    def _step_down(self) -> None:
        if self._active:
            self._active = False
            self.work.deactivate()

    def _give_up(self, error: Exception) -> None:
        """The committed log cannot be followed: nothing decided from here on could be right."""
        logger.error("metadata.unreadable", extra={"reason": str(error)})
        self._step_down()
        self._pending.fail(ErrorCode.UNKNOWN_SERVER_ERROR, str(error))
        if self._caught_up is not None and not self._caught_up.done():
            self._caught_up.set_exception(error)

    def _read(self, from_offset: int, up_to: int) -> Iterator[ReadBatch]:
        assert self._driver is not None, "there is a log"
        return self._driver.read(from_offset, up_to)
