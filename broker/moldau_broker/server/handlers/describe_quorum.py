"""DescribeQuorum: served 0-2.

Behaviour: voters and observers as the leader sees them. Brokers forward it (KIP-595); a controller that does not
lead names who does. Version notes: v1 fetch times, v2 directory ids and endpoints (KIP-853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_quorum import DescribeQuorumRequest, DescribeQuorumResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: DescribeQuorumRequest
) -> DescribeQuorumResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.DESCRIBE_QUORUM, request)
    return cast("DescribeQuorumResponse", answer)


HANDLER = Handler(api=ApiKey.DESCRIBE_QUORUM, versions=(0, 2), handle=handle, listeners=ALL_LISTENERS)
