"""What a cluster said of itself, as one immutable value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.errors import code_of
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.messages.metadata import MetadataResponse, MetadataResponseTopic

if TYPE_CHECKING:
    from moldau_broker.wire.messages.describe_topic_partitions import DescribeTopicPartitionsResponseTopic

NO_LEADER: Final = -1


@dataclass(frozen=True, slots=True)
class Node:
    """A broker's address on the listener that was asked."""

    id: int
    host: str
    port: int
    rack: str | None = None

    @property
    def address(self) -> str:
        """host:port, as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """Where a partition lives. `leader` is `NO_LEADER` while it has none."""

    partition: int
    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    offline: tuple[int, ...]
    error: ErrorCode


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic and its partitions in the order of their numbers; `error` is NONE when it exists."""

    name: str
    topic_id: bytes
    internal: bool
    partitions: tuple[PartitionInfo, ...]
    error: ErrorCode


@dataclass(frozen=True, slots=True)
class Metadata:
    """The brokers, the controller as announced, and the topics asked for so far."""

    cluster_id: str | None = None
    controller: int = -1
    nodes: Mapping[int, Node] = field(default_factory=dict)
    topics: Mapping[str, TopicInfo] = field(default_factory=dict)

    def leader(self, partition: TopicPartition) -> Node | None:
        """The leader's node, or None if topic, partition, leader or its address is not known."""
        info = self.partition(partition)
        return self.nodes.get(info.leader) if info is not None else None

    def partition(self, partition: TopicPartition) -> PartitionInfo | None:
        """What is known of one partition."""
        topic = self.topics.get(partition.topic)
        if topic is None or not 0 <= partition.partition < len(topic.partitions):
            return None
        return topic.partitions[partition.partition]

    def merged(self, newer: Metadata, asked: Iterable[str] | None) -> Metadata:
        """`newer` plus what this one knows of topics that were not asked for (None: all were)."""
        if asked is None:
            return newer
        kept = {name: topic for name, topic in self.topics.items() if name not in set(asked)}
        return replace(newer, topics={**kept, **newer.topics})

    def moved(
        self, partition: TopicPartition, leader: int, leader_epoch: int, nodes: Iterable[Node]
    ) -> Metadata:
        """With the leader that a refusing broker named (KIP-951); the same value if that is no news.

        No news is an epoch that is not newer than the known one, or a leader whose address nobody knows.
        """
        topic, known = self.topics.get(partition.topic), self.partition(partition)
        told = {node.id: node for node in nodes}
        if topic is None or known is None or leader_epoch <= known.leader_epoch:
            return self
        if leader not in told and leader not in self.nodes:
            return self
        partitions = list(topic.partitions)
        partitions[partition.partition] = replace(
            known, leader=leader, leader_epoch=leader_epoch, error=ErrorCode.NONE
        )
        changed = replace(topic, partitions=tuple(partitions))
        return replace(self, nodes={**self.nodes, **told}, topics={**self.topics, partition.topic: changed})


def read_metadata(answer: MetadataResponse) -> Metadata:
    """The broker's answer as a value."""
    return Metadata(
        cluster_id=answer.cluster_id,
        controller=answer.controller_id,
        nodes={b.node_id: Node(b.node_id, b.host, b.port, b.rack) for b in answer.brokers},
        topics={topic.name: read_topic(topic) for topic in answer.topics if topic.name is not None},
    )


def read_topic(topic: MetadataResponseTopic | DescribeTopicPartitionsResponseTopic) -> TopicInfo:
    """A topic as either answer tells it; one without a name gets an empty one."""
    partitions = [
        PartitionInfo(
            partition=p.partition_index,
            leader=p.leader_id,
            leader_epoch=p.leader_epoch,
            replicas=tuple(p.replica_nodes),
            isr=tuple(p.isr_nodes),
            offline=tuple(p.offline_replicas),
            error=code_of(p.error_code),
        )
        for p in topic.partitions
    ]
    partitions.sort(key=lambda info: info.partition)
    return TopicInfo(
        topic.name or "", topic.topic_id, topic.is_internal, tuple(partitions), code_of(topic.error_code)
    )
