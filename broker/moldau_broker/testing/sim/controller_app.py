"""The metadata state machine and the controller of one node, over the simulated quorum; the twin of `metadata.runtime`.

Follows the log into images, publishes what is committed, and while this node leads, answers the controller's APIs:
records first, the answer after their commit.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.controller import OPERATIONS, ControllerCore
from moldau_broker.metadata.features import bootstrap_records
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.machine import MetadataMachine
from moldau_broker.metadata.operation import Result, View
from moldau_broker.metadata.records import METADATA_VERSION_FEATURE, encode
from moldau_broker.metadata.snapshot_records import snapshot_records
from moldau_broker.metadata.unavailable import unavailable_response
from moldau_broker.raft.batches import ReadBatch
from moldau_broker.raft.errors import NotLeader
from moldau_broker.raft.snapshot import SnapshotId
from moldau_broker.raft.state import Role
from moldau_broker.storage.errors import DiskFull
from moldau_broker.testing.sim.epoch_ghost import check_alter_partition
from moldau_broker.testing.sim.network import Answer, Broken
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey
from moldau_broker.wire.messages.alter_partition import AlterPartitionRequest
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.testing.sim.controller_cluster import ControllerCluster
    from moldau_broker.testing.sim.node import SimNode
    from moldau_broker.testing.sim.raft_member import RaftMember


class _Waiting(NamedTuple):
    offset: int
    key: ApiKey
    request: Struct | None
    response: Any
    answer: Answer


class ControllerApp:
    """One life of a node's metadata.

    Attributes:
        core: the real controller.
        machine: the real state machine.
        on_image: told every committed image, once the node is past its start.
    """

    def __init__(self, cluster: ControllerCluster, node: SimNode) -> None:
        self._cluster = cluster
        self._node = node
        self.member: RaftMember | None = None
        self.core: ControllerCore = cluster.controller_class()
        self.machine = MetadataMachine("sim", self._read)
        self.on_image: Callable[[MetadataImage], None] | None = None
        self.on_controller: Callable[[], None] | None = None
        self._settings = cluster.controller_settings(node.id)
        self._waiting: deque[_Waiting] = deque()
        self._epoch_start = -1

    def _read(self, from_offset: int, up_to: int) -> Iterator[ReadBatch]:
        assert self.member is not None, "there is a log"
        return self.member.store.read(from_offset, up_to)

    # -- the controller's layer of the process ------------------------------------------------------------

    @property
    def deadline_ms(self) -> int | None:
        """When the controller has something to do."""
        core = self.core
        return core.next_deadline_ms if core.active else None

    def tick(self) -> None:
        """Do what is due."""
        if not self.core.active:
            return
        with contextlib.suppress(DiskFull, NotLeader):  # it has resigned, or did so in the same breath
            for operation in self.core.tick(self._node.clock.monotonic_ms(), self._view()):
                self._write(operation(self._view()))

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """A request of one of the controller's APIs."""
        _, key, request = message
        self.ask(key, request, answer)

    def ask(self, key: ApiKey, request: Struct, answer: Answer) -> None:
        """Decide, append, wait for the commit, answer."""
        assert key in OPERATIONS, "an API of the controller"
        if not self.core.active or self.member is None:
            answer(unavailable_response(key, request, ErrorCode.NOT_CONTROLLER, None))
            return
        version = API_SCHEMAS[key].last_version
        now_ms = self._node.clock.monotonic_ms()
        view = self._view()
        result = self.core.handle(key, request, version, view, now_ms)
        if isinstance(request, AlterPartitionRequest):
            check_alter_partition(view.image, request, result.response)
        try:
            self._write(result)
        except (DiskFull, NotLeader) as refused:
            full = isinstance(refused, DiskFull)
            error = ErrorCode.KAFKA_STORAGE_ERROR if full else ErrorCode.NOT_CONTROLLER
            answer(unavailable_response(key, request, error, None))
            return
        self._cluster.coverage.hit(f"request: {key.name.lower()}")
        end = self.member.node.log_end
        if self.machine.applied == end:
            answer(result.response)
        else:
            self._waiting.append(_Waiting(end, key, request, result.response, answer))

    def probe(self, broker_id: int) -> None:
        """Connect to a broker that may be gone: refused means dead."""
        broker = self.machine.latest.brokers.get(broker_id)
        if not self.core.active or broker is None or broker.fenced or broker_id == self._node.id:
            return
        epoch = broker.epoch

        def probed(response: Any) -> None:
            if response is Broken.REFUSED and self.core.active:
                self._cluster.coverage.hit("brokers reported dead")
                self.core.report_dead(broker_id, epoch)
                self.tick()

        node = self._node
        node.network.call(node.host, broker_id, ("probe",), lambda got: node.run(probed, got))

    def _view(self) -> View:
        assert self.member is not None, "there is a log"
        return View(self.machine.latest, self.member.node.log_end, self._settings, self._node.rng)

    def _write(self, result: Result[Any]) -> None:
        if not result.records:
            return
        member = self.member
        assert member is not None, "there is a log"
        values = [encode(record) for record in result.records]
        end = member.node.log_end + len(values)
        image = self.machine.prepare(result.records, end, member.node.epoch)
        batch = member.driver.propose(values)
        self.machine.written(batch.base_offset, image, batch.timestamp_ms, values)

    # -- raft.driver.Listener -----------------------------------------------------------------------------

    def on_role(self, role: Role, epoch: int) -> None:
        """Leading begins with the commit of the epoch's first entry; ceasing to lead ends everything at once."""
        if role is Role.LEADER:
            assert self.member is not None, "roles come from the member"
            self._epoch_start = self.member.node.epochs.entries()[-1][1]
            return
        if self.core.active:
            self.core.deactivate()
        self._epoch_start = -1
        self.machine.discard_written()
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            if one.request is not None:
                one.answer(unavailable_response(one.key, one.request, ErrorCode.NOT_CONTROLLER, None))

    def on_leader(self, leader_id: int, epoch: int) -> None:
        """Brokers turn to another controller."""
        if self.on_controller is not None:
            self.on_controller()

    def on_commit(self, high_watermark: int) -> None:
        """Replay, publish, answer."""
        changed = self.machine.commit(high_watermark)
        if changed:
            self._committed()
        self._activate()
        while self._waiting and self._waiting[0].offset <= high_watermark:
            one = self._waiting.popleft()
            one.answer(one.response)
        if self.machine.records_since_snapshot >= self._cluster.swarm.snapshot_records:
            self._snapshot()

    def _committed(self) -> None:
        image = self.machine.committed
        self._cluster.images.committed(image)
        if self.on_image is not None:
            self.on_image(image)

    def _activate(self) -> None:
        member = self.member
        assert member is not None, "commits come from the member"
        if self.core.active or not 0 <= self._epoch_start < self.machine.applied:
            return
        if member.node.role is not Role.LEADER:
            return
        view = self._view()
        if METADATA_VERSION_FEATURE not in view.image.features:
            try:
                self._write(Result(None, bootstrap_records()))
            except (DiskFull, NotLeader):
                return
            view = self._view()
        self.core.activate(self._node.clock.monotonic_ms(), view)
        self._cluster.coverage.hit("controllers activated")
        for broker_id in list(view.image.brokers):
            self.probe(broker_id)

    def on_snapshot(self, snapshot: Any) -> None:
        """Begin anew from a downloaded snapshot."""
        self.machine = MetadataMachine("sim", self._read)
        self.load(snapshot.id, snapshot.content)
        self._committed()

    def load(self, snapshot_id: SnapshotId, content: Any) -> None:
        """The state as of a snapshot's end."""
        self.machine.load(snapshot_id, content)
        self._cluster.images.loaded(self.machine.committed)

    def _snapshot(self) -> None:
        machine = self.machine
        assert self.member is not None, "commits come from the member"
        machine.snapshot_taken()
        values = [encode(record) for record in snapshot_records(machine.committed)]
        self.member.take_snapshot(machine.applied, values)
