"""JoinGroup: every way into a group, and what each costs the others. Pure.

no id, dynamic, v4+     -> an id to come back with (KIP-394), nobody is disturbed
no id, dynamic, v0-3    -> a new member: rebalance
no id, static, unknown  -> a new member: rebalance
no id, static, known    -> takes its predecessor's place (KIP-345); a Stable group does not rebalance for it
                           unless the chosen protocol changes
id, pending             -> a new member: rebalance
id, member, group is
  PreparingRebalance    -> parked until the join phase ends
  CompletingRebalance   -> same metadata: the current generation again; else rebalance
  Stable                -> leader, or changed metadata: rebalance; else the current generation again
"""

from __future__ import annotations

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import GROUP_METADATA_BYTES_MAX
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.member import NO_MEMBER_ID, Member, Protocol
from moldau_broker.coordinator.rebalance import (
    answer_join,
    answer_sync,
    discard,
    generation_response,
    keep_alive,
    maybe_complete_join,
    member_list,
    prepare,
    prepare_or_complete,
    watch,
)
from moldau_broker.coordinator.records import group_record, new_group_record
from moldau_broker.coordinator.shard_state import Client, ShardState, reply_error
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from moldau_broker.wire.messages.sync_group import SyncGroupResponse

MEMBER_ID_REQUIRED_SINCE = 4
SKIP_ASSIGNMENT_SINCE = 9


def join(
    shard: ShardState, request: JoinGroupRequest, client: Client, reply: Deferred[JoinGroupResponse]
) -> None:
    """Handle one JoinGroup; `reply` is answered now or when the rebalance it takes part in gets there."""
    group = shard.groups.get(request.group_id)
    is_new_group = group is None
    if group is None:
        if request.member_id != NO_MEMBER_ID:
            _refuse(shard, reply, ErrorCode.UNKNOWN_MEMBER_ID, request.member_id)
            return
        if len(shard.groups) >= shard.config.groups_per_shard_max:
            _refuse(shard, reply, ErrorCode.POLICY_VIOLATION, NO_MEMBER_ID)
            return
        group = Group(request.group_id, shard.now.wall_ms)
    protocols = _protocols(request)
    error = _admission_error(shard, group, request, protocols)
    if error is not ErrorCode.NONE:
        if error is ErrorCode.GROUP_MAX_SIZE_REACHED:
            discard(shard, group, request.member_id)
            _refuse(shard, reply, error, NO_MEMBER_ID)
        else:
            _refuse(shard, reply, error, request.member_id)
        return
    if is_new_group:
        shard.groups[group.group_id] = group
        shard.write([new_group_record(group)], _ignore, replay=False)
    if request.member_id == NO_MEMBER_ID:
        _join_without_id(shard, group, request, protocols, client, reply)
    elif request.member_id in group.pending_join:
        _join_new(shard, group, request, protocols, client, request.member_id, reply)
    else:
        _rejoin(shard, group, request, protocols, reply)


def _protocols(request: JoinGroupRequest) -> tuple[Protocol, ...]:
    """What the client speaks, best first; a name given twice counts once."""
    protocols: dict[str, Protocol] = {}
    for protocol in request.protocols:
        protocols.setdefault(protocol.name, Protocol(protocol.name, protocol.metadata))
    return tuple(protocols.values())


def _admission_error(
    shard: ShardState, group: Group, request: JoinGroupRequest, protocols: tuple[Protocol, ...]
) -> ErrorCode:
    if not _has_room(shard, group, request.member_id):
        return ErrorCode.GROUP_MAX_SIZE_REACHED
    if not group.supports(request.protocol_type, protocols):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if sum(len(protocol.metadata) for protocol in protocols) > GROUP_METADATA_BYTES_MAX:
        # Kafka takes it in and fails the whole group when the generation cannot be stored.
        return ErrorCode.INVALID_REQUEST
    return ErrorCode.NONE


