"""OffsetCommit, OffsetFetch, OffsetDelete, and what time and deleted topics do to offsets. Pure.

Topics arrive here with both name and id: the handlers know the cluster's metadata, this module does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import GROUP_TOMBSTONES_PER_WRITE_MAX
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.offsets import NO_EXPIRY, NO_OFFSET, CommittedOffset
from moldau_broker.coordinator.rebalance import keep_alive
from moldau_broker.coordinator.records import (
    RECORD_OVERHEAD_BYTES_MAX,
    GroupRecord,
    group_tombstone,
    offset_record,
    offset_tombstone,
)
from moldau_broker.coordinator.shard_state import ShardState, Stored, reply_error
from moldau_broker.wire.messages.group_records import OffsetCommitKey
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from moldau_broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from moldau_broker.wire.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)

GROUP_ID_NOT_FOUND_SINCE = 9
UTF8_BYTES_PER_CHAR_MAX = 4
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


# -- delete ------------------------------------------------------------------------------------------------------


def delete_offsets(
    shard: ShardState, request: OffsetDeleteRequest, reply: Deferred[OffsetDeleteResponse]
) -> None:
    """Forget offsets of topics nobody in the group reads (KIP-496)."""
    group = shard.groups.get(request.group_id)
    if group is None:
        shard.answer(reply, OffsetDeleteResponse(error_code=ErrorCode.GROUP_ID_NOT_FOUND))
        return
    if group.state is not GroupState.EMPTY and not group.uses_consumer_protocol:
        shard.answer(reply, OffsetDeleteResponse(error_code=ErrorCode.NON_EMPTY_GROUP))
        return
    records: list[GroupRecord] = []
    topics = []
    for topic in request.topics:
        in_use = group.is_subscribed_to(topic.name)
        result = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if in_use else ErrorCode.NONE
        for partition in topic.partitions:
            index = partition.partition_index
            if not in_use and _is_known(shard, group.group_id, topic.name, index):
                records.append(offset_tombstone(group.group_id, topic.name, index))
        topics.append(
            OffsetDeleteResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetDeleteResponsePartition(
                        partition_index=partition.partition_index, error_code=result
                    )
                    for partition in topic.partitions
                ],
            )
        )

    def done(error: ErrorCode) -> None:
        if error is ErrorCode.NONE:
            shard.answer(reply, OffsetDeleteResponse(topics=topics))
        else:
            shard.answer(reply, OffsetDeleteResponse(error_code=reply_error(error)))

    write_deletions(shard, records, done)


def _is_known(shard: ShardState, group_id: str, topic: str, index: int) -> bool:
    return shard.offsets.get(group_id, topic, index) is not None or shard.offsets.is_unstable(
        group_id, topic, index
    )


def deletion_error(group: Group | None) -> ErrorCode:
    """Whether a group may be deleted now."""
    if group is None:
        return ErrorCode.GROUP_ID_NOT_FOUND
    return ErrorCode.NONE if group.state is GroupState.EMPTY else ErrorCode.NON_EMPTY_GROUP


def group_deletion(shard: ShardState, group_id: str) -> list[GroupRecord]:
    """The records that end a group: its offsets first, so that what is left after a crash is still a group."""
    known = [
        (topic, index)
        for topic, partitions in shard.offsets.of_group(group_id).items()
        for index in partitions
    ]
    held = [pair for pair in shard.offsets.unstable(group_id) if shard.offsets.get(group_id, *pair) is None]
    return [
        *(offset_tombstone(group_id, topic, index) for topic, index in (*known, *held)),
        group_tombstone(group_id),
    ]


def delete_groups(shard: ShardState, group_ids: Iterable[str], reply: Deferred[dict[str, ErrorCode]]) -> None:
    """Forget groups nobody is in, and their offsets."""
    results: dict[str, ErrorCode] = {}
    records: list[GroupRecord] = []
    for group_id in group_ids:
        results[group_id] = deletion_error(shard.groups.get(group_id))
        if results[group_id] is ErrorCode.NONE:
            records += group_deletion(shard, group_id)

    def done(error: ErrorCode) -> None:
        if error is not ErrorCode.NONE:
            for group_id, result in results.items():
                if result is ErrorCode.NONE:
                    results[group_id] = reply_error(error)
        shard.answer(reply, results)

    write_deletions(shard, records, done)


# -- expiry and deleted topics -----------------------------------------------------------------------------------


def expire(shard: ShardState) -> None:
    """Forget offsets past their retention, and empty groups that have none left."""
    records: list[GroupRecord] = []
    for group in shard.groups.values():
        expired = _expired_offsets(shard, group)
        if expired is None:
            continue
        records += (offset_tombstone(group.group_id, topic, index) for topic, index in expired)
        left = sum(map(len, shard.offsets.of_group(group.group_id).values())) - len(expired)
        unstable = next(shard.offsets.unstable(group.group_id), None) is not None
        # Unlike Kafka we keep a group somebody is about to join.
        if not left and not unstable and group.state is GroupState.EMPTY and not group.pending_join:
            records.append(group_tombstone(group.group_id))
    if records:
        shard.notice(f"{len(records)} expired offsets and groups are deleted")
        write_deletions(shard, records, lambda _: None)


def _expired_offsets(shard: ShardState, group: Group) -> list[tuple[str, int]] | None:
    """What has expired of a group's offsets; None while nothing of it can expire."""
    by_commit_time = group.protocol_type is None or (
        group.uses_consumer_protocol and group.topics is not None and group.state is GroupState.STABLE
    )
    if not by_commit_time and group.state is not GroupState.EMPTY:
        return None
    emptied_ms = None if by_commit_time else group.state_timestamp_ms
    return [
        (topic, index)
        for topic, partitions in shard.offsets.of_group(group.group_id).items()
        if not group.is_subscribed_to(topic)
        for index, committed in partitions.items()
        if committed.is_expired(
            shard.now.wall_ms,
            committed.committed_ms if emptied_ms is None else emptied_ms,
            shard.config.offsets_retention_ms,
        )
        and not shard.offsets.is_unstable(group.group_id, topic, index)
    ]


