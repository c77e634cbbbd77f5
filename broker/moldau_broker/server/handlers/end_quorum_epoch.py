"""EndQuorumEpoch: served 0-1 on the controller listener.

Behaviour: a resigning leader names who should stand first (KIP-595). Version notes: v1 endpoints (KIP-853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.end_quorum_epoch import EndQuorumEpochRequest, EndQuorumEpochResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: EndQuorumEpochRequest
) -> EndQuorumEpochResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.END_QUORUM_EPOCH, request)
    return cast("EndQuorumEpochResponse", answer)


HANDLER = Handler(api=ApiKey.END_QUORUM_EPOCH, versions=(0, 1), handle=handle, listeners=CONTROLLER_ONLY)
