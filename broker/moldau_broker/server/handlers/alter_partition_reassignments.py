"""AlterPartitionReassignments: served 0-1.

Behaviour: target replicas begin a reassignment, null cancels it (KIP-455). Version notes: v1 may forbid a change of the
replication factor (KIP-860).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: AlterPartitionReassignmentsRequest
) -> AlterPartitionReassignmentsResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.ALTER_PARTITION_REASSIGNMENTS, request)
    return cast("AlterPartitionReassignmentsResponse", answer)


HANDLER = Handler(
    api=ApiKey.ALTER_PARTITION_REASSIGNMENTS, versions=(0, 1), handle=handle, listeners=ALL_LISTENERS
)
