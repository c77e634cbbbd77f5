"""`python -m tests.chaos [--only WORD] [--rounds N] [--kind kafka] [--folder DIR]`: all faults, and a table.

Exit status 1 when anything acknowledged was lost or doubled, anything else that must never happen did, a run could not
end well, or a run acknowledged next to nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.chaos.faults import FAULTS
from tests.chaos.nodes import KINDS
from tests.chaos.scenario import Result, run


def spread(values: list[float]) -> str:
    """p50 / p99 / max."""
    if not values:
        return "-"
    ordered = sorted(values)
    return " / ".join(f"{ordered[min(len(ordered) - 1, len(ordered) * p // 100)]:.2f}" for p in (50, 99, 100))


def table_of(results: list[Result]) -> Table:
    """A row for each fault."""
    table = Table(title="Chaos: real processes, real clients", title_justify="left")
    for heading in (
        "fault",
        "fired",
        "acknowledged",
        "lost",
        "duplicates",
        "no writes, s p50/p99/max",
        "no reads, s",
        "in sync again, s",
        "replicas",
        "",
    ):
        table.add_column(heading, justify="left" if heading in ("fault", "") else "right")
    for one in results:
        if one.skipped:
            table.add_row(one.fault, *["-"] * 8, f"skipped: {one.skipped}")
            continue
        verdict = one.verdict
        table.add_row(
            one.fault,
            str(one.fired),
            f"{verdict.acknowledged:,} of {verdict.sends:,}",
            f"{verdict.lost} of {verdict.acknowledged:,}",
            f"{verdict.duplicates} of {verdict.acknowledged:,}",
            spread(one.write_gaps),
            spread(one.read_gaps),
            spread(one.in_sync),
            f"{one.replicas_compared} equal" if one.good else str(one.replicas_compared),
            "[green]ok[/]" if one.good else "[yellow]void[/]" if one.void else "[red]broken[/]",
        )
    done = [one for one in results if not one.skipped]
    acknowledged = sum(one.verdict.acknowledged for one in done)
    table.add_section()
    table.add_row(
        "all",
        str(sum(one.fired for one in done)),
        f"{acknowledged:,}",
        f"{sum(one.verdict.lost for one in done)} of {acknowledged:,}",
        f"{sum(one.verdict.duplicates for one in done)} of {acknowledged:,}",
        *[""] * 4,
        f"{sum(one.good for one in done)} of {len(done)} runs good",
    )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="run only the faults whose name has this in it")
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens")
    parser.add_argument("--seed", type=int, default=0, help="chooses targets and times")
    parser.add_argument("--kind", choices=sorted(KINDS), default="moldau", help="whose brokers")
    parser.add_argument("--folder", type=Path, help="keep logs, data and histories there")
    options = parser.parse_args()
    console = Console(width=190 if not sys.stdout.isatty() else None, highlight=False)
    home = options.folder or Path(tempfile.mkdtemp(prefix="moldau-chaos-", dir="/var/tmp"))
    results = []
    for at, fault in enumerate(fault for fault in FAULTS if options.only in fault.name):
        begun = time.monotonic()
        folder = home / f"{at:02}-{fault.name.replace(' ', '-')}"
        result = run(fault, options.kind, folder, rounds=options.rounds, seed=options.seed)
        results.append(result)
        word = "skipped" if result.skipped else "ok" if result.good else f"BROKEN, see {folder}"
        console.print(f"{fault.name}: {word} ({time.monotonic() - begun:.0f} s)")
        if not result.good and not result.skipped:
            console.print(str(result.verdict))
            for text in result.problems:
                console.print(f"  {text}")
        elif not options.folder:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(table_of(results))
    ran = [one for one in results if not one.skipped]
    if not options.folder and all(one.good for one in ran):
        shutil.rmtree(home, ignore_errors=True)
    return 0 if ran and all(one.good for one in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
