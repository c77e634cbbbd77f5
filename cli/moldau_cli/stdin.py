"""Lines from a descriptor without blocking the event loop, and without changing the descriptor.

No thread (one blocked in read() would hold up Ctrl-C) and no O_NONBLOCK (a terminal shares it with the shell).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

CHUNK_BYTES: Final = 256 * 1024
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""No broker takes a record of this size; beyond it the input is not lines."""


class EndlessLine(ValueError):
    """The input is not lines."""


async def read_lines(fd: int) -> AsyncIterator[tuple[list[bytes], int]]:
    """The lines of each chunk read, without their line ends, and the size of the chunk.

    A last line without line end counts; CRLF ends a line as LF does.

    Raises:
        EndlessLine: a line is longer than `LINE_BYTES_MAX`.
    """
    parts: list[bytes] = []  # of a line that has not ended yet; joined once, however long it gets
    waiting = 0
    while chunk := await _read(fd):
        first, *others = chunk.split(b"\n")
        parts.append(first)
        waiting += len(first)
        if waiting > LINE_BYTES_MAX:
            raise EndlessLine(f"a line is longer than {LINE_BYTES_MAX >> 20} MiB")
        lines: list[bytes] = []
        if others:
            lines = [b"".join(parts), *others[:-1]]
            parts, waiting = [others[-1]], len(others[-1])
        yield [line.removesuffix(b"\r") for line in lines], len(chunk)
    if waiting:
        yield [b"".join(parts)], 0


async def _read(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    try:
        loop.add_reader(fd, ready.set_result, None)
    except OSError:  # a regular file: it never blocks for long, and epoll refuses it for that
        await asyncio.sleep(0)
        return os.read(fd, CHUNK_BYTES)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
    return os.read(fd, CHUNK_BYTES)
