"""How a group gets from one generation to the next: gathering members, closing the join phase, time running out. Pure.

    prepare -> (all joined | time is up) -> complete_join -> leader's SyncGroup stored -> Stable

The first rebalance of an empty group always waits `initial_rebalance_delay_ms`, and again as long as more members
keep coming, up to the rebalance timeout. Later ones end as soon as everybody has rejoined; whoever has not when the
rebalance timeout is up is out, unless it is static: a static member leaves only by its session timeout.
Source: Kafka's GroupMetadataManager; KIP-134 (initial delay), KIP-345 (static members), KIP-394 (pending members).
"""

from __future__ import annotations

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.member import NO_MEMBER_ID, Member
from moldau_broker.coordinator.records import group_record
from moldau_broker.coordinator.shard_state import ShardState
from moldau_broker.wire.messages.join_group import JoinGroupResponse, JoinGroupResponseMember
from moldau_broker.wire.messages.sync_group import SyncGroupResponse


def prepare(shard: ShardState, group: Group, reason: str, client_id: str = "") -> None:
    """Begin a rebalance. Members that wait for an assignment are told to join again.

    `client_id`: of the member that is the reason, if it is one member.
    """
    if group.state is GroupState.COMPLETING_REBALANCE:
        drop_assignment(shard, group, ErrorCode.REBALANCE_IN_PROGRESS)
    group.pending_sync.clear()
    shard.timers.cancel(("sync", group.group_id))
    initial = group.state is GroupState.EMPTY
    group.become(GroupState.PREPARING_REBALANCE, shard.now.wall_ms)
    who = {"client_id": client_id} if client_id else {}
    shard.notice("group.rebalance", group, members=len(group.members), reason=reason, **who)
    if initial:
        delay = shard.config.initial_rebalance_delay_ms
        remaining = max(group.rebalance_timeout_ms - delay, 0)
        _at_join_deadline(shard, group, delay, delay, remaining)
    elif group.all_joined:
        complete_join(shard, group)
    else:
        shard.timers.set(
            ("join", group.group_id), _in(shard, group.rebalance_timeout_ms), complete_join, shard, group
        )


def prepare_or_complete(shard: ShardState, group: Group, reason: str, client_id: str) -> None:
    """Someone came or went: begin a rebalance, or if one is under way see whether it can end."""
    if group.can_rebalance:
        prepare(shard, group, reason, client_id)
    else:
        maybe_complete_join(shard, group)


def maybe_complete_join(shard: ShardState, group: Group) -> None:
    """End the join phase if everybody is there; an initial rebalance runs its time."""
    if group.state is GroupState.PREPARING_REBALANCE and not group.is_initial_rebalance and group.all_joined:
        complete_join(shard, group)


def complete_join(shard: ShardState, group: Group) -> None:
    """The join phase is over: drop who did not come, answer who did, wait for the leader's assignment."""
    shard.timers.cancel(("join", group.group_id))
    if group.state is not GroupState.PREPARING_REBALANCE:
        return
    for member in [m for m in group.members.values() if m.awaiting_join is None and m.instance_id is None]:
        shard.notice(
            "group.member_late",
            group,
            member=member.member_id,
            client_id=member.client_id,
            reason="it did not rejoin in time",
        )
        discard(shard, group, member.member_id)
    if group.members and not group.elect_joined_leader():
        # Only static members are left and none has rejoined: give them another round, or their session timeouts.
        shard.timers.set(
            ("join", group.group_id), _in(shard, group.rebalance_timeout_ms), complete_join, shard, group
        )
        return
    group.begin_generation(shard.now.wall_ms)
    shard.note_subscription(group)
    if not group.members:
        shard.notice("group.empty", group)
        shard.write([group_record(group, {})], _ignore, replay=False)
        return
    shard.notice(
        "group.generation",
        group,
        members=len(group.members),
        leader=group.leader_id or "",
        protocol=group.protocol_name or "",
    )
    for member in group.members.values():
        answer_join(shard, group, member, generation_response(group, member))
        keep_alive(shard, group, member)
        member.is_new = False
        group.pending_sync.add(member.member_id)
    shard.timers.set(
        ("sync", group.group_id),
        _in(shard, group.rebalance_timeout_ms),
        _expire_sync,
        shard,
        group,
        group.generation,
    )


def generation_response(group: Group, member: Member) -> JoinGroupResponse:
    """What a member learns of the current generation; the leader alone learns who is in it."""
    return JoinGroupResponse(
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol_name,
        leader=group.leader_id or "",
        member_id=member.member_id,
        members=member_list(group) if group.leader_id == member.member_id else (),
    )


