"""Answers that leave once what they rest on is committed. Belongs to the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple, TypeVar

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.errors import ControllerUnavailable

T = TypeVar("T")


class _Pending(NamedTuple):
    offset: int
    response: Any
    future: asyncio.Future[Any]


class PendingAnswers:
    """Answers by the log end they wait for, which only grows."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[_Pending] = deque()

    def add(self, offset: int, response: T) -> asyncio.Future[T]:
        """A future of `response`, done once everything below `offset` is committed."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Pending(offset, response, future))
        return future

    def release(self, high_watermark: int) -> None:
        """Everything below `high_watermark` is committed."""
        while self._waiting and self._waiting[0].offset <= high_watermark:
            pending = self._waiting.popleft()
            if not pending.future.done():
                pending.future.set_result(pending.response)

    def fail(self, error: ErrorCode, reason: str) -> None:
        """Nobody here will learn what becomes of the rest."""
        waiting, self._waiting = self._waiting, deque()
        for pending in waiting:
            if not pending.future.done():
                pending.future.set_exception(ControllerUnavailable(error, reason))


def look_away(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it: an outcome that is never looked at would be complained about."""

    def look(done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()

    future.add_done_callback(look)


def as_future(deferred: Deferred[T]) -> asyncio.Future[T]:
    """A future that is done when the deferred is; cancelling it changes nothing."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def complete(value: T) -> None:
        if not future.done():
            future.set_result(value)

    deferred.on_complete(complete)
    return future
