"""`python -m benchmarks [--rounds N] [--only WORD] [--quick] [--json FILE]`: run the loads, print the report.

All are warmed up first; then peers take turns, load by load and round by round, after a round that is thrown away. A
figure is the median over the rounds; the spread is (max - min) / median. Exit status 1 when a measure misses its
threshold.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.loads import Loads, build_drivers, disk_sync_rate
from benchmarks.peers import Peer, metadata_answer, peers
from benchmarks.warmup import warm_up


@dataclass(frozen=True)
class Target:
    """What a measure has to reach: a ratio to Kafka, or an absolute figure where Kafka is no yardstick."""

    at_least: float
    aim: float
    lower_is_better: bool = False
    absolute: bool = False

    def met(self, value: float, threshold: float) -> bool:
        return value <= threshold if self.lower_is_better else value >= threshold


THROUGHPUT = Target(1.0, 1.2)
CPU = Target(0.7, 0.5, lower_is_better=True)


@dataclass
class Measure:
    """One load and the targets of its figures; `run(loads)` gives the figures by name."""

    name: str
    run: Callable[[Loads], dict[str, float]]
    targets: dict[str, Target]
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def measures(quick: bool) -> list[Measure]:
    megabytes = 150 if quick else 400
    found = [
        Measure(
            f"produce {size} B {codec} x{producers}",
            partial(
                _call, "produce", size=size, codec=codec, producers=producers, acks="1", megabytes=megabytes
            ),
            {"MB/s": THROUGHPUT, "CPU s/GB": CPU},
        )
        for size in (100, 1024)
        for codec in ("none", "lz4")
        for producers in (1, 4)
    ]
    found += [
        Measure(
            f"consume {size} B",
            partial(_call, "consume", size=size, megabytes=megabytes),
            {"MB/s": Target(0.9, 1.1), "Java MB/s": Target(0.9, 1.1)},
        )
        for size in (100, 1024)
    ]
    found += [
        Measure(
            f"produce {size} B acks=all x4",
            partial(_call, "produce", size=size, codec="none", producers=4, acks="all", megabytes=megabytes),
            {"MB/s": Target(0.8, 1.0)},
        )
        for size in (100, 1024)
    ]
    found.append(
        Measure(
            "end to end 1,000 msg/s of 256 B",
            partial(_call, "latency", rate=1000, seconds=5 if quick else 10, size=256),
            {
                "p50 ms": Target(1.4, 1.0, lower_is_better=True),
                "p99 ms": Target(1.0, 0.7, lower_is_better=True),
                "CPU us/msg": Target(0.5, 0.35, lower_is_better=True),
            },
        )
    )
    found += [
        Measure(
            f"requests 64 connections x {in_flight}",
            partial(_call, "requests", connections=64, in_flight=in_flight, seconds=3 if quick else 6),
            {"k req/s": target},
        )
        for in_flight, target in ((1, Target(0.55, 0.8)), (5, Target(1.0, 1.3)))
    ]
    return found


def _call(name: str, loads: Loads, **arguments: object) -> dict[str, float]:
    return getattr(loads, name)(**arguments)


SETTLE_S = 2.0
"""Topics that were just dropped are deleted by then: what the file system does about it slows whoever waits for it."""


def run_loads(console: Console, found: list[Measure], loads: dict[str, Loads], rounds: int) -> None:
    for measure in found:
        for round_number in range(-1, rounds):
            for name in loads if round_number % 2 else reversed(list(loads)):
                time.sleep(SETTLE_S)
                os.sync()
                values = measure.run(loads[name])
                if round_number >= 0:
                    for figure, value in values.items():
                        measure.samples.setdefault(figure, {}).setdefault(name, []).append(value)
        parts = [
            f"{figure}: "
            + ", ".join(f"{name} {statistics.median(values):.4g}" for name, values in by_peer.items())
            for figure, by_peer in measure.samples.items()
        ]
        console.print(f"[dim]{measure.name}[/]  {'  '.join(parts)}", highlight=False)


def report(console: Console, found: list[Measure], sync_rate: float) -> bool:
    table = Table(title="moldau against Apache Kafka, medians", title_justify="left")
    for heading in ("measure", "figure", "moldau", "kafka", "ratio", "spread", "at least", "aim", ""):
        table.add_column(heading, justify="right" if heading not in ("measure", "figure") else "left")
    good = True
    for measure in found:
        for figure, by_peer in measure.samples.items():
            ours = statistics.median(by_peer["moldau"])
            spread = (max(by_peer["moldau"]) - min(by_peer["moldau"])) / ours if ours else 0.0
            row = [measure.name, figure, f"{ours:.4g}"]
            target = measure.targets.get(figure)
            if "kafka" not in by_peer:
                table.add_row(*row, "-", "-", f"{spread:.0%}", "", "", "")
                continue
            theirs = statistics.median(by_peer["kafka"])
            ratio = ours / theirs if theirs else 0.0
            verdict = ""
            if target is not None:
                reached = target.met(ratio, target.at_least)
                if "acks=all" in measure.name and not reached:
                    reached = ours >= 0.9 * sync_rate
                good &= reached
                aimed = target.met(ratio, target.aim)
                verdict = "[green]aim[/]" if aimed else "[green]ok[/]" if reached else "[red]miss[/]"
            table.add_row(
                *row,
                f"{theirs:.4g}",
                f"{ratio:.2f}x",
                f"{spread:.0%}",
                f"{target.at_least:g}x" if target else "",
                f"{target.aim:g}x" if target else "",
                verdict,
            )
    console.print(table)
    return good


def footprint(console: Console, found: list[Peer], loads: dict[str, Loads], idle: dict[str, float]) -> bool:
    """Memory and start; absolute for us, Kafka's figure beside it."""
    after = {peer.name: peer.rss_mb() for peer in found}
    for peer in found:
        loads[peer.name].topics.make(1000)
        time.sleep(3)
    thousand = {peer.name: peer.rss_mb() for peer in found}
    for peer in found:
        peer.stop()
    starts: dict[str, list[float]] = {peer.name: [] for peer in found}
    for _ in range(5):
        for peer in found:
            starts[peer.name].append(_fresh_start(peer))
    start = {name: statistics.median(seconds) for name, seconds in starts.items()}
    rows = [
        ("memory idle, MB", idle, 50, 38),
        ("memory after the loads, MB", after, 80, 60),
        ("memory with 1,000 partitions, MB", thousand, 100, 70),
        ("exec to first Metadata answer, s", start, 0.4, 0.2),
    ]
    table = Table(title="Footprint", title_justify="left")
    for heading in ("measure", "moldau", "kafka", "at most", "aim", ""):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    good = True
    for name, by_peer, at_most, aim in rows:
        ours = by_peer["moldau"]
        good &= ours <= at_most
        verdict = "[green]aim[/]" if ours <= aim else "[green]ok[/]" if ours <= at_most else "[red]miss[/]"
        theirs = f"{by_peer['kafka']:.3g}" if "kafka" in by_peer else "-"
        table.add_row(name, f"{ours:.3g}", theirs, f"{at_most:g}", f"{aim:g}", verdict)
    console.print(table)
    return good


