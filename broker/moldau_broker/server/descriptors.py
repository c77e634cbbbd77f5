"""How many files and sockets the process may have open, and who gets which share.

A socket that takes the last descriptor makes a log fail that wants to open its next segment. So logs keep half of
them (`storage`), connections get what is left of the other half, and whoever comes too late is turned away.
"""

from __future__ import annotations

import resource
from contextlib import suppress

from moldau_broker.base.limits import DESCRIPTORS_RESERVED, DESCRIPTORS_WANTED


def raise_limit() -> None:
    """Ask for more open files than a login shell's usual 1,024, as far as the hard limit lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # a sandbox may refuse; what there is then has to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_possible() -> int:
    """How many connections there are descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = DESCRIPTORS_WANTED
    return max(1, soft // 2 - DESCRIPTORS_RESERVED)
