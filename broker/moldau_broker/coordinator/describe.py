"""What a shard's groups look like from outside: DescribeGroups, ListGroups, and plain values for lag. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.member import Member
from moldau_broker.coordinator.offsets import CommittedOffset
from moldau_broker.coordinator.shard_state import ShardState
from moldau_broker.wire.messages.describe_groups import DescribedGroup, DescribedGroupMember
from moldau_broker.wire.messages.list_groups import ListedGroup

CLASSIC: Final = "classic"
GROUP_ID_NOT_FOUND_SINCE: Final = 6


class MemberView(NamedTuple):
    """A member as an operator wants to see it."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    assignment: bytes


class GroupView(NamedTuple):
    """A group, its members and its offsets, copied out of the shard.

    Attributes:
        state: Kafka's name of the state ("Stable", ...).
        topics: subscribed topics; None when not known.
        offsets: (topic, partition) -> committed offset.
    """

    group_id: str
    state: str
    protocol_type: str
    protocol_name: str
    generation: int
    leader_id: str
    topics: frozenset[str] | None
    members: tuple[MemberView, ...]
    offsets: Mapping[tuple[str, int], CommittedOffset]


class GroupSketch(NamedTuple):
    """What metrics show of a group, cheaply: `offsets` (topic -> partition -> commit) is the live table."""

    group_id: str
    state: str
    members: int
    offsets: Mapping[str, Mapping[int, CommittedOffset]]


def sketch(shard: ShardState, group: Group) -> GroupSketch:
    """The group as it is now; not to be kept."""
    offsets = shard.offsets.of_group(group.group_id)
    return GroupSketch(group.group_id, group.state.value, len(group.members), offsets)


def view(shard: ShardState, group: Group) -> GroupView:
    """The group as it is now."""
    return GroupView(
        group_id=group.group_id,
        state=group.state.value,
        protocol_type=group.protocol_type or "",
        protocol_name=group.protocol_name or "",
        generation=group.generation,
        leader_id=group.leader_id or "",
        topics=group.topics,
        members=tuple(
            MemberView(m.member_id, m.instance_id, m.client_id, m.client_host, m.assignment)
            for m in group.members.values()
        ),
        offsets={
            (topic, index): committed
            for topic, partitions in shard.offsets.of_group(group.group_id).items()
            for index, committed in partitions.items()
        },
    )


def described(shard: ShardState, group_id: str, api_version: int) -> DescribedGroup:
    """One entry of DescribeGroups; an unknown group is Dead, and since v6 an error too (KIP-1043)."""
    group = shard.groups.get(group_id)
    if group is None:
        if api_version < GROUP_ID_NOT_FOUND_SINCE:
            return DescribedGroup(group_id=group_id, group_state=GroupState.DEAD.value)
        return DescribedGroup(
            error_code=ErrorCode.GROUP_ID_NOT_FOUND,
            error_message=f"Group {group_id} not found.",
            group_id=group_id,
            group_state=GroupState.DEAD.value,
        )
    stable = group.state is GroupState.STABLE
    return DescribedGroup(
        group_id=group_id,
        group_state=group.state.value,
        protocol_type=group.protocol_type or "",
        protocol_data=(group.protocol_name or "") if stable else "",
        members=[_described_member(group, member, stable=stable) for member in group.members.values()],
    )


def _described_member(group: Group, member: Member, *, stable: bool) -> DescribedGroupMember:
    """Between generations a member's subscription has no agreed format, so it is left out."""
    return DescribedGroupMember(
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        member_metadata=member.metadata(group.protocol_name) if stable else b"",
        member_assignment=member.assignment,
    )


def listed(shard: ShardState, states: Iterable[str], types: Iterable[str]) -> Iterator[ListedGroup]:
    """The groups in one of `states` and of one of `types`, in any letter case; no filter is all of them."""
    wanted_states = {state.lower().strip() for state in states}
    wanted_types = {kind.lower().strip() for kind in types}
    if wanted_types and CLASSIC not in wanted_types:
        return
    for group in shard.groups.values():
        if not wanted_states or group.state.value.lower() in wanted_states:
            yield ListedGroup(
                group_id=group.group_id,
                protocol_type=group.protocol_type or "",
                group_state=group.state.value,
                group_type=CLASSIC,
            )
