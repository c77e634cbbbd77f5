"""How offsets and groups end: OffsetDelete, DeleteGroups, retention, deleted topics. Pure.

Every end is a tombstone. There may be many at once, so they are cut into writes that fit a batch; a group's own
tombstone comes after those of its offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.limits import GROUP_TOMBSTONES_PER_WRITE_MAX
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.records import (
    RECORD_OVERHEAD_BYTES_MAX,
    GroupRecord,
    group_tombstone,
    offset_tombstone,
)
from moldau_broker.coordinator.shard_state import ShardState, Stored, reply_error
from moldau_broker.wire.messages.group_records import OffsetCommitKey
from moldau_broker.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

UTF8_BYTES_PER_CHAR_MAX = 4


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
        shard.notice("group.offsets_expired", deleted=len(records))
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
        shard.notice("group.offsets_of_deleted_topics", deleted=len(records))
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
