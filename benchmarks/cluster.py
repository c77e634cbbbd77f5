"""`python -m benchmarks.cluster [--rounds N] [--only WORD] [--quick] [--json FILE]`: three brokers against three.

All are warmed up first; then peers take turns, load by load and round by round. A figure is the median over the
rounds, or what its name says. Exit status 1 when a measure misses its threshold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import cluster_loads
from benchmarks.__main__ import Measure, Target, run_loads
from benchmarks.cluster_loads import replica_sync_rate
from benchmarks.cluster_peers import FAST_PROFILE, ClusterPeer, make_peers
from benchmarks.loads import Loads, build_drivers
from benchmarks.warmup import warm_up

DISK_SHARE = 0.9
"""An acks=all record is on three disks here; nobody need be faster than this share of what they take in."""


def measures(quick: bool) -> list[Measure]:
    """The loads whose figures are compared with Kafka's."""
    megabytes = 100 if quick else 400
    produce = Target(1.0, 1.3)
    found = [
        Measure(
            f"produce {size} B acks=all RF 3 x{producers}",
            partial(
                _call,
                "produce",
                size=size,
                codec="none",
                producers=producers,
                acks="all",
                megabytes=megabytes,
            ),
            {"MB/s": produce},
        )
        for size in (1024, 100)
        for producers in (1, 4)
    ]
    found += [
        Measure(
            f"consume {size} B from three brokers",
            partial(_call, "consume", size=size, megabytes=megabytes, acks="all"),
            {"MB/s": Target(0.9, 1.1)},
        )
        for size in (1024, 100)
    ]
    found += [
        Measure(
            "end to end 1,000 msg/s of 256 B acks=all" + (f", {silent} silent partitions" if silent else ""),
            partial(
                _call, "latency", rate=1000, seconds=5 if quick else 10, size=256, acks="all", silent=silent
            ),
            {
                "p50 ms": Target(1.5, 1.0, lower_is_better=True),
                "p99 ms": Target(1.0, 0.5, lower_is_better=True),
            },
        )
        for silent in (0, 600)
    ]
    return found


def _call(name: str, loads: Loads, **arguments: object) -> dict[str, float]:
    return getattr(loads, name)(**arguments)


@dataclass
class Row:
    """A line of the report."""

    measure: str
    figure: str
    ours: float
    theirs: float | None
    target: Target
    note: str = ""
    reached: bool | None = None
    """Whether the threshold is met, where that is not a mere comparison."""

    def met(self, threshold: float) -> bool:
        if self.target.absolute:
            return self.target.met(self.ours, threshold)
        return not self.theirs or self.target.met(self.ours / self.theirs, threshold)

    @property
    def good(self) -> bool:
        return self.met(self.target.at_least) or bool(self.reached)

    def cells(self) -> list[str]:
        unit = "" if self.target.absolute else "x"
        verdict = (
            "[green]aim[/]" if self.met(self.target.aim) else "[green]ok[/]" if self.good else "[red]miss[/]"
        )
        if not self.target.absolute and not self.theirs:
            verdict = "-"
        return [
            self.measure,
            self.figure,
            f"{self.ours:.4g}",
            f"{self.theirs:.4g}" if self.theirs else "-",
            f"{self.ours / self.theirs:.2f}x" if self.theirs else "-",
            f"{self.target.at_least:g}{unit}",
            f"{self.target.aim:g}{unit}",
            verdict,
            self.note,
        ]


def load_rows(found: list[Measure], sync_rate: float) -> Iterator[Row]:
    """Those of the loads; producing may be held back by the disk."""
    for measure in found:
        for figure, target in measure.targets.items():
            by_peer = measure.samples.get(figure)
            if by_peer is None:
                continue
            ours = by_peer["moldau"]
            theirs = statistics.median(by_peer["kafka"]) if "kafka" in by_peer else None
            spread = (max(ours) - min(ours)) / statistics.median(ours)
            row = Row(measure.name, figure, statistics.median(ours), theirs, target, f"spread {spread:.0%}")
            if "produce" in measure.name:
                row.reached = row.ours >= DISK_SHARE * sync_rate
            yield row


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


Once = Callable[[ClusterPeer], list[float]]


@dataclass
class Single:
    """Something that is done to each cluster by itself, some times."""

    name: str
    figure: str
    target: Target
    once: Once
    summary: Callable[[list[float]], float] = statistics.median
    theirs: Once | None = None
    """For Kafka, where it may be done less often."""


def singles(quick: bool) -> list[Single]:
    """Failures, many partitions, and starts."""
    rounds, theirs = (4, 1) if quick else (20, 3)
    megabytes = 100 if quick else 1_074

    def absolute(at_least: float, aim: float) -> Target:
        return Target(at_least, aim, lower_is_better=True, absolute=True)

    def many(run: Callable[[ClusterPeer], float], times: int) -> Once:
        return lambda peer: [run(peer) for _ in range(times)]

    return [
        Single(
            "no writes after kill -9 of a leader",
            "p99 s",
            absolute(3.0, 1.0),
            lambda peer: cluster_loads.failover(peer, rounds, graceful=False),
            _p99,
            lambda peer: cluster_loads.failover(peer, theirs, graceful=False),
        ),
        Single(
            "no writes at a graceful stop",
            "p99 s",
            absolute(0.5, 0.1),
            lambda peer: cluster_loads.failover(peer, rounds, graceful=True),
            _p99,
            lambda peer: cluster_loads.failover(peer, theirs, graceful=True),
        ),
        Single(
            "1,000 partitions RF 3 until all are producible",
            "s",
            Target(1.0, 0.5, lower_is_better=True),
            many(cluster_loads.thousand_partitions, 1 if quick else 3),
        ),
        Single(
            f"all killed, {megabytes:,} MB unclean each, until serving",
            "s",
            absolute(10.0, 3.0),
            many(lambda peer: cluster_loads.unclean_start(peer, megabytes), 1 if quick else 3),
        ),
    ]


