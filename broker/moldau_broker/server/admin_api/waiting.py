"""Deferred replies awaited."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.admin_api.answers import Refused

T = TypeVar("T")


async def awaited(reply: Deferred[T], timeout_ms: int) -> T:
    """The value once it is there.

    Raises:
        Refused: REQUEST_TIMED_OUT, where replicas are away for so long that nothing is stored any more.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    reply.on_complete(lambda value: None if future.done() else future.set_result(value))
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await future
    except TimeoutError:
        raise Refused(ErrorCode.REQUEST_TIMED_OUT, f"not stored within {timeout_ms} ms") from None
