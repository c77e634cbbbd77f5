"""Putting deferred replies together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from moldau_broker.base.deferred import Deferred

S = TypeVar("S")
T = TypeVar("T")


def ready(value: T) -> Deferred[T]:
    """A reply that is there already."""
    reply: Deferred[T] = Deferred()
    reply.complete(value)
    return reply


def mapped(reply: Deferred[S], change: Callable[[S], T]) -> Deferred[T]:
    """`change(value)` once the value of `reply` is there."""
    result: Deferred[T] = Deferred()
    reply.on_complete(lambda value: result.complete(change(value)))
    return result


def gathered(replies: Sequence[Deferred[T]]) -> Deferred[list[T]]:
    """The values of all `replies`, in their order, once the last is there."""
    result: Deferred[list[T]] = Deferred()
    values: list[T | None] = [None] * len(replies)
    missing = len(replies)
    if not replies:
        result.complete([])

    def take(index: int, value: T) -> None:
        nonlocal missing
        values[index] = value
        missing -= 1
        if not missing:
            result.complete(cast("list[T]", values))

    for index, reply in enumerate(replies):
        reply.on_complete(lambda value, index=index: take(index, value))  # type: ignore[misc]
    return result
