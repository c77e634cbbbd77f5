"""`python -m benchmarks.balance`: how good and how fast the balance plans are, beside bounds and a greedy.

The greedy stands for how goal-by-goal balancers decide: brokers in order, the first legal move that helps, no
look-ahead (a simplified stand-in, not any product). Exit status 1 when a promise is missed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from moldau_operator.plan.leaders import LedPartition, plan_leaders
from moldau_operator.plan.packing import PackBroker, PackPartition, pack_replicas

T = TypeVar("T")
GIB = 1 << 30
BAND = 0.09

LEADERS = ((1_000, 6, 2.0), (10_000, 30, 2.0), (100_000, 100, 2.0))
"""Partitions, brokers, seconds allowed."""
REPLICAS = (
    (300, 6, 9, 0, 10.0),
    (1_000, 12, 15, 0, 10.0),
    (2_000, 12, 15, 4, 10.0),
    (5_000, 24, 30, 0, 10.0),
    (20_000, 24, 30, 0, 10.0),
)
"""Partitions, brokers before and after, racks, seconds allowed."""
BOUND_RATIO_MAX = 1.02


def timed(call: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begun


def led(partitions: int, brokers: int, seed: int = 1) -> list[LedPartition]:
    rng = Random(seed)
    made = []
    for index in range(partitions):
        isr = tuple(rng.sample(range(brokers), 3))
        # Leaders gather on some brokers, as they do after restarts.
        leader = max(isr, key=lambda broker: (broker % 3 == 0, rng.random()))
        made.append(LedPartition(("t", index), leader, isr))
    return made


def greedy_leaders(partitions: list[LedPartition], brokers: int) -> tuple[int, int]:
    """(largest count, changes) of moving leadership from the fullest to its emptiest replica while that helps."""
    counts = [0] * brokers
    for partition in partitions:
        counts[partition.leader] += 1
    changes = 0
    for partition in partitions:
        best = min(partition.isr, key=counts.__getitem__)
        if counts[best] + 1 < counts[partition.leader]:
            counts[partition.leader] -= 1
            counts[best] += 1
            changes += 1
    return max(counts), changes


def placed(partitions: int, before: int, racks: int, seed: int = 1) -> list[PackPartition]:
    rng = Random(seed)
    made = []
    for index in range(partitions):
        if racks:
            chosen = [
                rng.choice([broker for broker in range(before) if broker % racks == rack])
                for rack in rng.sample(range(racks), 3)
            ]
        else:
            chosen = rng.sample(range(before), 3)
        made.append(PackPartition(("t", index), tuple(chosen), int(rng.lognormvariate(0, 1) * 5 * GIB)))
    return made


def greedy_bytes(partitions: list[PackPartition], after: int, racks: int) -> int:
    """Bytes moved by counts first, then bytes, each move the first that helps and breaks no earlier goal."""
    replicas = [set(partition.replicas) for partition in partitions]
    held: list[list[int]] = [[] for _ in range(after)]
    size = [0] * after
    for index, partition in enumerate(partitions):
        for broker in partition.replicas:
            held[broker].append(index)
            size[broker] += partition.size
    mean_count = sum(map(len, held)) / after
    mean_size = sum(size) / after
    moved = 0

    def legal(index: int, source: int, target: int) -> bool:
        if target in replicas[index]:
            return False
        return not racks or all(one % racks != target % racks for one in replicas[index] - {source})

    def move(index: int, source: int, target: int) -> None:
        nonlocal moved
        replicas[index].remove(source)
        replicas[index].add(target)
        held[source].remove(index)
        held[target].append(index)
        size[source] -= partitions[index].size
        size[target] += partitions[index].size
        moved += partitions[index].size

    for target in range(after):
        for source in sorted(range(after), key=lambda broker: -len(held[broker])):
            for index in tuple(held[source]):
                if len(held[target]) >= mean_count * (1 - BAND) or len(held[source]) <= mean_count:
                    break
                if legal(index, source, target):
                    move(index, source, target)
    for target in range(after):
        for source in sorted(range(after), key=lambda broker: -size[broker]):
            for index in tuple(held[source]):
                if size[target] >= mean_size * (1 - BAND) or size[source] <= mean_size:
                    break
                if len(held[source]) - 1 >= mean_count * (1 - BAND) and legal(index, source, target):
                    move(index, source, target)
    return moved


def leadership(console: Console) -> bool:
    table = Table(title="Leadership: largest count per broker", title_justify="left")
    for heading in (
        "partitions",
        "brokers",
        "before",
        "plan",
        "bound",
        "changes",
        "fewest",
        "greedy",
        "s",
        "",
        "",
    ):
        table.add_column(heading, justify="right")
    good = True
    for partitions, brokers, seconds_max in LEADERS:
        case = led(partitions, brokers)
        plan, seconds = timed(lambda case=case, brokers=brokers: plan_leaders(case, range(brokers)))  # type: ignore[misc]
        # Every leadership above the bound has to go: no plan that reaches it changes fewer.
        fewest = sum(max(0, count - plan.optimum) for count in plan.before.values())
        largest, greedy_changes = greedy_leaders(case, brokers)
        reached = (
            plan.optimum == plan.mean_bound and len(plan.changes) <= 1.05 * fewest and seconds < seconds_max
        )
        good &= reached
        table.add_row(
            f"{partitions:,}",
            str(brokers),
            str(max(plan.before.values())),
            str(plan.optimum),
            str(plan.mean_bound),
            f"{len(plan.changes):,}",
            f"{fewest:,}",
            f"{largest} by {greedy_changes:,}",
            f"{seconds:.2f}",
            f"< {seconds_max:g}",
            "[green]ok[/]" if reached else "[red]miss[/]",
        )
    console.print(table)
    return good


def replicas(console: Console) -> bool:
    table = Table(title="Replicas: bytes moved on scale-out, band 9 %", title_justify="left")
    for heading in (
        "partitions",
        "brokers",
        "racks",
        "bound GiB",
        "plan",
        "greedy",
        "moves",
        "outside",
        "s",
        "",
        "",
    ):
        table.add_column(heading, justify="right")
    good = True
    for partitions, before, after, racks, seconds_max in REPLICAS:
        ratios, times, moves, outside, greedy, bound = [], [], 0, 0, [], 0
        for seed in range(1, 4):
            case = placed(partitions, before, racks, seed)
            brokers = [PackBroker(one, f"rack-{one % racks}" if racks else None) for one in range(after)]
            plan, seconds = timed(lambda case=case, brokers=brokers: pack_replicas(case, brokers, band=BAND))  # type: ignore[misc]
            ratios.append(plan.bytes_moved / plan.lower_bound)
            times.append(seconds)
            moves, bound = len(plan.moves), plan.lower_bound
            outside += len(plan.outside) + len(plan.homeless)
            if partitions <= 5_000:
                greedy.append(greedy_bytes(case, after, racks) / plan.lower_bound)
        reached = max(ratios) <= BOUND_RATIO_MAX and not outside and max(times) < seconds_max
        good &= reached
        table.add_row(
            f"{partitions:,}",
            f"{before} -> {after}",
            str(racks or "-"),
            f"{bound / GIB:,.0f}",
            f"{max(ratios):.4f}x",
            f"{statistics.median(greedy):.3f}x" if greedy else "-",
            f"{moves:,}",
            str(outside),
            f"{max(times):.2f}",
            f"< {seconds_max:g}",
            "[green]ok[/]" if reached else "[red]miss[/]",
        )
    console.print(table)
    return good


def main() -> int:
    console = Console(width=120 if not sys.stdout.isatty() else None)
    good = leadership(console)
    good &= replicas(console)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
