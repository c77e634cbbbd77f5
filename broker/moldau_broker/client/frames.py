"""Received bytes to frames, copying small ones and receiving large ones in place. Pure.

A frame is a size (int32) and that many bytes. Most answers are small and arrive several at a time: they
share a scratch buffer. One that is larger than the scratch gets a buffer of its own size, into which the
socket then writes directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moldau_broker.client.errors import ProtocolViolation

SCRATCH_BYTES: Final = 64 * 1024
_SIZE_BYTES: Final = 4


class FrameAssembler:
    """`buffer()` says where to write, `received(n)` gives the frames that are then complete."""

    __slots__ = ("_filled", "_frame_bytes_max", "_large", "_scratch", "_view")

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._scratch = bytearray(SCRATCH_BYTES)
        self._view = memoryview(self._scratch)
        self._large: bytearray | None = None
        self._filled = 0

    def buffer(self) -> memoryview:
        """The free rest of the buffer in use; never empty."""
        target = self._view if self._large is None else memoryview(self._large)
        return target[self._filled :]

    def received(self, count: int) -> Iterator[bytes | bytearray]:
        """The frames completed by `count` more bytes, without their size.

        Raises:
            ProtocolViolation: a size is negative or above the limit.
        """
        self._filled += count
        if self._large is not None:
            if self._filled == len(self._large):
                frame, self._large, self._filled = self._large, None, 0
                yield frame
            return
        start = 0
        while self._filled - start >= _SIZE_BYTES:
            body = start + _SIZE_BYTES
            size = int.from_bytes(self._view[start:body], "big", signed=True)
            if not 0 <= size <= self._frame_bytes_max:
                raise ProtocolViolation(
                    f"an answer of {size} bytes; at most {self._frame_bytes_max} are accepted"
                )
            if body + size > self._filled:
                if size > SCRATCH_BYTES - _SIZE_BYTES:
                    self._large = bytearray(size)
                    self._large[: self._filled - body] = self._view[body : self._filled]
                    self._filled -= body
                    return
                break
            yield bytes(self._view[body : body + size])
            start = body + size
        if start:
            rest = self._filled - start
            self._scratch[:rest] = self._scratch[start : self._filled]
            self._filled = rest
