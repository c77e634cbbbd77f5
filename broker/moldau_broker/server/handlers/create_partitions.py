"""CreatePartitions: served 0-3.

Behaviour: a topic's partition count grows, never shrinks; each topic for itself. With assignments the
replicas are placed as told, otherwise the topic's stripes go on. Version notes: v2 is flexible; v3 allows
throttling errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: CreatePartitionsRequest
) -> CreatePartitionsResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.CREATE_PARTITIONS, request)
    return cast("CreatePartitionsResponse", answer)


HANDLER = Handler(api=ApiKey.CREATE_PARTITIONS, versions=(0, 3), handle=handle, listeners=ALL_LISTENERS)
