"""Offsets: where logs begin and end, and where groups stand in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.coordinators import ask_coordinators
from moldau_broker.client.errors import ClientError, RequestFailed, code_of, raise_for
from moldau_broker.client.leaders import ask_leaders
from moldau_broker.client.partitions import TopicPartition, by_topic
from moldau_broker.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from moldau_broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
)
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
)

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1
NO_GENERATION: Final = -1


class ListedOffset(NamedTuple):
    """An offset found: -1 when no record is young enough; `timestamp_ms` is -1 for the log's ends."""

    offset: int
    timestamp_ms: int
    leader_epoch: int


class CommittedOffset(NamedTuple):
    """Where a group stands: the offset of the next record it wants."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""


class Member(NamedTuple):
    """Who commits. The default is an administrator, refused while the group has members."""

    id: str = ""
    generation: int = NO_GENERATION


ADMINISTRATOR: Final = Member()


async def list_offsets(
    cluster: Cluster,
    wanted: Mapping[TopicPartition, int],
    *,
    isolation: int = READ_UNCOMMITTED,
    deadline_ms: int | None = None,
) -> dict[TopicPartition, ListedOffset | ClientError]:
    """The first offset at or after a time, for each partition.

    Args:
        cluster: whom to ask.
        wanted: a timestamp in milliseconds, or LATEST, EARLIEST, MAX_TIMESTAMP of `client.partitions`.
        isolation: with READ_COMMITTED the latest offset is the last stable one.
        deadline_ms: for all retries; None is the configuration's, 0 asks once.
    """

    async def ask(
        node: int, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, ListedOffset | ClientError]:
        request = ListOffsetsRequest(
            replica_id=-1,
            isolation_level=isolation,
            topics=[
                ListOffsetsTopic(
                    name=topic,
                    partitions=[
                        ListOffsetsPartition(partition_index=p, timestamp=wanted[TopicPartition(topic, p)])
                        for p in numbers
                    ],
                )
                for topic, numbers in by_topic(partitions).items()
            ],
            timeout_ms=cluster.config.request_timeout_ms,
        )
        answer = await cluster.ask(request, ListOffsetsResponse, node=node)
        found: dict[TopicPartition, ListedOffset | ClientError] = {}
        for topic in answer.topics:
            for p in topic.partitions:
                name = TopicPartition(topic.name, p.partition_index)
                failed = outcome(p.error_code, f"partition {name}")
                found[name] = failed or ListedOffset(p.offset, p.timestamp, p.leader_epoch)
        return found

    return await ask_leaders(cluster, wanted, ask, deadline_ms=deadline_ms)


async def fetch_offsets(
    cluster: Cluster, groups: Mapping[str, Iterable[TopicPartition] | None], *, require_stable: bool = False
) -> dict[str, dict[TopicPartition, CommittedOffset] | ClientError]:
    """Where groups stand, in these partitions or (None) in all they have committed.

    Partitions never committed are left out. Groups that share a coordinator are asked about together.
    """
    asked = {group: None if only is None else list(only) for group, only in groups.items()}

    async def ask(
        node: int, names: list[str]
    ) -> dict[str, dict[TopicPartition, CommittedOffset] | ClientError]:
        request = OffsetFetchRequest(
            groups=[_fetch_group(name, asked[name]) for name in names], require_stable=require_stable
        )
        answer = await cluster.ask(request, OffsetFetchResponse, node=node)
        return {group.group_id: _read_group(group) for group in answer.groups}

    return await ask_coordinators(cluster, asked, ask)


async def commit_offsets(
    cluster: Cluster,
    group: str,
    offsets: Mapping[TopicPartition, CommittedOffset],
    *,
    member: Member = ADMINISTRATOR,
) -> dict[TopicPartition, ClientError | None]:
    """Set where a group stands."""
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=member.generation,
        member_id=member.id,
        topics=[
            OffsetCommitRequestTopic(
                name=topic,
                partitions=[_commit_partition(p, offsets[TopicPartition(topic, p)]) for p in numbers],
            )
            for topic, numbers in by_topic(offsets).items()
        ],
    )

    async def ask() -> dict[TopicPartition, ClientError | None]:
        answer = await cluster.ask_coordinator(group, request, OffsetCommitResponse)
        found: dict[TopicPartition, ClientError | None] = {}
        for topic in answer.topics:
            for p in topic.partitions:
                if p.error_code and code_of(p.error_code).retriable:
                    raise RequestFailed(code_of(p.error_code), f"group {group}")
                found[TopicPartition(topic.name, p.partition_index)] = outcome(p.error_code, f"group {group}")
        return found

    return await cluster.retry_coordinator(group, ask)


async def delete_offsets(
    cluster: Cluster, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, ClientError | None]:
    """Forget where a group stands in these partitions."""
    request = OffsetDeleteRequest(
        group_id=group,
        topics=[
            OffsetDeleteRequestTopic(
                name=topic, partitions=[OffsetDeleteRequestPartition(partition_index=p) for p in numbers]
            )
            for topic, numbers in by_topic(partitions).items()
        ],
    )

    async def ask() -> dict[TopicPartition, ClientError | None]:
        answer = await cluster.ask_coordinator(group, request, OffsetDeleteResponse)
        raise_for(answer.error_code, f"group {group}")
        return {
            (name := TopicPartition(topic.name, p.partition_index)): outcome(
                p.error_code, f"partition {name}"
            )
            for topic in answer.topics
            for p in topic.partitions
        }

    return await cluster.retry_coordinator(group, ask)


def _fetch_group(name: str, partitions: list[TopicPartition] | None) -> OffsetFetchRequestGroup:
    topics = None
    if partitions is not None:
        topics = [
            OffsetFetchRequestTopics(name=topic, partition_indexes=numbers)
            for topic, numbers in by_topic(partitions).items()
        ]
    return OffsetFetchRequestGroup(group_id=name, topics=topics)


def _read_group(group: OffsetFetchResponseGroup) -> dict[TopicPartition, CommittedOffset] | ClientError:
    failed = outcome(group.error_code, f"group {group.group_id}")
    if failed is not None:
        return failed
    found: dict[TopicPartition, CommittedOffset] = {}
    for topic in group.topics:
        for p in topic.partitions:
            name = TopicPartition(topic.name, p.partition_index)
            if p.error_code:
                return RequestFailed(code_of(p.error_code), f"group {group.group_id}, partition {name}")
            if p.committed_offset >= 0:
                found[name] = CommittedOffset(p.committed_offset, p.committed_leader_epoch, p.metadata or "")
    return found


def _commit_partition(partition: int, offset: CommittedOffset) -> OffsetCommitRequestPartition:
    return OffsetCommitRequestPartition(
        partition_index=partition,
        committed_offset=offset.offset,
        committed_leader_epoch=offset.leader_epoch,
        committed_metadata=offset.metadata,
    )
