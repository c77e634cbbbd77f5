"""DeleteTopics: served 1-6.

Behaviour: by name or, from v6 on, by id; the topic is gone from metadata when the answer leaves, its files
follow. With delete.topic.enable=false every topic is refused. Version notes: v3 knows
TOPIC_DELETION_DISABLED, before that it is INVALID_REQUEST; v5 error messages; v6 topic ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_DISABLED_SINCE: Final = 3


async def handle(
    broker: Broker, context: RequestContext, request: DeleteTopicsRequest
) -> DeleteTopicsResponse:
    """Have the controller decide."""
    if broker.settings.topics.delete_enable:
        answer = await ask_controller(broker, context, ApiKey.DELETE_TOPICS, request)
        return cast("DeleteTopicsResponse", answer)
    disabled = context.api_version >= _DISABLED_SINCE
    error = ErrorCode.TOPIC_DELETION_DISABLED if disabled else ErrorCode.INVALID_REQUEST
    states = [*request.topics, *(DeleteTopicState(name=name) for name in request.topic_names)]
    return DeleteTopicsResponse(
        responses=[
            DeletableTopicResult(name=state.name, topic_id=state.topic_id, error_code=error)
            for state in states
        ]
    )


HANDLER = Handler(api=ApiKey.DELETE_TOPICS, versions=(1, 6), handle=handle, listeners=ALL_LISTENERS)