def _has_room(shard: ShardState, group: Group, member_id: str) -> bool:
    """Whether one more may come in; the ids that were only handed out are bounded as well."""
    size_max = shard.config.group_size_max
    if member_id == NO_MEMBER_ID and len(group.pending_join) >= size_max:
        return False
    if group.state is GroupState.EMPTY:
        return True
    member = group.members.get(member_id)
    if group.state is GroupState.PREPARING_REBALANCE:
        # Counted by who has joined: if the bound was lowered, the last to rejoin are the ones left out.
        return (member is not None and member.awaiting_join is not None) or group.joins_parked < size_max
    return member is not None or len(group.members) < size_max


def _join_without_id(
    shard: ShardState,
    group: Group,
    request: JoinGroupRequest,
    protocols: tuple[Protocol, ...],
    client: Client,
    reply: Deferred[JoinGroupResponse],
) -> None:
    instance_id = request.group_instance_id
    new_id = f"{client.client_id if instance_id is None else instance_id}-{shard.new_uuid()}"
    if instance_id is not None:
        old_id = group.static_members.get(instance_id)
        if old_id is None:
            _join_new(shard, group, request, protocols, client, new_id, reply)
        else:
            _replace_static(shard, group, request, protocols, client, old_id, new_id, reply)
    elif client.api_version >= MEMBER_ID_REQUIRED_SINCE:
        group.pending_join.add(new_id)
        watch(shard, group, new_id, request.session_timeout_ms)
        _refuse(shard, reply, ErrorCode.MEMBER_ID_REQUIRED, new_id)
    else:
        _join_new(shard, group, request, protocols, client, new_id, reply)


def _join_new(
    shard: ShardState,
    group: Group,
    request: JoinGroupRequest,
    protocols: tuple[Protocol, ...],
    client: Client,
    member_id: str,
    reply: Deferred[JoinGroupResponse],
) -> None:
    if (
        request.group_instance_id is not None
        and group.static_members.get(request.group_instance_id) is not None
    ):
        # A pending dynamic id that turns static under another member's name: the id was never that instance's.
        _refuse(shard, reply, ErrorCode.FENCED_INSTANCE_ID, member_id)
        return
    member = Member(
        member_id,
        instance_id=request.group_instance_id,
        client_id=client.client_id,
        client_host=client.host,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        session_timeout_ms=request.session_timeout_ms,
        protocols=protocols,
    )
    member.is_new = True
    member.awaiting_join = reply
    if group.is_initial_rebalance:
        group.new_member_added = True
    group.add(member, request.protocol_type)
    # It has no generation, so it sends no heartbeats, and a parked request does not show that its client is gone.
    # So that retries of gone clients do not pile up, the join itself has a time limit; a live client joins again.
    keep_alive(shard, group, member, shard.config.new_member_join_timeout_ms)
    prepare_or_complete(
        shard, group, f"member {member_id} joins; client says: {_reason(request)}", client.client_id
    )


def _rejoin(
    shard: ShardState,
    group: Group,
    request: JoinGroupRequest,
    protocols: tuple[Protocol, ...],
    reply: Deferred[JoinGroupResponse],
) -> None:
    member_id = request.member_id
    error = group.check_member(member_id, request.group_instance_id)
    if error is not ErrorCode.NONE:
        _refuse(shard, reply, error, member_id)
        return
    member = group.members[member_id]
    same = member.protocols == protocols
    if group.state is GroupState.PREPARING_REBALANCE:
        why = "joins"
    elif group.state is GroupState.STABLE and group.leader_id == member_id:
        # The leader may know of a change that its subscription does not show, such as a new partition.
        why = "leads and joins again"
    elif not same:
        why = "has changed its subscription"
    else:
        # It may have missed the answer; nobody else needs to know.
        keep_alive(shard, group, member)
        shard.answer(reply, generation_response(group, member))
        return
    _park(shard, group, member, request, protocols, reply)
    prepare_or_complete(
        shard, group, f"member {member_id} {why}; client says: {_reason(request)}", member.client_id
    )


