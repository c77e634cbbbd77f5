"""An image as clients see it on one listener: who is alive, who leads, what cannot be reached. Pure.

Answers for unchanged topics are made once and used again: a fleet of clients that refreshes its metadata
costs the encoding only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.topics import INTERNAL_TOPICS
from moldau_broker.metadata.image import (
    NO_LEADER,
    BrokerImage,
    Endpoint,
    MetadataImage,
    PartitionImage,
    TopicImage,
)
from moldau_broker.wire.messages.metadata import MetadataResponsePartition, MetadataResponseTopic

_REPLICA_ERRORS_UNTIL: Final = 0
_LISTENER_ERRORS_SINCE: Final = 6


class Reachable(NamedTuple):
    """A partition on one listener."""

    error: ErrorCode
    leader: int
    offline: tuple[int, ...]


class ListenerView:
    """One image on one listener.

    Attributes:
        image: what it shows.
        listener: name of the listener the client came by; brokers without it cannot be reached there.
    """

    __slots__ = ("_alive", "_topics", "image", "listener")

    def __init__(self, image: MetadataImage, listener: str) -> None:
        self.image = image
        self.listener = listener
        self._alive = {
            broker.id: (broker, broker.endpoints[listener])
            for broker in image.brokers.values()
            if not broker.fenced and listener in broker.endpoints
        }
        self._topics: dict[Uuid, tuple[TopicImage, MetadataResponseTopic]] = {}

    def updated(self, image: MetadataImage) -> ListenerView:
        """The view of a newer image; keeps what is made of unchanged topics while the brokers are the same."""
        if image is self.image:
            return self
        view = ListenerView(image, self.listener)
        if image.brokers is self.image.brokers:
            view._topics = self._topics
            for topic_id in self._topics.keys() - image.topics_by_id.keys():
                del self._topics[topic_id]
        return view

    def brokers(self) -> Iterator[tuple[BrokerImage, Endpoint]]:
        """Brokers that are up, with their address on this listener."""
        return iter(self._alive.values())

    def is_alive(self, broker_id: int) -> bool:
        """Whether that broker is up and has this listener."""
        return broker_id in self._alive

    def reach(self, partition: PartitionImage, version: int = _LISTENER_ERRORS_SINCE) -> Reachable:
        """Leader and errors of a partition, as a Metadata answer of that version words them."""
        alive = self._alive
        offline: tuple[int, ...] = ()
        for replica in partition.replicas:
            if replica not in alive:
                offline = (*offline, replica)
        if partition.leader not in alive:
            broker = self.image.brokers.get(partition.leader)
            lost = broker is not None and not broker.fenced and version >= _LISTENER_ERRORS_SINCE
            error = ErrorCode.LISTENER_NOT_FOUND if lost else ErrorCode.LEADER_NOT_AVAILABLE
            return Reachable(error, NO_LEADER, offline)
        if offline and version <= _REPLICA_ERRORS_UNTIL:
            return Reachable(ErrorCode.REPLICA_NOT_AVAILABLE, partition.leader, offline)
        return Reachable(ErrorCode.NONE, partition.leader, offline)

    def topic(self, topic: TopicImage, version: int) -> MetadataResponseTopic:
        """A topic as a Metadata answer of that version shows it; topic authorizations are the caller's."""
        if version < _LISTENER_ERRORS_SINCE:
            return self._make(topic, version)
        known = self._topics.get(topic.topic_id)
        if known is not None and known[0] is topic:
            return known[1]
        made = self._make(topic, version)
        self._topics[topic.topic_id] = (topic, made)
        return made

    def _make(self, topic: TopicImage, version: int) -> MetadataResponseTopic:
        return MetadataResponseTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.name in INTERNAL_TOPICS,
            partitions=[
                self._partition(index, partition, version) for index, partition in enumerate(topic.partitions)
            ],
        )

    def _partition(self, index: int, partition: PartitionImage, version: int) -> MetadataResponsePartition:
        error, leader, offline = self.reach(partition, version)
        replicas, isr = partition.replicas, partition.isr
        if offline and version <= _REPLICA_ERRORS_UNTIL:
            # The first version has no list of offline replicas; it leaves them out.
            replicas = tuple(replica for replica in replicas if replica not in offline)
            isr = tuple(replica for replica in isr if replica not in offline)
        return MetadataResponsePartition(
            error_code=error,
            partition_index=index,
            leader_id=leader,
            leader_epoch=partition.leader_epoch,
            replica_nodes=replicas,
            isr_nodes=isr,
            offline_replicas=offline,
        )
