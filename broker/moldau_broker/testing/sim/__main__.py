"""`python -m moldau_broker.testing.sim`: many seeds on several processes, or one with its trace."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.outcome import Outcome
from moldau_broker.testing.sim.run import LAYERS, declared, run_seed, run_work


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def _outcomes(arguments: argparse.Namespace) -> Iterator[Outcome]:
    work = [(seed, arguments.layer) for seed in arguments.seeds]
    gc.freeze()  # modules stay: not to be looked through for garbage after every seed, nor copied by a fork
    if arguments.jobs == 1 or len(work) == 1:
        yield from map(run_work, work)
        return
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("fork")) as pool:
        yield from pool.map(run_work, work, chunksize=5)


def main() -> int:
    """Run the seeds; 0 if all are green and every counter was met."""
    parser = argparse.ArgumentParser(prog="python -m moldau_broker.testing.sim", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=range(100), help="N, or FIRST..LAST (default 0..99)")
    parser.add_argument("--count", type=int, help="instead of --seeds: that many, from 0 on")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--layer", choices=LAYERS, default=LAYERS[-1], help="how much of a node is real")
    parser.add_argument("--trace", action="store_true", help="print what happens, line by line")
    arguments = parser.parse_args()
    if arguments.count is not None:
        arguments.seeds = range(arguments.count)
    logging.disable(logging.CRITICAL)  # what the cores log of faults is no news here
    if arguments.trace:
        return _traced(arguments)
    return _many(arguments)


def _traced(arguments: argparse.Namespace) -> int:
    red = 0
    for seed in arguments.seeds:
        outcome = run_seed(seed, layer=arguments.layer, trace=_say)
        _say(f"seed {seed}: {outcome.failure or 'green'}, history {outcome.digest}")
        red += outcome.failure is not None
    return 1 if red else 0


def _many(arguments: argparse.Namespace) -> int:
    coverage = Coverage(declared(arguments.layer))
    began = time.monotonic()
    done = acked = faults = virtual_ms = events = 0
    cpu_s = 0.0
    red: list[Outcome] = []
    for outcome in _outcomes(arguments):
        done += 1
        acked += outcome.acked
        faults += outcome.faults
        virtual_ms += outcome.virtual_ms
        events += outcome.events
        cpu_s += outcome.cpu_s
        coverage.add(outcome.counts)
        if outcome.failure is not None:
            red.append(outcome)
            _say(f"RED seed {outcome.seed}: {outcome.failure}")
            _say(f"    replay: make sim SEED={outcome.seed}" + _layer_option(arguments.layer))
        if done % 100 == 0:
            _say(f"{done} of {len(arguments.seeds)} seeds, {len(red)} red, {time.monotonic() - began:.0f} s")
    _say(coverage.table())
    _say(
        f"{done} seeds, {len(red)} red; {acked:,} acknowledged writes, {faults:,} faults, "
        f"{virtual_ms / 3_600_000:.1f} virtual hours, {events:,} events; "
        f"{cpu_s / max(1, done):.3f} CPU s a seed, {time.monotonic() - began:.0f} s in all"
    )
    zeros = coverage.zeros if done >= 100 else []
    if zeros:
        _say("never met: " + ", ".join(zeros))
    return 1 if red or zeros else 0


def _layer_option(layer: str) -> str:
    return "" if layer == LAYERS[-1] else f" LAYER={layer}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