def run_singles(
    console: Console,
    found: list[Single],
    peers: list[ClusterPeer],
    samples: dict[str, dict[str, list[float]]],
) -> list[Row]:
    rows = []
    for single in found:
        values: dict[str, float] = {}
        for peer in peers:
            once = single.theirs if peer.name == "kafka" and single.theirs else single.once
            got = once(peer)
            samples.setdefault(single.name, {})[peer.name] = got
            values[peer.name] = single.summary(got)
        told = ", ".join(f"{name} {[round(one, 2) for one in samples[single.name][name]]}" for name in values)
        console.print(f"[dim]{single.name}[/]  {told}")
        spread = samples[single.name][peers[0].name]
        note = f"p50 {statistics.median(spread):.2f}, max {max(spread):.2f} of {len(spread)}"
        rows.append(
            Row(single.name, single.figure, values[peers[0].name], values.get("kafka"), single.target, note)
        )
    return rows


def memory_row(peers: list[ClusterPeer]) -> Row:
    """Resident memory of all three after everything else."""
    used = {peer.name: peer.rss_mb() for peer in peers}
    target = Target(250, 180, lower_is_better=True, absolute=True)
    return Row("memory of all three after the load", "MB", used["moldau"], used.get("kafka"), target)


def start_row(peers: list[ClusterPeer], rounds: int) -> Row:
    """On empty folders; the folders are gone afterwards."""
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for peer in peers:
            peer.fresh()
            seconds.setdefault(peer.name, []).append(peer.start())
    median = {name: statistics.median(values) for name, values in seconds.items()}
    target = Target(2.0, 1.0, lower_is_better=True, absolute=True)
    note = f"max {max(seconds['moldau']):.2f} of {rounds}"
    measure = "exec of three nodes to first acks=all record"
    return Row(measure, "s", median["moldau"], median.get("kafka"), target, note)


@contextmanager
def running(peers: list[ClusterPeer]) -> Iterator[list[ClusterPeer]]:
    """The clusters, until they are no longer needed."""
    try:
        for peer in peers:
            peer.start()
        yield peers
    finally:
        for peer in peers:
            peer.stop()


def report(console: Console, rows: list[Row]) -> bool:
    table = Table(title="three moldau brokers against three of Apache Kafka", title_justify="left")
    for heading in ("measure", "figure", "moldau", "kafka", "ratio", "at least", "aim", "", "note"):
        table.add_column(heading, justify="left" if heading in ("measure", "figure", "note") else "right")
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    return all(row.good for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="run only the measures whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="smaller loads, fewer rounds")
    parser.add_argument("--json", type=Path, help="write every sample there")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    console = Console(width=170 if not sys.stdout.isatty() else None, highlight=False)
    samples: dict[str, dict[str, list[float]]] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="moldau-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        build_drivers(folder)
        sync_rate = replica_sync_rate(folder)
        console.print(f"disk: {sync_rate:.0f} MB/s each to three writers of 1 MB with fdatasync")
        loads_wanted = [one for one in measures(options.quick) if options.only in one.name]
        singles_wanted = [one for one in singles(options.quick) if options.only in one.name]
        with running(make_peers(folder)) as peers:
            time.sleep(2)
            loads = {peer.name: Loads(peer, folder) for peer in peers}  # type: ignore[arg-type]
            if loads_wanted:
                warm_up(console, loads, 0.1 if options.quick else 1.0)
            run_loads(console, loads_wanted, loads, rounds)
            rows += load_rows(loads_wanted, sync_rate)
            if not options.only or options.only in "memory":
                rows.append(memory_row(peers))
            rows += run_singles(console, singles_wanted, peers, samples)
            if not options.only or options.only in "exec of three nodes to first":
                rows.append(start_row(peers, 1 if options.quick else 5))
        fast = [one for one in singles_wanted if "kill -9" in one.name]
        if fast:
            with running(make_peers(folder, fast=True)) as peers:
                console.print(
                    f"fast profile: {' '.join(f'{name}={value}' for name, value in FAST_PROFILE.items())}"
                )
                for single in fast:
                    single.name += ", fast profile"
                    single.target = Target(1.5, 0.5, lower_is_better=True, absolute=True)
                rows += run_singles(console, fast, peers, samples)
    for measure in loads_wanted:
        samples[measure.name] = measure.samples  # type: ignore[assignment]
    if options.json:
        options.json.write_text(json.dumps(samples, indent=1))
    return 0 if report(console, rows) else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
