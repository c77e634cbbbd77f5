"""Replicas without records, for the controller's sake: leaders take whoever is alive into the ISR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.testing.sim.network import Answer
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    BrokerState,
)

if TYPE_CHECKING:
    from moldau_broker.testing.sim.broker_layer import BrokerLayer
    from moldau_broker.testing.sim.controller_cluster import ControllerCluster
    from moldau_broker.testing.sim.node import SimNode

_LOOK_MS = 400


class NamedReplicas:
    """One life of a broker's replicas, which hold nothing.

    Attributes:
        kinds: of requests it takes; none.
        deadline_ms: when it looks after the ISRs it leads.
    """

    kinds: tuple[str, ...] = ()

    def __init__(self, cluster: ControllerCluster, node: SimNode, broker: BrokerLayer) -> None:
        self._node = node
        self._broker = broker
        self._rng = node.stream("isr")
        self._under_way = False
        self.deadline_ms = node.clock.monotonic_ms() + _LOOK_MS

    def apply(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Another image."""

    def close(self) -> None:
        """The broker stops."""

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """Takes no requests."""

    def tick(self, now_ms: int) -> None:
        """Ask for larger ISRs, at times for smaller ones."""
        if now_ms < self.deadline_ms:
            return
        self.deadline_ms = now_ms + _LOOK_MS
        topics = [] if self._under_way or self._broker.session.epoch < 0 else self._wishes()
        if topics:
            self._under_way = True
            request = AlterPartitionRequest(
                broker_id=self._node.id, broker_epoch=self._broker.session.epoch, topics=topics
            )
            self._broker.ask(ApiKey.ALTER_PARTITION, request, self._answered)

    def _wishes(self) -> list[AlterPartitionRequestTopicData]:
        image = self._broker.image
        topics = []
        for topic in image.topics.values():
            partitions = []
            for index, partition in enumerate(topic.partitions):
                if partition.leader != self._node.id:
                    continue
                alive = [
                    one for one in partition.replicas if one in image.brokers and image.brokers[one].active
                ]
                wanted = alive if self._rng.random() < 0.9 else [self._node.id]
                if set(wanted) == set(partition.isr) or self._node.id not in wanted:
                    continue
                members = [
                    BrokerState(broker_id=one, broker_epoch=image.brokers[one].epoch) for one in wanted
                ]
                partitions.append(
                    AlterPartitionRequestPartitionData(
                        partition_index=index,
                        leader_epoch=partition.leader_epoch,
                        partition_epoch=partition.partition_epoch,
                        new_isr_with_epochs=members,
                    )
                )
            if partitions:
                topics.append(AlterPartitionRequestTopicData(topic_id=topic.topic_id, partitions=partitions))
        return topics

    def _answered(self, response: Any) -> None:
        self._under_way = False
