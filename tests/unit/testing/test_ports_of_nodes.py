"""Ports that tests give to processes: nobody gets one that somebody else was given."""

from __future__ import annotations

import subprocess
import sys

from moldau_broker.testing.node import free_ports, ports_in_a_row


def test_ports_in_a_row_are_given_to_nobody_else() -> None:
    """A launcher counts on from the first one, so the others must not be among those given singly."""
    singly = set(free_ports(30))
    rows = [ports_in_a_row(3, twins=10_000) for _ in range(3)]
    singly |= set(free_ports(100))
    for base in rows:
        mine = {base + twin + index for twin in (0, 10_000) for index in range(3)}
        assert not mine & singly
    assert len(set(rows)) == 3


def test_another_process_is_given_others() -> None:
    """Its blocks are others as long as both run."""
    program = "from moldau_broker.testing.node import free_ports; print(*free_ports(60))"
    other = subprocess.Popen(
        [sys.executable, "-c", program + "; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    theirs = set(map(int, other.stdout.readline().split()))
    ours = set(free_ports(60)) | {ports_in_a_row(3) + index for index in range(3)}
    other.communicate(b"\n", timeout=20)
    assert len(theirs) == 60
    assert not ours & theirs
