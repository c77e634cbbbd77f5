"""Frames come out whole, whatever pieces the bytes arrive in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.client.errors import ProtocolViolation
from moldau_broker.client.frames import SCRATCH_BYTES, FrameAssembler

LIMIT = 2 * SCRATCH_BYTES


def feed(assembler: FrameAssembler, data: bytes, most: int) -> list[bytes]:
    """Copy `data` into the buffer the assembler offers, at most `most` bytes at a time, as a socket does."""
    frames = []
    at = 0
    while at < len(data):
        buffer = assembler.buffer()
        count = min(most, len(data) - at, len(buffer))
        assert count > 0, "the buffer must never be full"
        buffer[:count] = data[at : at + count]
        at += count
        frames += [bytes(frame) for frame in assembler.received(count)]
    return frames


def framed(*bodies: bytes) -> bytes:
    return b"".join(len(body).to_bytes(4, "big") + body for body in bodies)


sizes = st.one_of(
    st.integers(0, 200),
    st.integers(SCRATCH_BYTES - 6, SCRATCH_BYTES + 6),
    st.integers(SCRATCH_BYTES, LIMIT),
)


@given(st.lists(sizes, max_size=4), st.integers(700, SCRATCH_BYTES))
def test_frames_come_out_as_they_went_in(sizes: list[int], most: int) -> None:
    """Small, large and exactly fitting frames survive any chunking."""
    bodies = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
    assert feed(FrameAssembler(LIMIT), framed(*bodies), most) == bodies


def test_frames_one_byte_at_a_time() -> None:
    """The size itself may arrive in pieces."""
    bodies = [b"", b"a", b"bc" * 100]
    assert feed(FrameAssembler(LIMIT), framed(*bodies), 1) == bodies


@pytest.mark.parametrize("size", [LIMIT + 1, 0x7FFFFFFF, -1])
def test_frames_refuse_sizes_beyond_the_limit(size: int) -> None:
    """A mad size is refused before anything is allocated for it."""
    with pytest.raises(ProtocolViolation):
        feed(FrameAssembler(LIMIT), size.to_bytes(4, "big", signed=True), 4)
