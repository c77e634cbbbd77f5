"""JoinGroup: served 0-9.

Behaviour: as Kafka 4.3's classic groups; the answer waits for the rebalance the member takes part in.
Version notes: v0 has no rebalance timeout and uses the session timeout; v4 asks new members to come back with an id
(KIP-394); v5 static members (KIP-345); v7 names the protocol type and has null for no protocol; v9 tells a returning
static leader to skip the assignment (KIP-814).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.coordinator.replies import mapped
from moldau_broker.coordinator.shard_state import Client
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_REBALANCE_TIMEOUT_SINCE = 1
_NULL_PROTOCOL_SINCE = 7


def handle(
    broker: Broker, context: RequestContext, request: JoinGroupRequest
) -> JoinGroupResponse | Deferred[JoinGroupResponse]:
    """Let the coordinator decide; put the answer into the form of the client's version."""
    version = context.api_version
    if version < _REBALANCE_TIMEOUT_SINCE:
        request = replace(request, rebalance_timeout_ms=request.session_timeout_ms)
    client = Client(context.client_id or "", f"/{context.peer_host}", version)
    answer = broker.groups.join_group(request, client)
    if isinstance(answer, Deferred):
        return mapped(answer, lambda response: _in_version(response, version))
    return _in_version(answer, version)


def _in_version(response: JoinGroupResponse, version: int) -> JoinGroupResponse:
    """No protocol is null since v7 and empty before."""
    nothing = None if version >= _NULL_PROTOCOL_SINCE else ""
    if response.protocol_name or response.protocol_name == nothing:
        return response
    return replace(response, protocol_name=nothing)


HANDLER = Handler(api=ApiKey.JOIN_GROUP, versions=(0, 9), handle=handle)
