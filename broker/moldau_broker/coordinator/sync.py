"""SyncGroup, Heartbeat and LeaveGroup: taking the assignment, staying, going. Pure.

The leader's assignment is stored before anybody is told of it; until then every SyncGroup is parked.
"""

from __future__ import annotations

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.member import NO_MEMBER_ID
from moldau_broker.coordinator.rebalance import (
    answer_sync,
    discard,
    drop_assignment,
    keep_alive,
    maybe_complete_join,
    prepare,
)
from moldau_broker.coordinator.records import group_record
from moldau_broker.coordinator.shard_state import ShardState, reply_error
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.leave_group import MemberIdentity, MemberResponse
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse


def sync(shard: ShardState, request: SyncGroupRequest, reply: Deferred[SyncGroupResponse]) -> None:
    """Handle one SyncGroup; `reply` is answered at once when Stable, else once the assignment is stored."""
    group = shard.groups.get(request.group_id)
    error = _sync_error(group, request)
    if group is None or error is not ErrorCode.NONE:
        shard.answer(reply, SyncGroupResponse(error_code=error))
        return
    member = group.members[request.member_id]
    group.pending_sync.discard(member.member_id)
    if not group.pending_sync:
        shard.timers.cancel(("sync", group.group_id))
    if group.state is GroupState.STABLE:
        keep_alive(shard, group, member)
        shard.answer(
            reply,
            SyncGroupResponse(
                protocol_type=group.protocol_type,
                protocol_name=group.protocol_name,
                assignment=member.assignment,
            ),
        )
        return
    # A sync of this member that is still parked was given up by its client.
    answer_sync(shard, member, SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS))
    member.awaiting_sync = reply
    if group.leader_id == member.member_id:
        _store_assignment(shard, group, {given.member_id: given.assignment for given in request.assignments})


def _sync_error(group: Group | None, request: SyncGroupRequest) -> ErrorCode:
    if group is None or group.state is GroupState.EMPTY:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.check_member(request.member_id, request.group_instance_id)
    if error is not ErrorCode.NONE:
        return error
    if request.generation_id != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if _differs(request.protocol_type, group.protocol_type) or _differs(
        request.protocol_name, group.protocol_name
    ):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group.state is GroupState.PREPARING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def _differs(asked: str | None, current: str | None) -> bool:
    """Clients before v5 do not say, and then anything goes."""
    return asked is not None and current is not None and asked != current


def _store_assignment(shard: ShardState, group: Group, assignments: dict[str, bytes]) -> None:
    """The first assignment of a generation is the one it has.

    A leader whose connection broke while that is being stored joins again and may hand in another one. Members are
    told the first, so the log must not end with the second: the next coordinator would go by that.
    """
    generation = group.generation
    if group.storing == generation:
        return
    group.storing = generation

    def stored(error: ErrorCode) -> None:
        if group.state is not GroupState.COMPLETING_REBALANCE or group.generation != generation:
            return  # the next rebalance has begun; members were told, or will be
        if error is not ErrorCode.NONE:
            drop_assignment(shard, group, reply_error(error))
            prepare(shard, group, f"the assignment could not be stored: {error.name}")
            return
        for member in group.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            answered = answer_sync(
                shard,
                member,
                SyncGroupResponse(
                    protocol_type=group.protocol_type,
                    protocol_name=group.protocol_name,
                    assignment=member.assignment,
                ),
            )
            if answered:
                # While it was parked its session could not expire, and no new deadline was set.
                keep_alive(shard, group, member)
        group.become(GroupState.STABLE, shard.now.wall_ms)

    shard.write([group_record(group, assignments)], stored, replay=False)


def heartbeat(shard: ShardState, request: HeartbeatRequest) -> ErrorCode:
    """Keep a member's session alive; REBALANCE_IN_PROGRESS tells it to join again."""
    group = shard.groups.get(request.group_id)
    if group is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.check_member(request.member_id, request.group_instance_id)
    if error is not ErrorCode.NONE:
        return error
    if request.generation_id != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    keep_alive(shard, group, group.members[request.member_id])
    if group.state is GroupState.PREPARING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def leave(shard: ShardState, group_id: str, leaving: list[MemberIdentity]) -> list[MemberResponse]:
    """Take members out: by member id, or a static one by its instance id alone (an administrator's way)."""
    group = shard.groups.get(group_id)
    left: list[str] = []
    responses: list[MemberResponse] = []
    for identity in leaving:
        error = ErrorCode.UNKNOWN_MEMBER_ID if group is None else _leave_one(shard, group, identity)
        if error is ErrorCode.NONE:
            left.append(identity.member_id or identity.group_instance_id or "")
        responses.append(
            MemberResponse(
                member_id=identity.member_id, group_instance_id=identity.group_instance_id, error_code=error
            )
        )
    if group is not None and left:
        if group.state is GroupState.PREPARING_REBALANCE:
            maybe_complete_join(shard, group)
        elif group.can_rebalance and group.state is not GroupState.EMPTY:
            prepare(shard, group, f"{', '.join(left)} left")
    return responses


def _leave_one(shard: ShardState, group: Group, identity: MemberIdentity) -> ErrorCode:
    member_id = identity.member_id
    if member_id == NO_MEMBER_ID:
        instance_id = identity.group_instance_id
        if instance_id is None or instance_id not in group.static_members:
            return ErrorCode.UNKNOWN_MEMBER_ID
        member_id = group.static_members[instance_id]
    elif member_id not in group.pending_join:
        error = group.check_member(member_id, identity.group_instance_id)
        if error is not ErrorCode.NONE:
            return error
    reason = (identity.reason or "not provided")[:255]
    member = group.members.get(member_id)
    client_id = member.client_id if member is not None else ""
    shard.notice("group.member_left", group, member=member_id, client_id=client_id, reason=reason)
    discard(shard, group, member_id)
    return ErrorCode.NONE
