"""Hands out producer ids from the broker's block and fetches the next block in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.errors import ControllerUnavailable
from moldau_broker.metadata.operation import Refusal
from moldau_broker.metadata.producer_ids import ProducerIdBlock

Allocate: TypeAlias = Callable[[], Awaitable[ProducerIdBlock | Refusal]]


class ProducerIdAllocator:
    """This broker's producer ids. Belongs to the loop thread."""

    __slots__ = ("_allocate", "_block", "_fetching")

    def __init__(self, allocate: Allocate) -> None:
        self._allocate = allocate
        self._block = ProducerIdBlock()
        self._fetching: asyncio.Task[ErrorCode] | None = None

    def take(self) -> int | None:
        """An id nobody else gets, None when a block must be fetched first."""
        return self._block.take()

    async def new(self) -> int | ErrorCode:
        """An id nobody else gets, or the error to answer. Everybody who waits shares one new block."""
        while (taken := self._block.take()) is None:
            if self._fetching is None:
                self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            error = await asyncio.shield(self._fetching)
            if error is not ErrorCode.NONE:
                return error
        return taken

    async def _fetch(self) -> ErrorCode:
        try:
            granted = await self._allocate()
        except ControllerUnavailable as error:
            return error.error
        finally:
            self._fetching = None
        if isinstance(granted, Refusal):
            return granted.error
        self._block = granted
        return ErrorCode.NONE
