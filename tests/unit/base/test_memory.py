"""A program's own peak of memory, whoever started it."""

from __future__ import annotations

import subprocess
import sys

from moldau_broker.base.memory import peak_memory_kib

LARGE_KIB = 200 * 1024


def test_it_stays_when_the_memory_is_given_back() -> None:
    touched = bytearray(b"x") * (LARGE_KIB * 1024)
    assert peak_memory_kib() >= LARGE_KIB
    del touched
    assert peak_memory_kib() >= LARGE_KIB


def test_a_small_program_started_by_a_large_one_says_its_own() -> None:
    """`ru_maxrss` would answer with the peak of whoever started it."""
    touched = bytearray(b"x") * (LARGE_KIB * 1024)
    code = "from moldau_broker.base.memory import peak_memory_kib; print(peak_memory_kib())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert peak_memory_kib() >= len(touched) // 1024
    assert int(child.stdout) < LARGE_KIB / 2
