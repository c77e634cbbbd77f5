"""AlterPartition: served 2-3 on the controller listener.

Behaviour: a leader proposes in-sync replicas; leader epoch and partition epoch are compare-and-set (KIP-497).
Version notes: v3 names broker epochs (KIP-903).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: AlterPartitionRequest
) -> AlterPartitionResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.ALTER_PARTITION, request)
    return cast("AlterPartitionResponse", answer)


HANDLER = Handler(api=ApiKey.ALTER_PARTITION, versions=(2, 3), handle=handle, listeners=CONTROLLER_ONLY)
