"""InitProducerId: served 0-5, for idempotent producers.

Behaviour: without a transactional id a new producer id with epoch 0; an id is never handed out twice. The
empty transactional id is INVALID_REQUEST, as is an id without an epoch or the other way round. Transactions
are not served yet: any other transactional id is UNSUPPORTED_VERSION. Tried with clients that were let past
FindCoordinator, which refuses them first: Java, aiokafka and kafka-python fail at once and name it;
librdkafka reports "API version not supported" when init_transactions times out.
TRANSACTIONAL_ID_AUTHORIZATION_FAILED is fatal at once in all four, but sends people looking for ACLs.

Version notes: v3 lets a producer ask for an epoch bump of its id (KIP-360), which only a transactional one
needs: without a transactional id it gets a new id. v6 (KIP-939) is not stable.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_NONE: Final = -1
_NO_BLOCK: Final = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
"""Kafka's answer while no block can be had of the controller: every client waits a little and asks again."""


def handle(
    broker: Broker, _: RequestContext, request: InitProducerIdRequest
) -> InitProducerIdResponse | Coroutine[Any, Any, InitProducerIdResponse]:
    """A producer id from the broker's block; a coroutine when the block must be fetched first."""
    if (request.producer_id == _NONE) != (request.producer_epoch == _NONE):
        return _refused(ErrorCode.INVALID_REQUEST)
    if request.transactional_id == "":
        return _refused(ErrorCode.INVALID_REQUEST)
    if request.transactional_id is not None:
        return _refused(ErrorCode.UNSUPPORTED_VERSION)
    taken = broker.controller.producer_ids.take()
    if taken is None:
        return _from_next_block(broker)
    return InitProducerIdResponse(producer_id=taken, producer_epoch=0)


async def _from_next_block(broker: Broker) -> InitProducerIdResponse:
    taken = await broker.controller.producer_ids.new()
    if isinstance(taken, ErrorCode):
        return _refused(taken if taken is ErrorCode.KAFKA_STORAGE_ERROR else _NO_BLOCK)
    return InitProducerIdResponse(producer_id=taken, producer_epoch=0)


def _refused(error: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=error, producer_id=_NONE, producer_epoch=_NONE)


HANDLER = Handler(api=ApiKey.INIT_PRODUCER_ID, versions=(0, 5), handle=handle)
