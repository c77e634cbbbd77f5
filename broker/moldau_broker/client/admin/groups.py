"""Consumer groups: list, describe, delete. Where they stand is in `offsets`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer_protocol import PROTOCOL_TYPE, read_assignment
from moldau_broker.client.coordinators import ask_coordinators
from moldau_broker.client.errors import ClientError, RequestFailed, raise_for
from moldau_broker.client.partitions import TopicPartition
from moldau_broker.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from moldau_broker.wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from moldau_broker.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse

DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class ListedGroup:
    """A group as its coordinator lists it."""

    id: str
    protocol_type: str
    state: str
    type: str
    coordinator: int


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member and, if the group's protocol is the consumers', the partitions it reads."""

    id: str
    instance_id: str | None
    client_id: str
    host: str
    assignment: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group with its members. `protocol` is the assignor's name in consumer groups."""

    id: str
    state: str
    protocol_type: str
    protocol: str
    coordinator: int
    members: tuple[GroupMember, ...]


async def list_groups(cluster: Cluster, *, states: Iterable[str] = ()) -> list[ListedGroup]:
    """All groups of all coordinators, by id; only those in `states` if any are named.

    Raises:
        ClientError: some broker could not be asked, so that the list would not be whole.
    """
    wanted = list(states)

    async def ask(node: int) -> list[ListedGroup]:
        async def attempt() -> list[ListedGroup]:
            answer = await cluster.ask(ListGroupsRequest(states_filter=wanted), ListGroupsResponse, node=node)
            raise_for(answer.error_code, f"the groups of broker {node}")
            return [
                ListedGroup(g.group_id, g.protocol_type, g.group_state, g.group_type, node)
                for g in answer.groups
            ]

        return await cluster.retry(attempt)

    await cluster.retry(lambda: cluster.refresh(()))
    found = await asyncio.gather(*map(ask, sorted(cluster.metadata.nodes)))
    return sorted((group for groups in found for group in groups), key=lambda group: group.id)


async def describe_groups(
    cluster: Cluster, groups: Iterable[str]
) -> dict[str, GroupDescription | ClientError]:
    """State and members of these groups; GROUP_ID_NOT_FOUND for those that do not exist."""

    async def ask(node: int, names: list[str]) -> dict[str, GroupDescription | ClientError]:
        answer = await cluster.ask(DescribeGroupsRequest(groups=names), DescribeGroupsResponse, node=node)
        return {group.group_id: _read(group, node) for group in answer.groups}

    return await ask_coordinators(cluster, groups, ask)


async def delete_groups(cluster: Cluster, groups: Iterable[str]) -> dict[str, ClientError | None]:
    """Delete groups with their offsets; a group with members is refused with NON_EMPTY_GROUP."""

    async def ask(node: int, names: list[str]) -> dict[str, ClientError | None]:
        answer = await cluster.ask(DeleteGroupsRequest(groups_names=names), DeleteGroupsResponse, node=node)
        return {r.group_id: outcome(r.error_code, f"group {r.group_id}") for r in answer.results}

    return await ask_coordinators(cluster, groups, ask)


def _read(group: DescribedGroup, node: int) -> GroupDescription | ClientError:
    what = f"group {group.group_id}"
    failed = outcome(group.error_code, what, group.error_message)
    if failed is not None:
        return failed
    if group.group_state == DEAD:  # how versions below 6 say that there is no such group
        return RequestFailed(ErrorCode.GROUP_ID_NOT_FOUND, what)
    return GroupDescription(
        id=group.group_id,
        state=group.group_state,
        protocol_type=group.protocol_type,
        protocol=group.protocol_data,
        coordinator=node,
        members=tuple(_read_member(group.protocol_type, member) for member in group.members),
    )


def _read_member(protocol_type: str, member: DescribedGroupMember) -> GroupMember:
    consumer = protocol_type == PROTOCOL_TYPE
    return GroupMember(
        id=member.member_id,
        instance_id=member.group_instance_id,
        client_id=member.client_id,
        host=member.client_host.removeprefix("/"),
        assignment=read_assignment(member.member_assignment) if consumer else (),
    )
