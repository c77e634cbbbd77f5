"""Topics: create, list, describe, grow, delete; and records deleted from their beginning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, RequestFailed
from moldau_broker.client.leaders import ask_leaders
from moldau_broker.client.metadata import TopicInfo
from moldau_broker.client.partitions import TopicPartition, by_topic
from moldau_broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
)
from moldau_broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from moldau_broker.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopic,
)
from moldau_broker.wire.messages.delete_topics import (
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)

USE_BROKER_DEFAULT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """A topic to create.

    Attributes:
        partitions: how many; -1 takes the broker's num.partitions.
        replication_factor: -1 takes the broker's default.replication.factor.
        config: topic settings under Kafka's names.
        assignment: replica ids for each partition, instead of the two numbers above.
    """

    name: str
    partitions: int = USE_BROKER_DEFAULT
    replication_factor: int = USE_BROKER_DEFAULT
    config: Mapping[str, str] = field(default_factory=dict)
    assignment: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreatedTopic:
    """A topic as the broker made it."""

    name: str
    topic_id: bytes
    partitions: int
    replication_factor: int


async def create_topics(
    cluster: Cluster, topics: Iterable[NewTopic], *, validate_only: bool = False
) -> dict[str, CreatedTopic | ClientError]:
    """Create topics, or (`validate_only`) only ask whether they could be created."""
    request = CreateTopicsRequest(
        topics=[_creatable(topic) for topic in topics],
        timeout_ms=cluster.config.request_timeout_ms,
        validate_only=validate_only,
    )
    answer = await cluster.ask_patiently(request, CreateTopicsResponse)
    cluster.forget(topic.name for topic in answer.topics)
    return {
        topic.name: outcome(topic.error_code, f"topic {topic.name}", topic.error_message)
        or CreatedTopic(topic.name, topic.topic_id, topic.num_partitions, topic.replication_factor)
        for topic in answer.topics
    }


def _creatable(topic: NewTopic) -> CreatableTopic:
    return CreatableTopic(
        name=topic.name,
        num_partitions=USE_BROKER_DEFAULT if topic.assignment else topic.partitions,
        replication_factor=USE_BROKER_DEFAULT if topic.assignment else topic.replication_factor,
        assignments=[
            CreatableReplicaAssignment(partition_index=partition, broker_ids=replicas)
            for partition, replicas in topic.assignment.items()
        ],
        configs=[CreatableTopicConfig(name=name, value=value) for name, value in topic.config.items()],
    )


async def create_partitions(
    cluster: Cluster, totals: Mapping[str, int], *, validate_only: bool = False
) -> dict[str, ClientError | None]:
    """Grow topics to these total numbers of partitions."""
    request = CreatePartitionsRequest(
        topics=[
            CreatePartitionsTopic(name=name, count=total, assignments=None) for name, total in totals.items()
        ],
        timeout_ms=cluster.config.request_timeout_ms,
        validate_only=validate_only,
    )
    answer = await cluster.ask_patiently(request, CreatePartitionsResponse)
    cluster.forget(totals)
    return {r.name: outcome(r.error_code, f"topic {r.name}", r.error_message) for r in answer.results}


async def delete_topics(cluster: Cluster, names: Iterable[str]) -> dict[str, ClientError | None]:
    """Delete topics with all their records."""
    request = DeleteTopicsRequest(
        topics=[DeleteTopicState(name=name) for name in names],
        timeout_ms=cluster.config.request_timeout_ms,
    )
    answer = await cluster.ask_patiently(request, DeleteTopicsResponse)
    cluster.forget(r.name for r in answer.responses if r.name is not None)
    return {
        r.name: outcome(r.error_code, f"topic {r.name}", r.error_message)
        for r in answer.responses
        if r.name is not None
    }


async def list_topics(cluster: Cluster) -> list[TopicInfo]:
    """All topics, internal ones too, by name."""
    metadata = await cluster.retry(lambda: cluster.refresh(None))
    return sorted(metadata.topics.values(), key=lambda topic: topic.name)


async def describe_topics(cluster: Cluster, names: Iterable[str]) -> dict[str, TopicInfo | ClientError]:
    """These topics as the cluster sees them now."""
    wanted = list(names)
    metadata = await cluster.retry(lambda: cluster.refresh(wanted))
    found: dict[str, TopicInfo | ClientError] = {}
    for name in wanted:
        topic = metadata.topics[name]
        found[name] = outcome(topic.error, f"topic {name}") or topic
    return found


async def delete_records(
    cluster: Cluster, before: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | ClientError]:
    """Delete the records below an offset (-1: all there are now); gives the new log start offsets."""

    async def ask(node: int, partitions: list[TopicPartition]) -> dict[TopicPartition, int | ClientError]:
        request = DeleteRecordsRequest(
            topics=[
                DeleteRecordsTopic(
                    name=topic,
                    partitions=[
                        DeleteRecordsPartition(partition_index=p, offset=before[TopicPartition(topic, p)])
                        for p in numbers
                    ],
                )
                for topic, numbers in by_topic(partitions).items()
            ],
            timeout_ms=cluster.config.request_timeout_ms,
        )
        answer = await cluster.ask(request, DeleteRecordsResponse, node=node)
        found: dict[TopicPartition, int | ClientError] = {}
        for topic in answer.topics:
            for p in topic.partitions:
                name = TopicPartition(topic.name, p.partition_index)
                failed: RequestFailed | None = outcome(p.error_code, f"partition {name}")
                found[name] = p.low_watermark if failed is None else failed
        return found

    return await ask_leaders(cluster, before, ask)