def member_list(group: Group) -> list[JoinGroupResponseMember]:
    """Everybody with the subscription the leader needs to compute an assignment."""
    return [
        JoinGroupResponseMember(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            metadata=member.metadata(group.protocol_name),
        )
        for member in group.members.values()
    ]


# -- parked requests ---------------------------------------------------------------------------------------------


def answer_join(shard: ShardState, group: Group, member: Member, response: JoinGroupResponse) -> None:
    """Answer the member's parked join, if there is one."""
    reply, member.awaiting_join = member.awaiting_join, None
    if reply is not None:
        if member.member_id in group.members:
            group.note_join_answered()
        shard.answer(reply, response)


def answer_sync(shard: ShardState, member: Member, response: SyncGroupResponse) -> bool:
    """Answer the member's parked sync; False if there is none."""
    reply, member.awaiting_sync = member.awaiting_sync, None
    if reply is None:
        return False
    shard.answer(reply, response)
    return True


def discard(shard: ShardState, group: Group, member_id: str) -> None:
    """Forget a member or a pending id. What it waits for ends with UNKNOWN_MEMBER_ID: it may come back as new."""
    shard.timers.cancel(("member", group.group_id, member_id))
    member = group.remove(member_id)
    if member is not None:
        unknown = ErrorCode.UNKNOWN_MEMBER_ID
        answer_join(shard, group, member, JoinGroupResponse(error_code=unknown, member_id=NO_MEMBER_ID))
        answer_sync(shard, member, SyncGroupResponse(error_code=unknown))


def drop_assignment(shard: ShardState, group: Group, error: ErrorCode) -> None:
    """The assignment that members wait for will not come."""
    assert group.state is GroupState.COMPLETING_REBALANCE
    for member in group.members.values():
        member.assignment = b""
        if answer_sync(shard, member, SyncGroupResponse(error_code=error)):
            keep_alive(shard, group, member)


# -- time --------------------------------------------------------------------------------------------------------


def keep_alive(shard: ShardState, group: Group, member: Member, timeout_ms: int | None = None) -> None:
    """The member has been heard of: its session begins anew."""
    timeout = member.session_timeout_ms if timeout_ms is None else timeout_ms
    watch(shard, group, member.member_id, timeout)


def watch(shard: ShardState, group: Group, member_id: str, timeout_ms: int) -> None:
    """Drop a member or a pending id that is not heard of for `timeout_ms`."""
    shard.timers.set(
        ("member", group.group_id, member_id), _in(shard, timeout_ms), _expire_member, shard, group, member_id
    )


def _expire_member(shard: ShardState, group: Group, member_id: str) -> None:
    member = group.members.get(member_id)
    if member is not None and member.heartbeat_satisfied:
        return
    if member is None and member_id not in group.pending_join:
        return
    client_id = member.client_id if member is not None else ""
    shard.notice(
        "group.member_expired",
        group,
        member=member_id,
        client_id=client_id,
        reason="it was not heard of within its session timeout",
    )
    discard(shard, group, member_id)
    if group.state is GroupState.PREPARING_REBALANCE:
        # Also in an initial rebalance: nobody is left to wait for, and Kafka does not wait either.
        if group.all_joined:
            complete_join(shard, group)
    elif member is not None and group.can_rebalance:
        prepare(shard, group, f"member {member_id} timed out", client_id)


def _expire_sync(shard: ShardState, group: Group, generation: int) -> None:
    """Members that took the new generation but never asked for their assignment are out."""
    if generation != group.generation or group.state not in (
        GroupState.COMPLETING_REBALANCE,
        GroupState.STABLE,
    ):
        return
    late = sorted(group.pending_sync)
    if late:
        for member_id in late:
            discard(shard, group, member_id)
        prepare(shard, group, f"no sync from {', '.join(late)}")


def _at_join_deadline(shard: ShardState, group: Group, in_ms: int, delay_ms: int, remaining_ms: int) -> None:
    shard.timers.set(
        ("join", group.group_id), _in(shard, in_ms), _end_initial_delay, shard, group, delay_ms, remaining_ms
    )


def _end_initial_delay(shard: ShardState, group: Group, delay_ms: int, remaining_ms: int) -> None:
    if group.new_member_added and remaining_ms:
        group.new_member_added = False
        next_delay = min(shard.config.initial_rebalance_delay_ms, remaining_ms)
        _at_join_deadline(shard, group, next_delay, next_delay, max(remaining_ms - delay_ms, 0))
    else:
        complete_join(shard, group)


def _in(shard: ShardState, timeout_ms: int) -> int:
    return shard.now.monotonic_ms + timeout_ms


def _ignore(_: ErrorCode) -> None:
    """An empty generation that could not be stored costs nothing: the one before it times out after a reload."""
