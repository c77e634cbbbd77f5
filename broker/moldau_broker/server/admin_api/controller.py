"""How the admin API asks the active controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moldau_broker.metadata.brokers_control import Call
from moldau_broker.metadata.controller import OPERATIONS
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.sessions import BrokerSessions
from moldau_broker.metadata.unavailable import unavailable_response

if TYPE_CHECKING:
    from moldau_broker.metadata.operation import Result, View
    from moldau_broker.server.broker import Broker
    from moldau_broker.wire.apis import ApiKey
    from moldau_broker.wire.schema import Struct


async def ask_controller(broker: Broker, key: ApiKey, request: Struct) -> Struct:
    """The answer in the request's own type, also where there is no controller."""

    def decide(view: View) -> Result[Any]:
        return OPERATIONS[key](Call(view, 0, broker.clock.monotonic_ms(), BrokerSessions()), request)

    try:
        answer: Struct = await broker.controller.write(decide)
    except ControllerUnavailable as error:
        return unavailable_response(key, request, error.error, str(error))
    return answer
