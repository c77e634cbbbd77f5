"""ConsumerGroupHeartbeat: 0-1 are answered, the protocol behind them (KIP-848) is not served.

Behaviour: as a Kafka broker whose group.version is 0, UNSUPPORTED_VERSION. It is advertised for that answer's sake:
librdkafka takes a coordinator without this API for a dead one and looks for another for ever, while the error ends
its consumer with a reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


def handle(
    broker: Broker, context: RequestContext, request: ConsumerGroupHeartbeatRequest
) -> ConsumerGroupHeartbeatResponse:
    """Refuse, and say what to do."""
    return ConsumerGroupHeartbeatResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION,
        error_message="Groups of the newer protocol are not served: set group.protocol=classic.",
    )


HANDLER = Handler(api=ApiKey.CONSUMER_GROUP_HEARTBEAT, versions=(0, 1), handle=handle)
