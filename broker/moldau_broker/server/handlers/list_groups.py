"""ListGroups: served 0-5.

Behaviour: the groups of which this broker is coordinator. Version notes: v4 filters by state (KIP-518), v5 by type
(KIP-848); names in any letter case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse

if TYPE_CHECKING:
    from moldau_broker.base.deferred import Deferred
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: ListGroupsRequest
) -> Deferred[ListGroupsResponse]:
    """The groups of every shard here."""
    return broker.groups.list_groups(request)


HANDLER = Handler(api=ApiKey.LIST_GROUPS, versions=(0, 5), handle=handle)
