"""Offsets moved by an administrator, under a fence: nobody joins between the check and the commit. Pure.

The check, the removal of members (only where it is forced) and the commit are one call of the shard, and what it
writes follows in the log without anything between. A reset has a name: asked again under the same name, because the
answer was lost, it is not done twice. The name is remembered in memory and in the metadata of the commits it made, so
that it is forgotten only where the coordinator moved *and* every partition has been committed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.offsets import NO_EPOCH, CommittedOffset
from moldau_broker.coordinator.rebalance import complete_join, discard, prepare
from moldau_broker.coordinator.records import offset_record
from moldau_broker.coordinator.shard_state import ShardState, reply_error

_MARK: Final = "moldau.reset="


class OffsetReset(NamedTuple):
    """Where a group shall read on.

    Attributes:
        targets: (topic, partition) -> (the next offset to read, the topic's id).
        reset_id: names this reset; "" has none and is done whenever it is asked for.
        force: members are removed first; else the reset is refused while there are any.
        dry_run: look only.
    """

    group_id: str
    targets: Mapping[tuple[str, int], tuple[int, Uuid]]
    reset_id: str = ""
    force: bool = False
    dry_run: bool = False


class ResetOutcome(NamedTuple):
    """What became of a reset.

    Attributes:
        error: NONE, NON_EMPTY_GROUP while members are active, or why nothing could be stored.
        message: the reason in words where there is an error.
        applied: the offsets are stored (by this request, or by an earlier one of the same name).
        before: the committed offsets before it, of the partitions that had one.
        members: ids of the members in the way; removed ones where the reset was forced.
    """

    error: ErrorCode
    message: str
    applied: bool
    before: Mapping[tuple[str, int], int]
    members: tuple[str, ...] = ()


def reset_offsets(shard: ShardState, reset: OffsetReset, reply: Deferred[ResetOutcome]) -> None:
    """Check, remove members where forced, commit; `reply` is answered once the offsets are durable."""
    group_id = reset.group_id
    group = shard.groups.get(group_id)
    before = {
        place: committed.offset
        for place in reset.targets
        if (committed := shard.offsets.get(group_id, *place)) is not None
    }
    members = () if group is None else (*group.members, *sorted(group.pending_join))

    def answer(error: ErrorCode, message: str = "", *, applied: bool = False) -> None:
        shard.answer(reply, ResetOutcome(error, message, applied, before, members))

    if reset.reset_id and _is_done(shard, reset):
        answer(ErrorCode.NONE, applied=True)
        return
    if members and not reset.force:
        answer(ErrorCode.NON_EMPTY_GROUP, f"{len(members)} members are active: {', '.join(members[:5])}")
        return
    if group is None and len(shard.groups) >= shard.config.groups_per_shard_max:
        answer(ErrorCode.POLICY_VIOLATION, "the coordinator holds as many groups as it may")
        return
    if reset.dry_run or not reset.targets:
        answer(ErrorCode.NONE)
        return
    if group is not None and members:
        _remove_members(shard, group)

    def stored(error: ErrorCode) -> None:
        if error is ErrorCode.NONE:
            if reset.reset_id:
                shard.resets[group_id] = reset.reset_id
            answer(ErrorCode.NONE, applied=True)
        else:
            answer(reply_error(error), f"the offsets could not be stored: {error.name}")

    mark = _MARK + reset.reset_id if reset.reset_id else ""
    records = [
        offset_record(
            group_id,
            topic,
            index,
            CommittedOffset(offset, NO_EPOCH, mark, shard.now.wall_ms, topic_id=topic_id),
        )
        for (topic, index), (offset, topic_id) in reset.targets.items()
    ]
    shard.write(records, stored, replay=True)


def _is_done(shard: ShardState, reset: OffsetReset) -> bool:
    if shard.resets.get(reset.group_id) == reset.reset_id:
        return True
    mark = _MARK + reset.reset_id
    return any(
        committed.metadata == mark
        for place in reset.targets
        if (committed := shard.offsets.get(reset.group_id, *place)) is not None
    )


def _remove_members(shard: ShardState, group: Group) -> None:
    """Everybody is out, and learns it by UNKNOWN_MEMBER_ID; the group is Empty in its next generation."""
    shard.notice("group.members_removed", group, members=len(group.members), reason="a reset of its offsets")
    for member_id in (*group.members, *group.pending_join):
        discard(shard, group, member_id)
    if group.state is GroupState.PREPARING_REBALANCE:
        complete_join(shard, group)
    elif group.state is not GroupState.EMPTY:
        prepare(shard, group, "its members were removed")
    assert group.state is GroupState.EMPTY, (
        f"group {group.group_id} has no member left and is {group.state.value}"
    )
