"""What the handlers of controller APIs share: served by the controller itself, forwarded by everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moldau_broker.server.handlers.spec import ListenerKind, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

CONTROLLER_ONLY: Final = frozenset({ListenerKind.CONTROLLER})


async def ask_controller(broker: Broker, context: RequestContext, key: ApiKey, request: Struct) -> Any:
    """The active controller's answer; on the controller listener this node's own, whoever it is."""
    if context.listener_kind is ListenerKind.CONTROLLER:
        return await broker.controller.local(key, request, context.api_version)
    return await broker.controller.ask(key, request, context.api_version)
