"""Whole brokers: quorum, controller, replicated partitions, and clients that check what they are told."""

from __future__ import annotations

from functools import partial
from typing import Any

from moldau_broker.metadata.image import PartitionImage, TopicImage
from moldau_broker.testing.sim.client import Key
from moldau_broker.testing.sim.clients import Consumer, Producer
from moldau_broker.testing.sim.controller_cluster import ControllerCluster
from moldau_broker.testing.sim.node import SimNode
from moldau_broker.testing.sim.partition_ghost import PartitionGhost
from moldau_broker.testing.sim.partition_log import SimLog
from moldau_broker.testing.sim.replicas import Replicas


class BrokerCluster(ControllerCluster):
    """Nodes that are everything.

    Attributes:
        partitions: what must hold for each partition.
        pause_ms: mean pause of a producer between two batches for one partition.
    """

    counters: tuple[str, ...] = (
        *ControllerCluster.counters,
        "replica truncations",
        "record batches lost with power",
        "batches consumed",
        "batches consumed from followers",
        "produce retries",
        "duplicate batches answered",
    )
    replicas_class = Replicas

    def __init__(self, seed: int, trace: Any = None, world: Any = None) -> None:
        super().__init__(seed, trace, world)
        self.partitions: dict[Key, PartitionGhost] = {}
        for plan in self.swarm.topics:
            for index in range(plan.partitions):
                key = (plan.name, index)
                self.partitions[key] = PartitionGhost(
                    f"{plan.name}-{index}",
                    self.coverage,
                    partial(self.log_of, key),
                    strict=min(plan.min_insync, plan.replication_factor) > 1,
                )
        streams = self.swarm.producers * len(self.keys)
        self.pause_ms = self.swarm.pause_ms * streams // 2

    def log_of(self, key: Key, node_id: int) -> SimLog | None:
        """A replica's log, whether its node is up or down."""
        found: SimLog | None = self.nodes[node_id].disk.logs.get(key)
        return found

    def ghost_of(self, key: Key) -> PartitionGhost:
        """What must hold for a partition."""
        return self.partitions[key]

    def partition_changed(self, topic: TopicImage, index: int, partition: PartitionImage) -> None:
        """The controller has committed a change of a partition."""
        super().partition_changed(topic, index, partition)
        self.partitions[topic.name, index].changed(partition)

    # -- nodes --------------------------------------------------------------------------------------------

    def after_crash(self, node: SimNode, *, power_cut: bool) -> None:
        """Of every log's unsynced batches some are gone."""
        super().after_crash(node, power_cut=power_cut)
        for key, log in list(node.disk.logs.items()):
            if isinstance(log, SimLog):
                checkpoint = node.disk.files.get(("checkpoint", key), 0)
                node.disk.logs[key], lost = log.reopened(
                    self._crash_rng, power_cut=power_cut, checkpoint=checkpoint
                )
                self.coverage.hit("record batches lost with power", lost)

    def may_wipe(self, node_id: int) -> bool:
        """Every partition's true log must be whole on another in-sync replica."""
        if not super().may_wipe(node_id):
            return False
        for ghost in self.partitions.values():
            image = ghost.image
            if image is None or ghost.wiped:
                return False
            others = [member for member in image.isr if member != node_id]
            if node_id in image.replicas and not any(ghost.holds(member) for member in others):
                return False
        return True

    def wipe(self, node_id: int) -> None:
        """An empty disk."""
        super().wipe(node_id)
        for ghost in self.partitions.values():
            ghost.lost_disk(node_id)

    # -- work ---------------------------------------------------------------------------------------------

    def begin_work(self) -> None:
        """Topics, then producers and consumers."""
        self.producers: list[Producer] = []
        self.consumers: list[Consumer] = []
        super().begin_work()

    def begin_clients(self) -> None:
        """Producers and consumers."""
        self.producers = [Producer(self, 110 + at, self.keys) for at in range(self.swarm.producers)]
        self.consumers = [Consumer(self, 150 + at, self.keys) for at in range(self.swarm.consumers)]

    def end_work(self) -> None:
        """Producers finish what they began."""
        super().end_work()
        for producer in self.producers:
            producer.finishing = True

    def not_converged(self) -> str | None:
        """Every replica has everything, everything is consumed, nobody waits."""
        reason = super().not_converged()
        if reason is not None:
            return reason
        for key, ghost in self.partitions.items():
            reason = self._unsettled(key, ghost)
            if reason is not None:
                return f"{ghost.name}: {reason}"
        if any(stream.busy for producer in self.producers for stream in producer.streams):
            return "a producer waits"
        return None

    def _unsettled(self, key: Key, ghost: PartitionGhost) -> str | None:
        assert ghost.image is not None, "somebody leads"
        for replica in ghost.image.replicas:
            log = self.log_of(key, replica)
            if log is None or log.log_end_offset != ghost.end or log.durable_offset != ghost.end:
                return f"replica {replica} has {log} of {ghost.end}"
        for consumer in self.consumers:
            if consumer.positions[key] != ghost.end:
                return f"a consumer is at {consumer.positions[key]} of {ghost.end}"
        return None

    def check_end(self) -> None:
        """Every replica is the true log."""
        super().check_end()
        for key, ghost in self.partitions.items():
            assert ghost.image is not None, "it converged"
            for replica in ghost.image.replicas:
                log = self.log_of(key, replica)
                assert log is not None, "it converged"
                ghost.settled(replica, log)
            self.kernel.mix(ghost.end, len(ghost.truth))
