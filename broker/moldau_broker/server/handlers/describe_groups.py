"""DescribeGroups: served 0-6.

Behaviour: groups of which this broker is coordinator; a group nobody knows is Dead. Authorized operations are all of
them as long as there is no authorizer. Version notes: v3 authorized operations (KIP-430); v4 instance ids; v6 says
GROUP_ID_NOT_FOUND (KIP-1043).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.coordinator.replies import gathered, mapped
from moldau_broker.server.handlers.authorized import ALL_GROUP_OPERATIONS
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_groups import (
    DescribedGroup,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DescribeGroupsRequest
) -> Deferred[DescribeGroupsResponse]:
    """One entry for each group asked for, in that order."""
    entries = [broker.groups.describe_group(group_id, context.api_version) for group_id in request.groups]
    if request.include_authorized_operations:
        entries = [mapped(entry, _with_operations) for entry in entries]
    return mapped(gathered(entries), lambda groups: DescribeGroupsResponse(groups=groups))


def _with_operations(group: DescribedGroup) -> DescribedGroup:
    return group if group.error_code else replace(group, authorized_operations=ALL_GROUP_OPERATIONS)


HANDLER = Handler(api=ApiKey.DESCRIBE_GROUPS, versions=(0, 6), handle=handle)
