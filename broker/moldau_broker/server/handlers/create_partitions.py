"""CreatePartitions: served 0-3.

Behaviour: a topic's partition count grows, never shrinks; each topic for itself. With assignments the
replicas are placed as told, otherwise the topic's stripes go on. Version notes: v2 is flexible; v3 allows
throttling errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, _: RequestContext, request: CreatePartitionsRequest
) -> CreatePartitionsResponse:
    """Have the controller decide."""
    return await broker.controller.create_partitions(request)


HANDLER = Handler(api=ApiKey.CREATE_PARTITIONS, versions=(0, 3), handle=handle)
