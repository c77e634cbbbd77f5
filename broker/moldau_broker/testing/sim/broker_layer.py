"""The broker of one simulated process: its life cycle at the controller, its replicas, its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.ids import Uuid, random_uuid
from moldau_broker.metadata.broker_session import BrokerSession, BrokerState
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.since_registration import SinceRegistration
from moldau_broker.metadata.views import ListenerView
from moldau_broker.testing.sim.controller_app import ControllerApp
from moldau_broker.testing.sim.network import Answer, Broken
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest
from moldau_broker.wire.messages.broker_registration import BrokerRegistrationRequest, Feature, Listener
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.testing.sim.controller_cluster import ControllerCluster
    from moldau_broker.testing.sim.node import SimNode

CLEAN_MARKER: Final = "clean-shutdown"
CLIENT_PORT_BASE: Final = 19_000


class BrokerLayer:
    """One life of a broker.

    Attributes:
        session: the real one.
        image: the metadata it acts on.
        replicas: its partitions.
    """

    def __init__(self, cluster: ControllerCluster, node: SimNode, app: ControllerApp) -> None:
        self._cluster = cluster
        self._node = node
        self._app = app
        self.image = MetadataImage("sim")
        previous = node.disk.files.pop(CLEAN_MARKER, -1)
        incarnation_id = random_uuid(node.rng)
        self.session = BrokerSession(
            self._registration(previous, incarnation_id),
            cluster.session_times,
            node.clock.monotonic_ms(),
            node.rng,
        )
        self.replicas = cluster.replicas_class(cluster, node, self)
        self._apply = SinceRegistration(node.id, incarnation_id, "sim", self.replicas.apply)
        self._gone = False
        self._view: ListenerView | None = None
        app.on_image = self._publish
        app.on_controller = self._controller_changed
        if app.machine.committed.offset >= 0:
            self._publish(app.machine.committed)

    def _registration(self, previous_epoch: int, incarnation_id: Uuid) -> BrokerRegistrationRequest:
        node = self._node
        return BrokerRegistrationRequest(
            broker_id=node.id,
            cluster_id="sim",
            incarnation_id=incarnation_id,
            listeners=[Listener(name="CLIENT", host=f"node{node.id}", port=CLIENT_PORT_BASE + node.id)],
            features=[
                Feature(name=name, min_supported_version=levels.lowest, max_supported_version=levels.highest)
                for name, levels in SUPPORTED.items()
            ],
            rack=None,
            log_dirs=(node.directory_id,),
            previous_broker_epoch=previous_epoch,
        )

    # -- metadata -----------------------------------------------------------------------------------------

    def _publish(self, image: MetadataImage) -> None:
        before, self.image = self.image, image
        self._apply(MetadataDelta(before, image), image)

    def view(self, listener: str) -> ListenerView:
        """The metadata it acts on, as clients of that listener see it."""
        if self._view is None or self._view.image is not self.image:
            self._view = ListenerView(self.image, listener)
        return self._view

    def _controller_changed(self) -> None:
        self.session.controller_changed(self._node.clock.monotonic_ms())

    def ask(self, key: ApiKey, request: Struct, on_answer: Callable[[Struct | None], None]) -> None:
        """Ask the active controller; None if there was no answer."""
        node = self._node
        member = self._app.member
        controller = member.node.leader_id if member is not None else -1
        if controller == node.id:
            self._app.ask(key, request, on_answer)
        elif controller < 0:
            node.kernel.after(5, node.run, on_answer, None)
        else:
            node.network.call(
                node.host,
                controller,
                ("controller", key, request),
                lambda got: node.run(on_answer, None if isinstance(got, Broken) else got),
            )

    # -- a layer of the process ---------------------------------------------------------------------------

    @property
    def deadline_ms(self) -> int | None:
        """When session or replicas have something to do."""
        mine = self.session.next_deadline_ms
        theirs: int = self.replicas.deadline_ms
        return mine if mine is not None and mine < theirs else theirs

    def tick(self) -> None:
        """Speak to the controller if it is time; let the replicas do theirs."""
        now_ms = self._node.clock.monotonic_ms()
        request = self.session.step(now_ms, self.image.offset)
        if request is not None:
            key = (
                ApiKey.BROKER_HEARTBEAT
                if isinstance(request, BrokerHeartbeatRequest)
                else ApiKey.BROKER_REGISTRATION
            )
            self.ask(key, request, lambda response: self._answered(request, response))
        self.replicas.tick(now_ms)

    def _answered(self, request: Struct, response: Struct | None) -> None:
        self.session.on_answer(self._node.clock.monotonic_ms(), request, response)
        if self.session.state is BrokerState.SHUTTING_DOWN and not self._gone:
            self._gone = True
            self._node.kernel.after(0, self._node.run, self._stop)

    def leave(self) -> None:
        """SIGTERM: hand over, then stop."""
        self.session.want_shut_down(self._node.clock.monotonic_ms())
        if self.session.state is BrokerState.SHUTTING_DOWN and not self._gone:
            self._gone = True
            self._node.kernel.after(0, self._node.run, self._stop)

    def _stop(self) -> None:
        self.replicas.close()
        if self.session.epoch >= 0:
            self._node.disk.files[CLEAN_MARKER] = self.session.epoch
        self._cluster.stopped(self._node)

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """What clients and followers ask."""
        if kind == "probe":
            answer(True)
        elif kind == "leader":
            _, name, index, topic_id = message
            self._tell_leader(name, index, topic_id, answer)
        elif kind == "topic":
            topic = self.image.topics.get(message[1])
            answer(None if topic is None else topic.topic_id)
        else:
            self.replicas.handle(kind, sender, message, answer)

    def _tell_leader(self, name: str, index: int, topic_id: Uuid | None, answer: Answer) -> None:
        """Metadata: who leads the partition, by id where the client knows it."""
        topic = self.image.topics.get(name) if topic_id is None else self.image.topics_by_id.get(topic_id)
        partition = topic.partitions[index] if topic is not None and index < len(topic.partitions) else None
        answer(None if partition is None else (partition.leader_epoch, partition.leader))
