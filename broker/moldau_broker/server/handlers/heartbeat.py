"""Heartbeat: served 0-4.

Behaviour: as Kafka 4.3's classic groups; REBALANCE_IN_PROGRESS asks the member to join again. While the coordinator
loads, members are told that all is well. Version notes: v3 static members (KIP-345).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(broker: Broker, context: RequestContext, request: HeartbeatRequest) -> HeartbeatResponse:
    """Answered at once."""
    return HeartbeatResponse(error_code=broker.groups.heartbeat(request))


HANDLER = Handler(api=ApiKey.HEARTBEAT, versions=(0, 4), handle=handle)