def forget_topics(shard: ShardState, deleted: Iterable[tuple[str, Uuid]]) -> None:
    """Topics (name, id) are gone: so are offsets committed for them, unless they are already of a namesake."""
    records = [
        offset_tombstone(group_id, topic, index)
        for topic, topic_id in deleted
        for group_id, index, committed in shard.offsets.of_topic(topic)
        if committed.is_of(topic_id)
    ]
    if records:
        shard.notice(f"{len(records)} offsets of deleted topics are deleted")
        write_deletions(shard, records, lambda _: None)


def write_deletions(shard: ShardState, records: Sequence[GroupRecord], done: Stored) -> None:
    """Write in pieces that fit a batch; `done` hears the first error, or NONE after the last piece."""
    pieces = _pieces(records, shard.config.write_bytes_max)
    if not pieces:
        done(ErrorCode.NONE)
        return
    waiting = len(pieces)
    worst = ErrorCode.NONE

    def stored(error: ErrorCode) -> None:
        nonlocal waiting, worst
        waiting -= 1
        if worst is ErrorCode.NONE:
            worst = error
        if not waiting:
            done(worst)

    for piece in pieces:
        shard.write(piece, stored, replay=True)


def _pieces(records: Sequence[GroupRecord], bytes_max: int) -> list[list[GroupRecord]]:
    """The tombstones in runs that fit one batch: names are short as a rule, but may have 32 KiB."""
    pieces: list[list[GroupRecord]] = []
    room = 0
    for record in records:
        key = record.key
        topic = key.topic if isinstance(key, OffsetCommitKey) else ""
        size_max = UTF8_BYTES_PER_CHAR_MAX * (len(key.group) + len(topic)) + RECORD_OVERHEAD_BYTES_MAX
        if size_max > room or len(pieces[-1]) == GROUP_TOMBSTONES_PER_WRITE_MAX:
            pieces.append([])
            room = bytes_max
        pieces[-1].append(record)
        room -= size_max
    return pieces
