"""ElectLeaders: served 0-2.

Behaviour: preferred elections, and unclean ones where the request asks for them; null means every partition.
Version notes: v1 the election type, v2 flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: ElectLeadersRequest
) -> ElectLeadersResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.ELECT_LEADERS, request)
    return cast("ElectLeadersResponse", answer)


HANDLER = Handler(api=ApiKey.ELECT_LEADERS, versions=(0, 2), handle=handle, listeners=ALL_LISTENERS)
