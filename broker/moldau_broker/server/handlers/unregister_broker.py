"""UnregisterBroker: served 0-0.

Behaviour: a broker that is gone for good is forgotten; a live one would register again at its next start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: UnregisterBrokerRequest
) -> UnregisterBrokerResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.UNREGISTER_BROKER, request)
    return cast("UnregisterBrokerResponse", answer)


HANDLER = Handler(api=ApiKey.UNREGISTER_BROKER, versions=(0, 0), handle=handle, listeners=ALL_LISTENERS)
