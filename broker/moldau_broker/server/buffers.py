"""Receive buffers: one shared by all connections, a pool for incomplete frames, a budget over them all.

Why a pool: glibc hands blocks around 1 MiB back to the kernel at every free, and faulting them in again costs
several times the useful work (measured; DESIGN.md "Non-obvious").
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from moldau_broker.base.limits import IN_FLIGHT_FRAME_BYTES_MAX, POOLED_BUFFER_BYTES_MAX, SHARED_RECEIVE_BYTES

_SMALLEST = 64 * 1024
_POOLED_PER_SIZE = 8


class BudgetHolder(Protocol):
    """A connection as the budget sees it."""

    def bytes_granted(self) -> None:
        """There is room now."""
        ...


class ReceiveBuffers:
    """Power-of-two buffers for incomplete frames, and the shared one whole frames are handled in."""

    __slots__ = ("_pool", "shared", "shared_view")

    def __init__(self) -> None:
        self.shared = bytearray(SHARED_RECEIVE_BYTES)
        self.shared_view = memoryview(self.shared)
        self._pool: dict[int, list[bytearray]] = {}

    @staticmethod
    def size_for(needed: int) -> int:
        """How large a buffer `take(needed)` gives: a power of two up to the pooled maximum, exact above it."""
        size = max(_SMALLEST, 1 << (needed - 1).bit_length())
        return size if size <= POOLED_BUFFER_BYTES_MAX else needed

    def take(self, needed: int) -> bytearray:
        """A buffer of at least `needed` bytes; its content is whatever was there before."""
        size = self.size_for(needed)
        free = self._pool.get(size)
        return free.pop() if free else bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """Take a buffer back; odd and very large ones are let go."""
        size = len(buffer)
        if size <= POOLED_BUFFER_BYTES_MAX and size & (size - 1) == 0:
            free = self._pool.setdefault(size, [])
            if len(free) < _POOLED_PER_SIZE:
                free.append(buffer)

    def trim(self) -> None:
        """Let idle pooled buffers go (called when the broker has been quiet)."""
        self._pool.clear()


class InFlightBytes:
    """The bytes that incomplete frames may hold together; whoever comes too late waits, first come first served.

    One holder is always let in, so a frame larger than the whole budget cannot wait for ever.
    """

    __slots__ = ("_queue", "held", "limit")

    def __init__(self, limit: int = IN_FLIGHT_FRAME_BYTES_MAX) -> None:
        self.limit = limit
        self.held = 0
        self._queue: OrderedDict[BudgetHolder, int] = OrderedDict()

    def hold(self, holder: BudgetHolder, count: int) -> bool:
        """Count `count` bytes for `holder`; False where it has to wait for `bytes_granted`."""
        if self.held and self.held + count > self.limit:
            self._queue[holder] = count
            return False
        self.held += count
        return True

    def granted(self, holder: BudgetHolder) -> bool:
        """Whether `holder` is not waiting for room."""
        return holder not in self._queue

    def release(self, holder: BudgetHolder, count: int) -> None:
        """`holder` gives its bytes back (or stops waiting for them); the next in line are let in."""
        if self._queue.pop(holder, None) is None:
            self.held -= count
        while self._queue:
            waiting, wanted = next(iter(self._queue.items()))
            if self.held and self.held + wanted > self.limit:
                return
            del self._queue[waiting]
            self.held += wanted
            waiting.bytes_granted()
