"""CreateTopics: served 2-7.

Behaviour: each topic is created whole or refused for itself, and every one created is on disk and in the
metadata of this broker when the answer leaves; so timeout_ms has nothing to wait for. -1 partitions or
replicas are the broker's defaults; with validate_only nothing is created. Version notes: v5 echoes the
topic's settings (KIP-525), v7 topic ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: CreateTopicsRequest
) -> CreateTopicsResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.CREATE_TOPICS, request)
    return cast("CreateTopicsResponse", answer)


HANDLER = Handler(api=ApiKey.CREATE_TOPICS, versions=(2, 7), handle=handle, listeners=ALL_LISTENERS)
