"""Leadership: given back to preferred replicas, or taken by a replica that may have missed records."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, raise_for
from moldau_broker.client.partitions import TopicPartition, by_topic
from moldau_broker.wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    TopicPartitions,
)


class ElectionType(IntEnum):
    """Who may be elected (KIP-460). `UNCLEAN` may lose acknowledged records and is for emergencies."""

    PREFERRED = 0
    UNCLEAN = 1


async def elect_leaders(
    cluster: Cluster,
    partitions: Iterable[TopicPartition] | None = None,
    election: ElectionType = ElectionType.PREFERRED,
) -> dict[TopicPartition, bool | ClientError]:
    """Elect leaders for these partitions, or (None) for all that need it.

    True is a new leader, False that the partition had the right one already. Brokers leave the latter out of
    the answer when all partitions were asked for.
    """
    request = ElectLeadersRequest(
        election_type=election,
        topic_partitions=None
        if partitions is None
        else [
            TopicPartitions(topic=topic, partitions=numbers)
            for topic, numbers in by_topic(partitions).items()
        ],
        timeout_ms=cluster.config.request_timeout_ms,
    )

    async def ask() -> ElectLeadersResponse:
        answer = await cluster.ask(request, ElectLeadersResponse)
        raise_for(answer.error_code, "the election")
        return answer

    answer = await cluster.retry(ask)
    found: dict[TopicPartition, bool | ClientError] = {}
    for topic in answer.replica_election_results:
        for p in topic.partition_result:
            name = TopicPartition(topic.topic, p.partition_id)
            if p.error_code == ErrorCode.ELECTION_NOT_NEEDED:
                found[name] = False
            else:
                found[name] = outcome(p.error_code, f"partition {name}", p.error_message) or True
    cluster.forget({partition.topic for partition in found})
    return found
