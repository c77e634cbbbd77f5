"""AllocateProducerIds: served 0-0 on the controller listener.

Behaviour: a block of producer ids for one incarnation of a broker (KIP-730).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: AllocateProducerIdsRequest
) -> AllocateProducerIdsResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.ALLOCATE_PRODUCER_IDS, request)
    return cast("AllocateProducerIdsResponse", answer)


HANDLER = Handler(api=ApiKey.ALLOCATE_PRODUCER_IDS, versions=(0, 0), handle=handle, listeners=CONTROLLER_ONLY)
