"""Lines from files, pipes and terminals, without blocking the loop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from moldau_cli import stdin
from moldau_cli.stdin import EndlessLine, read_lines


async def lines_of(fd: int) -> list[bytes]:
    return [line async for lines, _ in read_lines(fd) for line in lines]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r", [b"a", b"b\r"]),
    ],
)
async def test_read_lines_of_a_file(tmp_path: Path, data: bytes, lines: list[bytes]) -> None:
    """A last line counts without its line end; CRLF is a line end, a lone CR is not."""
    path = tmp_path / "input"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert await lines_of(file.fileno()) == lines


async def test_read_lines_longer_than_a_chunk(tmp_path: Path) -> None:
    """Lines come whole whatever the size of the pieces."""
    long = b"x" * (stdin.CHUNK_BYTES + 7)
    path = tmp_path / "input"
    path.write_bytes(long + b"\n" + long)
    with path.open("rb") as file:
        assert await lines_of(file.fileno()) == [long, long]


async def test_read_lines_of_a_pipe_as_they_come() -> None:
    """Each line is there when it is written, while the loop goes on."""
    read, write = os.pipe()
    reader = read_lines(read)
    first = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    assert not first.done()
    os.write(write, b"one\ntw")
    assert (await first)[0] == [b"one"]
    os.write(write, b"o\n")
    assert (await anext(reader))[0] == [b"two"]
    os.close(write)
    assert [lines async for lines, _ in reader] == []
    os.close(read)


async def test_read_lines_leaves_the_descriptor_blocking() -> None:
    """A terminal's mode is shared with the shell, which must find it as it was."""
    read, write = os.pipe()
    os.write(write, b"a\n")
    os.close(write)
    await lines_of(read)
    assert os.get_blocking(read)
    os.close(read)


async def test_read_lines_can_be_cancelled_while_waiting() -> None:
    """Ctrl-C ends the wait for input at once."""
    read, write = os.pipe()
    waiting = asyncio.ensure_future(lines_of(read))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.close(read)
    os.close(write)


async def test_read_lines_refuses_endless_lines(tmp_path: Path) -> None:
    """Input without line ends must not fill the memory."""
    path = tmp_path / "input"
    with path.open("wb") as file:
        file.truncate(stdin.LINE_BYTES_MAX + stdin.CHUNK_BYTES)  # a hole: no disk is used
    with path.open("rb") as file, pytest.raises(EndlessLine, match="64 MiB"):
        await lines_of(file.fileno())
