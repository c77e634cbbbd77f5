"""AssignReplicasToDirs: served 0 on the controller listener.

Behaviour: replicas are noted to lie in a directory of their broker; those assigned to the reserved LOST directory
leave ISR and ELR, and another replica leads (KIP-858).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.assign_replicas_to_dirs import (
    AssignReplicasToDirsRequest,
    AssignReplicasToDirsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: AssignReplicasToDirsRequest
) -> AssignReplicasToDirsResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.ASSIGN_REPLICAS_TO_DIRS, request)
    return cast("AssignReplicasToDirsResponse", answer)


HANDLER = Handler(
    api=ApiKey.ASSIGN_REPLICAS_TO_DIRS, versions=(0, 0), handle=handle, listeners=CONTROLLER_ONLY
)
