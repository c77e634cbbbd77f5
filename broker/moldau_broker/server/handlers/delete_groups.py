"""DeleteGroups: served 0-2.

Behaviour: empty groups and their offsets are forgotten; NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND are per group. A group
named twice is answered once, as by Kafka.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.coordinator.replies import gathered, mapped
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: DeleteGroupsRequest
) -> Deferred[DeleteGroupsResponse]:
    """Answered once every deletion is stored."""
    group_ids = list(dict.fromkeys(request.groups_names))
    deletions = [broker.groups.delete_group(group_id) for group_id in group_ids]
    return mapped(
        gathered(deletions),
        lambda errors: DeleteGroupsResponse(
            results=[
                DeletableGroupResult(group_id=group_id, error_code=error)
                for group_id, error in zip(group_ids, errors, strict=True)
            ]
        ),
    )


HANDLER = Handler(api=ApiKey.DELETE_GROUPS, versions=(0, 2), handle=handle)