def _park(
    shard: ShardState,
    group: Group,
    member: Member,
    request: JoinGroupRequest,
    protocols: tuple[Protocol, ...],
    reply: Deferred[JoinGroupResponse],
) -> None:
    """Take the member's join as it is now. An older join still parked is sent back: its client has given it up."""
    answer_join(
        shard,
        group,
        member,
        JoinGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS, member_id=member.member_id),
    )
    group.change_protocols(member, protocols)
    member.rebalance_timeout_ms = request.rebalance_timeout_ms
    member.session_timeout_ms = request.session_timeout_ms
    member.awaiting_join = reply
    group.note_join_parked(member)


def _replace_static(
    shard: ShardState,
    group: Group,
    request: JoinGroupRequest,
    protocols: tuple[Protocol, ...],
    client: Client,
    old_id: str,
    new_id: str,
    reply: Deferred[JoinGroupResponse],
) -> None:
    """A static member is back under a new id: its predecessor, if it still runs, is fenced."""
    old_leader = group.leader_id
    old, member = group.replace_static_member(old_id, new_id)
    fenced = ErrorCode.FENCED_INSTANCE_ID
    answer_join(shard, group, old, JoinGroupResponse(error_code=fenced, member_id=old_id))
    answer_sync(shard, old, SyncGroupResponse(error_code=fenced))
    shard.timers.cancel(("member", group.group_id, old_id))
    _park(shard, group, member, request, protocols, reply)
    keep_alive(shard, group, member)
    instance = f"static member {request.group_instance_id} comes back as {new_id}"
    if group.state is GroupState.COMPLETING_REBALANCE:
        # The leader may have been told the old id already, and would assign to nobody.
        prepare(shard, group, f"{instance}; client says: {_reason(request)}", client.client_id)
    elif group.state is GroupState.STABLE:
        if group.select_protocol() != group.protocol_name:
            changed = f"{instance} and changes the protocol; client says: {_reason(request)}"
            prepare(shard, group, changed, client.client_id)
        else:
            _store_replacement(shard, group, member, client, old_leader)
    else:
        maybe_complete_join(shard, group)


def _store_replacement(
    shard: ShardState, group: Group, member: Member, client: Client, old_leader: str | None
) -> None:
    """Persist the new id without a rebalance; answer with the generation as it stands.

    A leader that understands `skip_assignment` (v9, KIP-814) is told that it leads and has nothing to compute.
    Older ones are told the previous leader's id, so that they take themselves for followers.
    """
    generation = group.generation
    group.refresh_topics()
    shard.note_subscription(group)

    def stored(error: ErrorCode) -> None:
        if group.state is not GroupState.STABLE or group.generation != generation:
            return  # a rebalance has begun since and will answer it
        if error is not ErrorCode.NONE:
            answer_join(
                shard,
                group,
                member,
                JoinGroupResponse(
                    error_code=reply_error(error), member_id=NO_MEMBER_ID, leader=old_leader or ""
                ),
            )
            return
        leads = group.leader_id == member.member_id and client.api_version >= SKIP_ASSIGNMENT_SINCE
        answer_join(
            shard,
            group,
            member,
            JoinGroupResponse(
                generation_id=generation,
                protocol_type=group.protocol_type,
                protocol_name=group.protocol_name,
                leader=(group.leader_id if client.api_version >= SKIP_ASSIGNMENT_SINCE else old_leader) or "",
                skip_assignment=leads,
                member_id=member.member_id,
                members=member_list(group) if leads else (),
            ),
        )

    assignments = {known.member_id: known.assignment for known in group.members.values()}
    shard.write([group_record(group, assignments)], stored, replay=False)


def _refuse(shard: ShardState, reply: Deferred[JoinGroupResponse], error: ErrorCode, member_id: str) -> None:
    shard.answer(reply, JoinGroupResponse(error_code=error, member_id=member_id))


def _reason(request: JoinGroupRequest) -> str:
    return (request.reason or "not provided")[:255]


def _ignore(_: ErrorCode) -> None:
    """A group that could not be created is gone after the reload; its first member joins again."""
