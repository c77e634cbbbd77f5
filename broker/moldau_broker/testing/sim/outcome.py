"""What a run gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

RUN_MS_MIN: Final = 60_000
ACKED_MIN: Final = 500
FAULTS_MIN: Final = 5


class Outcome(NamedTuple):
    """One seed's result.

    Attributes:
        seed: which.
        digest: of the whole history; the same seed gives the same.
        virtual_ms, events, acked, faults: how much happened.
        counts: coverage counters.
        failure: what was violated, None if nothing was.
        cpu_s: processor seconds it took.
    """

    seed: int
    digest: str
    virtual_ms: int
    events: int
    acked: int
    faults: int
    counts: Mapping[str, int]
    failure: str | None
    cpu_s: float
