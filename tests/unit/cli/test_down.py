"""`moldau down`: what becomes of its output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from moldau_operator.local.state import prepare


def test_a_reader_that_has_enough_is_nothing_to_complain_of(tmp_path: Path) -> None:
    """`moldau down | head -1`: a pipe that nobody reads any more is not reported as an error of the instance."""
    folder = prepare(tmp_path / "demo", "demo", None).folder
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "moldau_cli", "down", "--data-dir", str(folder)],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(write_end)
    assert done.stderr == ""
