"""How the admin API asks the active controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker
    from moldau_broker.wire.apis import ApiKey
    from moldau_broker.wire.schema import Struct


async def ask_controller(broker: Broker, key: ApiKey, request: Struct) -> Struct:
    """The answer in the request's own type, also where there is no controller."""
    return cast("Struct", await broker.controller.ask(key, request))
