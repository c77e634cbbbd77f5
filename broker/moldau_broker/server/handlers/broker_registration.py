"""BrokerRegistration: served 0-4 on the controller listener.

Behaviour: a broker gets its epoch, fenced (KIP-631). Version notes: v2 log directories (KIP-858), v3 previous epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.broker_registration import (
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: BrokerRegistrationRequest
) -> BrokerRegistrationResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.BROKER_REGISTRATION, request)
    return cast("BrokerRegistrationResponse", answer)


HANDLER = Handler(api=ApiKey.BROKER_REGISTRATION, versions=(0, 4), handle=handle, listeners=CONTROLLER_ONLY)
