"""A reply that may come later: the synchronous cores' stand-in for a future. No event loop needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Deferred(Generic[T]):
    """A value that is set exactly once; listeners run synchronously, in the order they were added.

    Unlike `asyncio.Future` it needs no loop and schedules nothing, so pure cores may hold one.
    """

    __slots__ = ("_callbacks", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._callbacks: list[Callable[[T], None]] = []

    def complete(self, value: T) -> None:
        """Set the value and run the listeners. Completing twice is a programmer error."""
        assert not self.done, "a Deferred completes once"
        self.done = True
        self._value = value
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(value)

    def on_complete(self, callback: Callable[[T], None]) -> None:
        """Call `callback(value)` when the value is set, at once if it is already."""
        if self.done:
            callback(cast("T", self._value))
        else:
            self._callbacks.append(callback)

    @property
    def value(self) -> T:
        """The value; only legal once `done`."""
        assert self.done, "the value is not there yet"
        return cast("T", self._value)
