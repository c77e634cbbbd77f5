"""Loads before anything counts.

A JVM interprets first, and compiles what it runs much of for minutes: three Kafka brokers on two cores reached their
speed after 200 s of load (58 to 160 MB/s of acks=all, 10 s to 0.7 ms at 1,000 msg/s). No cluster that people use is
younger than that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from rich.console import Console

from benchmarks.loads import Loads

WARM_S: Final[Mapping[str, float]] = {"kafka": 300.0, "moldau": 20.0}
"""By peer. There is nothing to compile in ours; what it needs is its files and connections."""


def warm_up(console: Console, loads: Mapping[str, Loads], share: float = 1.0) -> None:
    """Put every peer through the kinds of load that are measured, for `share` of its time."""
    for name, load in loads.items():
        ends = time.monotonic() + WARM_S[name] * share
        while time.monotonic() < ends:
            for size, producers in ((1024, 4), (100, 1)):
                load.produce(size=size, codec="none", producers=producers, acks="all", megabytes=200)
            load.consume(size=100, megabytes=100, acks="all")
            load.latency(rate=1000, seconds=10, size=256, acks="all")
        console.print(f"[dim]{name} is warm[/]")
