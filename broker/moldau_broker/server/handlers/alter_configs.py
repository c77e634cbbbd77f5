"""AlterConfigs: served 0-2.

Behaviour: the settings named replace all that the resource has of its own; each resource whole or not at all.
Deprecated since IncrementalAlterConfigs (KIP-339), and still what older tools send. Loggers have no such
operation, as in Kafka. Version notes: v1 throttles before answering; v2 is flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: AlterConfigsRequest
) -> AlterConfigsResponse:
    """One result for each resource, in that order, once the change is committed and applied here."""
    answer = await ask_controller(broker, context, ApiKey.ALTER_CONFIGS, request)
    return cast("AlterConfigsResponse", answer)


HANDLER = Handler(api=ApiKey.ALTER_CONFIGS, versions=(0, 2), handle=handle, listeners=ALL_LISTENERS)
