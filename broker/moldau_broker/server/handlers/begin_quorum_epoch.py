"""BeginQuorumEpoch: served 0-1 on the controller listener.

Behaviour: a new leader tells the voters of its epoch (KIP-595). Version notes: v1 endpoints (KIP-853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.begin_quorum_epoch import BeginQuorumEpochRequest, BeginQuorumEpochResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: BeginQuorumEpochRequest
) -> BeginQuorumEpochResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.BEGIN_QUORUM_EPOCH, request)
    return cast("BeginQuorumEpochResponse", answer)


HANDLER = Handler(api=ApiKey.BEGIN_QUORUM_EPOCH, versions=(0, 1), handle=handle, listeners=CONTROLLER_ONLY)
