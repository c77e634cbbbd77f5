"""SyncGroup: served 0-5.

Behaviour: as Kafka 4.3's classic groups; the answer waits until the leader's assignment is stored.
Version notes: v3 static members (KIP-345); v5 must name protocol type and name (KIP-559).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from moldau_broker.base.deferred import Deferred
    from moldau_broker.server.broker import Broker

_PROTOCOL_REQUIRED_SINCE = 5


def handle(
    broker: Broker, context: RequestContext, request: SyncGroupRequest
) -> SyncGroupResponse | Deferred[SyncGroupResponse]:
    """Let the coordinator decide, but for what only the version tells."""
    if context.api_version >= _PROTOCOL_REQUIRED_SINCE and None in (
        request.protocol_type,
        request.protocol_name,
    ):
        return SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    return broker.groups.sync_group(request)


HANDLER = Handler(api=ApiKey.SYNC_GROUP, versions=(0, 5), handle=handle)
