"""Moves of replicas between brokers: begun, listed, cancelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, raise_for
from moldau_broker.client.partitions import TopicPartition, by_topic
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    ListPartitionReassignmentsTopics,
)


@dataclass(frozen=True, slots=True)
class Reassignment:
    """A move under way: the brokers that hold the partition now, and those among them that come and go."""

    replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]

    @property
    def target(self) -> tuple[int, ...]:
        """The brokers that hold the partition once the move is done."""
        return tuple(node for node in self.replicas if node not in self.removing)


async def alter_reassignments(
    cluster: Cluster, targets: Mapping[TopicPartition, Sequence[int] | None]
) -> dict[TopicPartition, ClientError | None]:
    """Begin moves to these brokers, the first of each being its preferred leader; None cancels a move (KIP-455).

    The answer means that a move has begun; `list_reassignments` tells when it is done. Cancelling where nothing
    moves gives NO_REASSIGNMENT_IN_PROGRESS.
    """
    request = AlterPartitionReassignmentsRequest(
        timeout_ms=cluster.config.request_timeout_ms,
        topics=[
            ReassignableTopic(
                name=topic,
                partitions=[
                    ReassignablePartition(
                        partition_index=number, replicas=_listed(targets[TopicPartition(topic, number)])
                    )
                    for number in numbers
                ],
            )
            for topic, numbers in by_topic(targets).items()
        ],
    )
    answer = await cluster.ask_patiently(request, AlterPartitionReassignmentsResponse)
    raise_for(answer.error_code, "the reassignment", answer.error_message)
    cluster.forget({partition.topic for partition in targets})
    found: dict[TopicPartition, ClientError | None] = {}
    for topic in answer.responses:
        for p in topic.partitions:
            name = TopicPartition(topic.name, p.partition_index)
            found[name] = outcome(p.error_code, f"partition {name}", p.error_message)
    return found


def _listed(replicas: Sequence[int] | None) -> list[int] | None:
    return None if replicas is None else list(replicas)


async def cancel_reassignments(
    cluster: Cluster, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, ClientError | None]:
    """Stop these moves; what was copied so far is given up, the brokers from before stay."""
    return await alter_reassignments(cluster, dict.fromkeys(partitions))


async def list_reassignments(
    cluster: Cluster, partitions: Iterable[TopicPartition] | None = None
) -> dict[TopicPartition, Reassignment]:
    """The moves under way, of these partitions or (None) of all."""
    request = ListPartitionReassignmentsRequest(
        timeout_ms=cluster.config.request_timeout_ms,
        topics=None
        if partitions is None
        else [
            ListPartitionReassignmentsTopics(name=topic, partition_indexes=numbers)
            for topic, numbers in by_topic(partitions).items()
        ],
    )

    async def ask() -> dict[TopicPartition, Reassignment]:
        answer = await cluster.ask(request, ListPartitionReassignmentsResponse)
        raise_for(answer.error_code, "the reassignments", answer.error_message)
        return {
            TopicPartition(topic.name, p.partition_index): Reassignment(
                tuple(p.replicas), tuple(p.adding_replicas), tuple(p.removing_replicas)
            )
            for topic in answer.topics
            for p in topic.partitions
        }

    return await cluster.retry(ask)
