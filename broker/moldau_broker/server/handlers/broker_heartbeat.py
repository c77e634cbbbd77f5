"""BrokerHeartbeat: served 0-2 on the controller listener.

Behaviour: keeps the session, unfences, and leads through controlled shutdown (KIP-631). Should the connection end,
the broker is looked into at once. Version notes: v1 offline directories (KIP-858).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: BrokerHeartbeatRequest
) -> BrokerHeartbeatResponse:
    """Have the controller decide, and watch this connection."""
    broker.liveness.heard(request.broker_id, request.broker_epoch, context.connection)
    answer = await ask_controller(broker, context, ApiKey.BROKER_HEARTBEAT, request)
    return cast("BrokerHeartbeatResponse", answer)


HANDLER = Handler(api=ApiKey.BROKER_HEARTBEAT, versions=(0, 2), handle=handle, listeners=CONTROLLER_ONLY)
