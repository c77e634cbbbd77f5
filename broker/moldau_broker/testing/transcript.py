"""Scenarios as text: commands in, what happened out; the files are reviewed like code.

A file is a row of blocks: command lines (and `#` comments), `----`, the lines they made, an empty line. With
`MOLDAU_RECORD=1` in the environment the files are written anew; read the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path


def played(text: str, run: Callable[[str], Iterable[str]]) -> str:
    """The transcript as it is when `run` carries out its commands now; `run` gives the lines a command made."""
    blocks = []
    for block in text.strip().split("\n\n"):
        commands, _, _ = block.partition("\n----")
        lines: list[str] = []
        for command in commands.splitlines():
            if not command.startswith("#"):
                lines += run(command)
        blocks.append("\n".join([commands, "----", *(lines or ["(nothing)"])]))
    return "\n\n".join(blocks) + "\n"


def check_transcript(path: Path, run: Callable[[str], Iterable[str]]) -> None:
    """Assert that the file's commands make the recorded lines, or record them."""
    recorded = path.read_text()
    now = played(recorded, run)
    if os.environ.get("MOLDAU_RECORD"):
        path.write_text(now)
    else:
        assert now == recorded
