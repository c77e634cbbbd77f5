"""OffsetCommit and OffsetFetch. Pure.

Topics arrive here with both name and id: the handlers know the cluster's metadata, this module does not.
"""

from __future__ import annotations

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.offsets import NO_EXPIRY, NO_OFFSET, CommittedOffset
from moldau_broker.coordinator.rebalance import keep_alive
from moldau_broker.coordinator.records import GroupRecord, offset_record
from moldau_broker.coordinator.shard_state import ShardState, reply_error
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)

GROUP_ID_NOT_FOUND_SINCE = 9
_OWN_RETENTION_NOT_SET = -1


# -- commit ------------------------------------------------------------------------------------------------------


def commit(
    shard: ShardState, request: OffsetCommitRequest, api_version: int, reply: Deferred[OffsetCommitResponse]
) -> None:
    """Store offsets; `reply` is answered once they are durable."""
    group = shard.groups.get(request.group_id)
    error = _commit_error(shard, group, request, api_version)
    if error is not ErrorCode.NONE:
        shard.answer(reply, commit_failed(request, error))
        return
    if group is not None and group.state in (GroupState.STABLE, GroupState.PREPARING_REBALANCE):
        keep_alive(shard, group, group.members[request.member_id])
    records: list[GroupRecord] = []
    topics = []
    for topic in request.topics:
        partitions = []
        for asked in topic.partitions:
            metadata = asked.committed_metadata or ""
            if utf16_units(metadata) > shard.config.offset_metadata_max:
                result = ErrorCode.OFFSET_METADATA_TOO_LARGE
            else:
                result = ErrorCode.NONE
                committed = CommittedOffset(
                    asked.committed_offset,
                    asked.committed_leader_epoch,
                    metadata,
                    shard.now.wall_ms,
                    _expiry(shard, request),
                    Uuid(topic.topic_id),
                )
                records.append(offset_record(request.group_id, topic.name, asked.partition_index, committed))
            partitions.append(
                OffsetCommitResponsePartition(partition_index=asked.partition_index, error_code=result)
            )
        topics.append(
            OffsetCommitResponseTopic(topic_id=topic.topic_id, name=topic.name, partitions=partitions)
        )
    response = OffsetCommitResponse(topics=topics)
    if not records:
        shard.answer(reply, response)
        return

    def stored(error: ErrorCode) -> None:
        shard.answer(
            reply, response if error is ErrorCode.NONE else commit_failed(request, reply_error(error))
        )

    shard.write(records, stored, replay=True)


def _commit_error(
    shard: ShardState, group: Group | None, request: OffsetCommitRequest, api_version: int
) -> ErrorCode:
    generation = request.generation_id_or_member_epoch
    if group is None:
        if generation >= 0:
            if api_version >= GROUP_ID_NOT_FOUND_SINCE:
                return ErrorCode.GROUP_ID_NOT_FOUND
            return ErrorCode.ILLEGAL_GENERATION
        full = len(shard.groups) >= shard.config.groups_per_shard_max
        return ErrorCode.POLICY_VIOLATION if full else ErrorCode.NONE
    if generation < 0 and group.state is GroupState.EMPTY:
        # An administrator, or a consumer that manages its partitions itself: welcome as long as nobody is there.
        return ErrorCode.NONE
    if generation < 0 and not request.member_id and request.group_instance_id is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.check_member(request.member_id, request.group_instance_id)
    if error is not ErrorCode.NONE:
        return error
    if generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if group.state is GroupState.COMPLETING_REBALANCE:
        # It knows this generation but not yet its partitions, so it cannot have read any of them in it.
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def _expiry(shard: ShardState, request: OffsetCommitRequest) -> int:
    """Clients before 2.1 may choose how long their offsets live (v2 to v4)."""
    if request.retention_time_ms == _OWN_RETENTION_NOT_SET:
        return NO_EXPIRY
    return shard.now.wall_ms + request.retention_time_ms


def commit_failed(request: OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse:
    """The same error for every partition."""
    return OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                topic_id=topic.topic_id,
                name=topic.name,
                partitions=[
                    OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=error)
                    for partition in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def utf16_units(text: str) -> int:
    """Length of a text as Kafka counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


# -- fetch -------------------------------------------------------------------------------------------------------


def fetch(
    shard: ShardState, asked: OffsetFetchRequestGroup, *, require_stable: bool
) -> OffsetFetchResponseGroup:
    """Committed offsets of a group; -1 without an error where there is none, be it for want of the group.

    With `require_stable` an offset that an open transaction may still change is UNSTABLE_OFFSET_COMMIT (KIP-447).
    """
    group_id = asked.group_id
    if asked.topics is None:
        topics = [
            OffsetFetchResponseTopics(
                name=topic,
                partitions=[
                    _fetched(shard, group_id, topic, index, committed, require_stable=require_stable)
                    for index, committed in partitions.items()
                ],
            )
            for topic, partitions in shard.offsets.of_group(group_id).items()
        ]
        return OffsetFetchResponseGroup(group_id=group_id, topics=topics)
    topics = []
    for wanted in asked.topics:
        partitions = []
        for index in wanted.partition_indexes:
            committed = shard.offsets.get(group_id, wanted.name, index)
            if committed is not None and not committed.is_of(wanted.topic_id):
                committed = None
            partitions.append(
                _fetched(shard, group_id, wanted.name, index, committed, require_stable=require_stable)
            )
        topics.append(
            OffsetFetchResponseTopics(topic_id=wanted.topic_id, name=wanted.name, partitions=partitions)
        )
    return OffsetFetchResponseGroup(group_id=group_id, topics=topics)


def _fetched(
    shard: ShardState,
    group_id: str,
    topic: str,
    index: int,
    committed: CommittedOffset | None,
    *,
    require_stable: bool,
) -> OffsetFetchResponsePartitions:
    if require_stable and shard.offsets.is_unstable(group_id, topic, index):
        return OffsetFetchResponsePartitions(
            partition_index=index, committed_offset=NO_OFFSET, error_code=ErrorCode.UNSTABLE_OFFSET_COMMIT
        )
    if committed is None:
        return OffsetFetchResponsePartitions(partition_index=index, committed_offset=NO_OFFSET)
    return OffsetFetchResponsePartitions(
        partition_index=index,
        committed_offset=committed.offset,
        committed_leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
    )
