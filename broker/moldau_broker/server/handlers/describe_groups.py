"""DescribeGroups: served 0-6.

Behaviour: groups of which this broker is coordinator; a group nobody knows is Dead. Authorized operations are not
computed: there is no authorizer yet. Version notes: v4 instance ids; v6 says GROUP_ID_NOT_FOUND (KIP-1043).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.coordinator.replies import gathered, mapped
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DescribeGroupsRequest
) -> Deferred[DescribeGroupsResponse]:
    """One entry for each group asked for, in that order."""
    entries = [broker.groups.describe_group(group_id, context.api_version) for group_id in request.groups]
    return mapped(gathered(entries), lambda groups: DescribeGroupsResponse(groups=groups))


HANDLER = Handler(api=ApiKey.DESCRIBE_GROUPS, versions=(0, 6), handle=handle)
