"""ListPartitionReassignments: served 0-0.

Behaviour: reassignments under way, of the topics named or of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: ListPartitionReassignmentsRequest
) -> ListPartitionReassignmentsResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.LIST_PARTITION_REASSIGNMENTS, request)
    return cast("ListPartitionReassignmentsResponse", answer)


HANDLER = Handler(
    api=ApiKey.LIST_PARTITION_REASSIGNMENTS, versions=(0, 0), handle=handle, listeners=ALL_LISTENERS
)
