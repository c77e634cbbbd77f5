"""InitProducerId for idempotent producers, every version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers import init_producer_id
from moldau_broker.testing.handlers import NodeBench, call, versions
from moldau_broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse


@pytest.fixture
async def node() -> AsyncIterator[NodeBench]:
    async with NodeBench().running() as node:
        yield node


async def ask(node: NodeBench, version: int = 5, **fields: object) -> InitProducerIdResponse:
    request = InitProducerIdRequest(**{"transactional_id": None, **fields})  # type: ignore[arg-type]
    return await call(init_producer_id.HANDLER, node.broker, request, version)


@pytest.mark.parametrize("version", versions(init_producer_id.HANDLER))
async def test_init_producer_id_gives_each_producer_its_own(node: NodeBench, version: int) -> None:
    """Epoch 0 and a new id each time; the timeout is a transactional producer's matter."""
    answers = [await ask(node, version, transaction_timeout_ms=timeout) for timeout in (-1, 0, 2**31 - 1)]
    assert [answer.error_code for answer in answers] == [0, 0, 0]
    assert [answer.producer_epoch for answer in answers] == [0, 0, 0]
    assert len({answer.producer_id for answer in answers}) == 3


async def test_init_producer_id_to_many_at_once(node: NodeBench) -> None:
    """More than a block holds, all in flight together: no id twice, none refused."""
    answers = await asyncio.gather(*(ask(node) for _ in range(1200)))
    assert {answer.error_code for answer in answers} == {0}
    assert len({answer.producer_id for answer in answers}) == 1200


async def test_init_producer_id_bump_without_transaction_is_a_new_id(node: NodeBench) -> None:
    """An idempotent producer has nothing to bump (KIP-360)."""
    first = await ask(node)
    again = await ask(node, producer_id=first.producer_id, producer_epoch=first.producer_epoch)
    assert (again.error_code, again.producer_epoch) == (0, 0)
    assert again.producer_id != first.producer_id


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"transactional_id": ""}, ErrorCode.INVALID_REQUEST),
        ({"producer_id": 5}, ErrorCode.INVALID_REQUEST),
        ({"producer_epoch": 5}, ErrorCode.INVALID_REQUEST),
        ({"transactional_id": "tx", "transaction_timeout_ms": 1000}, ErrorCode.UNSUPPORTED_VERSION),
    ],
)
async def test_init_producer_id_refuses(node: NodeBench, fields: dict[str, object], error: ErrorCode) -> None:
    """Half an identity, the empty transactional id, and transactions as long as they are not served."""
    answer = await ask(node, **fields)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (error, -1, -1)


async def test_init_producer_id_says_when_the_disk_is_full(node: NodeBench) -> None:
    """A retriable storage error; with space it works again."""
    node.bench.disk.capacity = node.bench.disk.used()
    assert (await ask(node)).error_code == ErrorCode.KAFKA_STORAGE_ERROR
    node.bench.disk.capacity = None
    assert (await ask(node)).error_code == 0