def _fresh_start(peer: Peer) -> float:
    """Seconds from exec to the first answer, on an empty data folder."""
    shutil.rmtree(peer.folder, ignore_errors=True)
    seconds = peer.start()
    peer.stop()
    assert not metadata_answer(peer.port)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="run only the measures whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="smaller loads")
    parser.add_argument("--json", type=Path, help="write every sample there")
    options = parser.parse_args()
    console = Console(width=140 if not sys.stdout.isatty() else None)
    with tempfile.TemporaryDirectory(prefix="moldau-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        build_drivers(folder)
        sync_rate = disk_sync_rate(folder)
        console.print(f"disk: {sync_rate:.0f} MB/s of 1 MB writes with fdatasync", highlight=False)
        running = peers(folder / "peers")
        try:
            for peer in running:
                peer.start()
            time.sleep(5)
            idle = {peer.name: peer.rss_mb() for peer in running}
            loads = {peer.name: Loads(peer, folder) for peer in running}
            found = [measure for measure in measures(options.quick) if options.only in measure.name]
            warm_up(console, loads, 0.1 if options.quick else 1.0)
            run_loads(console, found, loads, options.rounds)
            good = report(console, found, sync_rate)
            if not options.only:
                good &= footprint(console, running, loads, idle)
        finally:
            for peer in running:
                peer.stop()
    if options.json:
        options.json.write_text(json.dumps({measure.name: measure.samples for measure in found}, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
