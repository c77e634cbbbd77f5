"""FindCoordinator: served 0-6.

Behaviour: groups are coordinated by the leader of their partition of the offsets topic; asking for the first time
makes that topic, and the answer waits for it (Kafka says COORDINATOR_NOT_AVAILABLE at once and lets the client come
back; waiting saves every first consumer its retry). Transactions are not served yet: Java and librdkafka both take
TRANSACTIONAL_ID_AUTHORIZATION_FAILED as final, where COORDINATOR_NOT_AVAILABLE would keep them asking. Share groups
and unknown kinds of key are INVALID_REQUEST. Version notes: v1 kinds of key; v4 several keys at once (KIP-699);
v6 share groups (KIP-932).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_GROUP: Final = 0
_TRANSACTION: Final = 1
_SHARE: Final = 2
_KEYS_SINCE: Final = 4
_THERE: Final = frozenset({ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS})
_LOOK_S: Final = 0.01
_LOOKS_MAX: Final = 100
"""A second in all: metadata takes some milliseconds to every broker that is well, and clients ask again anyway."""


class _Found(NamedTuple):
    """Where a coordinator is, or why it is nowhere."""

    error: ErrorCode = ErrorCode.NONE
    message: str = ""
    node_id: int = -1
    host: str = ""
    port: int = -1


_NOT_YET: Final = _Found(ErrorCode.COORDINATOR_NOT_AVAILABLE, "The coordinator is not available.")
_NO_TRANSACTIONS: Final = _Found(
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "Transactions are not served by this version of moldau."
)
_NO_SHARE_GROUPS: Final = _Found(
    ErrorCode.INVALID_REQUEST, "Share groups are not served by this version of moldau."
)


def handle(
    broker: Broker, context: RequestContext, request: FindCoordinatorRequest
) -> FindCoordinatorResponse | Coroutine[Any, Any, FindCoordinatorResponse]:
    """Answered at once, but for the very first time."""
    if request.key_type == _GROUP and CONSUMER_OFFSETS not in broker.metadata.image.topics:
        return _create_first(broker, context, request)
    return _answer(broker, context, request)


async def _create_first(
    broker: Broker, context: RequestContext, request: FindCoordinatorRequest
) -> FindCoordinatorResponse:
    """Make the offsets topic. Others may be doing the same: whoever comes second finds it there.

    The controller may be another broker, and then its answer may be here before what it has written.
    """
    made = await broker.controller.auto_create_topics([CONSUMER_OFFSETS])
    if any(topic.error_code in _THERE for topic in made.topics):
        for _ in range(_LOOKS_MAX):
            if CONSUMER_OFFSETS in broker.metadata.image.topics:
                break
            await asyncio.sleep(_LOOK_S)
    return _answer(broker, context, request)


def _answer(
    broker: Broker, context: RequestContext, request: FindCoordinatorRequest
) -> FindCoordinatorResponse:
    if context.api_version < _KEYS_SINCE:
        found = _find(broker, context, request.key_type, request.key)
        return FindCoordinatorResponse(
            error_code=found.error,
            error_message=found.message or "NONE",  # Kafka's text for no error, in these versions only
            node_id=found.node_id,
            host=found.host,
            port=found.port,
        )
    coordinators = []
    for key in request.coordinator_keys:
        found = _find(broker, context, request.key_type, key)
        coordinators.append(
            Coordinator(
                key=key,
                node_id=found.node_id,
                host=found.host,
                port=found.port,
                error_code=found.error,
                error_message=found.message,
            )
        )
    return FindCoordinatorResponse(coordinators=coordinators)


def _find(broker: Broker, context: RequestContext, key_type: int, key: str) -> _Found:
    if key_type == _TRANSACTION:
        return _NO_TRANSACTIONS
    if key_type == _SHARE:
        return _NO_SHARE_GROUPS
    if key_type != _GROUP:
        return _Found(ErrorCode.INVALID_REQUEST, f"Unknown kind of coordinator: {key_type}.")
    image = broker.metadata.image
    partition = image.partition(CONSUMER_OFFSETS, broker.groups.partition_for(key))
    leader = image.brokers.get(partition.leader) if partition is not None else None
    if leader is None or leader.fenced:
        return _NOT_YET
    endpoint = leader.endpoints.get(context.listener)
    if endpoint is None:
        return _NOT_YET
    return _Found(node_id=leader.id, host=endpoint.host, port=endpoint.port)


HANDLER = Handler(api=ApiKey.FIND_COORDINATOR, versions=(0, 6), handle=handle)
