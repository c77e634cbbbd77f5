"""LeaveGroup: served 0-5.

Behaviour: members leave at once, the others rebalance. Version notes: one member id to v2 and its error on top;
a list of members with an error each since v3, also static ones by instance id alone (KIP-345).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.coordinator.replies import mapped
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_LIST_SINCE = 3


def handle(
    broker: Broker, context: RequestContext, request: LeaveGroupRequest
) -> LeaveGroupResponse | Deferred[LeaveGroupResponse]:
    """Let the coordinator decide; old clients name one member and read one error."""
    if context.api_version >= _LIST_SINCE:
        return broker.groups.leave_group(request)
    answer = broker.groups.leave_group(
        replace(request, members=[MemberIdentity(member_id=request.member_id)])
    )
    return mapped(answer, _single) if isinstance(answer, Deferred) else _single(answer)


def _single(response: LeaveGroupResponse) -> LeaveGroupResponse:
    if response.error_code or not response.members:
        return response
    return LeaveGroupResponse(error_code=response.members[0].error_code)


HANDLER = Handler(api=ApiKey.LEAVE_GROUP, versions=(0, 5), handle=handle)
