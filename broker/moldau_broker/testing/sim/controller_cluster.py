"""Quorum, controller and brokers' life cycles; replicas are only names here, and always caught up."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from moldau_broker.metadata.broker_session import BrokerState, SessionTimes
from moldau_broker.metadata.controller import ControllerCore
from moldau_broker.metadata.image import NO_LEADER, PartitionImage, ResourceType, TopicImage
from moldau_broker.metadata.operation import ClusterSettings, ControllerSettings
from moldau_broker.testing.sim.administration import Administrator
from moldau_broker.testing.sim.broker_layer import BrokerLayer
from moldau_broker.testing.sim.config_clients import ConfigClient
from moldau_broker.testing.sim.controller_app import ControllerApp
from moldau_broker.testing.sim.image_ghost import ImageGhost
from moldau_broker.testing.sim.kernel import InvariantViolated
from moldau_broker.testing.sim.named_replicas import NamedReplicas
from moldau_broker.testing.sim.node import Layer, SimNode
from moldau_broker.testing.sim.quorum_cluster import QuorumCluster
from moldau_broker.testing.sim.raft_member import RaftMember
from moldau_broker.testing.sim.swarm import EXTRAS


class ControllerCluster(QuorumCluster):
    """Nodes with real controllers and real sessions.

    Attributes:
        images: what must hold for the metadata.
        brokers: of the nodes that are up, by id.
        plans: topics made at the beginning.
        keys: all their partitions, as (topic, index).
    """

    counters: tuple[str, ...] = (
        *QuorumCluster.counters,
        "controllers activated",
        "broker registrations",
        "brokers fenced",
        "brokers unfenced",
        "brokers reported dead",
        "controlled shutdowns",
        "clean stops",
        "partition leaders changed",
        "ISR shrinks",
        "ISR expands",
        "ELR members",
        "reassignments completed",
        "administrator: reassign",
        "administrator: elect",
    )
    controller_class: type[ControllerCore] = ControllerCore
    replicas_class: Callable[..., Any] = NamedReplicas

    def __init__(
        self, seed: int, trace: Any = None, world: Any = None, extras: frozenset[str] = EXTRAS
    ) -> None:
        super().__init__(seed, trace, world, extras)
        self.images = ImageGhost(self.coverage, self.partition_changed, self.topic_deleted)
        self.brokers: dict[int, BrokerLayer] = {}
        self.plans = self.swarm.topics
        self.keys = [(plan.name, index) for plan in self.plans for index in range(plan.partitions)]
        self.session_times = SessionTimes()
        self.administrator: Administrator

    def controller_settings(self, node_id: int) -> ControllerSettings:
        """What a node's configuration says to its controller."""
        cluster = ClusterSettings(session_timeout_ms=self.swarm.session_timeout_ms)
        return ControllerSettings(node_id=node_id, cluster=cluster)

    def partition_changed(self, topic: TopicImage, index: int, partition: PartitionImage) -> None:
        """The controller has committed a change of a partition."""
        if self.kernel.trace is not None:
            self.kernel.note(
                f"{topic.name}-{index}: leader {partition.leader} epoch {partition.leader_epoch} "
                f"isr {partition.isr} elr {partition.elr} partition epoch {partition.partition_epoch}"
            )

    def topic_deleted(self, topic: TopicImage) -> None:
        """The controller has committed the end of a topic."""
        self.kernel.note(f"{topic.name} is deleted")

    # -- nodes --------------------------------------------------------------------------------------------

    def assemble(self, node: SimNode) -> tuple[list[Layer], dict[str, Layer]]:
        """Member, controller, broker."""
        app = ControllerApp(self, node)
        member = self.members[node.id] = RaftMember(self, node, app)
        app.member = member
        broker = self.brokers[node.id] = BrokerLayer(self, node, app)
        kinds: dict[str, Layer] = {"quorum": member, "controller": app}
        for kind in ("probe", "leader", "topic", *broker.replicas.kinds):
            kinds[kind] = broker
        return [member, app, broker], kinds

    def after_crash(self, node: SimNode, *, power_cut: bool) -> None:
        """Controllers notice connections that end."""
        super().after_crash(node, power_cut=power_cut)
        self.brokers.pop(node.id, None)
        for other in self.nodes.values():
            if other.up and self.network.is_joined(node.id, other.id):
                self.kernel.after(1, other.run, self._probe, other, node.id)

    def _probe(self, other: SimNode, node_id: int) -> None:
        for layer in other.layers:
            if isinstance(layer, ControllerApp):
                layer.probe(node_id)

    def stop_cleanly(self, node_id: int) -> None:
        """SIGTERM."""
        broker = self.brokers.get(node_id)
        if broker is not None:
            self.nodes[node_id].run(broker.leave)

    def stopped(self, node: SimNode) -> None:
        """The process has ended in order."""
        self.coverage.hit("clean stops")
        self.kernel.note(f"n{node.id} has stopped cleanly")
        node.die()
        self.after_crash(node, power_cut=False)
        if not self.chaos:
            self.kernel.after(500, self.restart, node.id)

    def may_wipe(self, node_id: int) -> bool:
        """Everybody else is there, and nobody is the last one in sync."""
        if not super().may_wipe(node_id) or not self.network.is_whole:
            return False
        brokers = self.images.newest.brokers
        for node in self.nodes.values():
            broker = brokers.get(node.id)
            if not node.up or broker is None or broker.fenced or node.host.paused_until > self.kernel.now:
                return False
        images = [self.images.newest.partition(*key) for key in self.keys]
        return all(image is not None and set(image.isr) - {node_id} for image in images)

    def wipe(self, node_id: int) -> None:
        """An empty disk; nobody else dies half way through something before the new one is known."""
        super().wipe(node_id)
        for node in self.nodes.values():
            node.disk.dies_in = -1

    def is_fragile(self) -> bool:
        """Whether a wiped disk is not known to the controller yet.

        Until then the controller may leave the empty replica as the only one in sync, if all others fail: that
        is a loss no program can prevent, so no other fault may come meanwhile.
        """
        brokers = self.images.newest.brokers
        return any(
            node.wipes and (node.id not in brokers or node.directory_id not in brokers[node.id].directories)
            for node in self.nodes.values()
        )

    def leader_id(self) -> int | None:
        """The controller, or the leader of the first partition."""
        image = self.images.newest.partition(*self.keys[0])
        if image is not None and image.leader != NO_LEADER and self.kernel.now % 2:
            return image.leader
        return super().leader_id()

    def administer(self, kind: str, rng: Random) -> bool:
        """Voters come and go, partitions move, preferred leaders are asked for."""
        if kind == "membership":
            return super().administer(kind, rng)
        return self.administrator.administer(kind, rng)

    # -- work ---------------------------------------------------------------------------------------------

    def begin_work(self) -> None:
        """Topics, then clients."""
        self.proposers = []
        self.config_clients: list[ConfigClient] = []
        self.administrator = Administrator(self, 100)
        self.administrator.create_topics(self.begin_clients)

    def begin_clients(self) -> None:
        """Clients that change settings, over and over."""
        self.config_clients = [ConfigClient(self, 110 + at) for at in range(3)]

    def end_work(self) -> None:
        """Clients finish what they began."""
        for client in self.config_clients:
            client.finishing = True

    def not_converged(self) -> str | None:
        """The quorum is whole, every broker active, every replica in sync, nobody waits."""
        reason = super().not_converged()
        if reason is not None:
            return reason
        for node_id in self.nodes:
            broker = self.brokers.get(node_id)
            if broker is None or broker.session.state is not BrokerState.ACTIVE:
                return f"broker {node_id} is {'down' if broker is None else broker.session.state.name}"
        for topic, index in self.keys:
            image = self.images.newest.partition(topic, index)
            if image is None or image.leader == NO_LEADER:
                return f"{topic}-{index}: nobody leads"
            if set(image.isr) != set(image.replicas) or image.adding or image.removing:
                return f"{topic}-{index}: not settled: {image}"
        if any(client.busy for client in self.config_clients):
            return "a client waits"
        return None

    def check_end(self) -> None:
        """Every setting has the value that was acknowledged last."""
        super().check_end()
        for client in self.config_clients:
            found = self.images.newest.config(ResourceType.TOPIC, self.keys[0][0]).get(client.setting)
            if client.acked_value is not None and found != client.acked_value:
                raise InvariantViolated(
                    f"lost: {client.setting} was set to {client.acked_value} and is {found}"
                )
        for member in self.members.values():
            self.kernel.mix(member.node.high_watermark, member.node.epoch)
