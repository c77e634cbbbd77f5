"""A run: a cluster, clients at work, one kind of fault some times over, and the judgement."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from tests.chaos import network
from tests.chaos.checker import Verdict, check
from tests.chaos.disks import differences
from tests.chaos.faults import Arena, Fault
from tests.chaos.nodes import KINDS, Cluster, NotNow
from tests.chaos.workload import LAG_P99_S_MAX, Workload

WARM_S: Final = 4.0
CALM_S: Final = 5.0
IN_SYNC_S_MAX: Final = 90.0
DISK_MEGABYTES: Final = 96
ACKNOWLEDGED_MIN: Final = 500
_MOUNTS: Final = "moldau-chaos-disk"


@dataclass
class Result:
    """What one run showed."""

    fault: str
    kind: str
    verdict: Verdict = field(default_factory=Verdict)
    fired: int = 0
    write_gaps: list[float] = field(default_factory=list)
    """Seconds, of each fault: the partition that could not be written for longest."""
    read_gaps: list[float] = field(default_factory=list)
    in_sync: list[float] = field(default_factory=list)
    """Seconds from healing until every replica was in sync again."""
    problems: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    lag_p99: float = 0.0
    replicas_compared: int = 0
    skipped: str = ""

    @property
    def void(self) -> bool:
        """Whether the machine was too busy to say anything about the brokers."""
        return self.lag_p99 > LAG_P99_S_MAX

    @property
    def good(self) -> bool:
        return not self.problems and not self.verdict.broken


def why_not(fault: Fault, kind: str) -> str | None:
    """Why a fault cannot happen here; None when it can."""
    if kind not in fault.kinds:
        return f"cannot be done to {kind}"
    if fault.needs == "network":
        return network.why_not()
    if fault.needs == "small disk" and os.geteuid() != 0:
        return "needs root to mount a small file system"
    return None


@contextlib.contextmanager
def _disks(folder: Path, nodes: int) -> Iterator[None]:
    """A small file system for each node's folder; those of runs that were killed are unmounted too."""
    for line in Path("/proc/mounts").read_text().splitlines():
        device, target, *_ = line.split()
        owner = re.fullmatch(rf"{_MOUNTS}-(\d+)", device)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            subprocess.run(["umount", "--lazy", target], check=False)
    mounted = []
    try:
        for node in range(1, nodes + 1):
            target = folder / f"node{node}"
            target.mkdir(parents=True, exist_ok=True)
            options = f"size={DISK_MEGABYTES}m"
            device = f"{_MOUNTS}-{os.getpid()}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, device, str(target)], check=True)
            mounted.append(target)
        yield
    finally:
        for target in mounted:
            subprocess.run(["umount", "--lazy", str(target)], check=False)


@contextlib.contextmanager
def cluster_for(fault: Fault, kind: str, folder: Path) -> Iterator[Cluster]:
    """A cluster as the fault needs it, running."""
    with contextlib.ExitStack() as stack:
        nets = None
        if fault.needs == "network":
            nets = stack.enter_context(network.Network(range(1, fault.nodes + 1)))
        if fault.needs == "small disk" and kind == "moldau":
            stack.enter_context(_disks(folder, fault.nodes))
        cluster = KINDS[kind](folder, fault.nodes, nets, dict(fault.settings))
        cluster.prepare()
        stack.callback(cluster.close)
        cluster.start_all(120)
        yield cluster


def run(
    fault: Fault, kind: str, folder: Path, *, rounds: int = 3, seed: int = 0, drain_s: float = 60.0
) -> Result:
    """One kind of fault, `rounds` times, on a fresh cluster; its files stay in `folder`."""
    result = Result(fault.name, kind)
    reason = why_not(fault, kind)
    if reason is not None:
        result.skipped = reason
        return result
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun = time.monotonic()
    with cluster_for(fault, kind, folder) as cluster:
        work = Workload(cluster.bootstrap, seed=seed)
        arena = Arena(cluster, work, random.Random(seed))
        arena.say(f"started in {time.monotonic() - begun:.1f} s")
        try:
            work.create_topics()
            cluster.wait("all replicas in sync at first", lambda: cluster.in_sync(work.topics), 30)
            work.start()
            time.sleep(WARM_S)
            for _ in range(rounds):
                _strike(fault, arena, result)
        except AssertionError as error:
            result.problems.append(str(error))
        except (OSError, NotNow, KafkaException) as error:
            result.problems.append(repr(error))
        _judge(arena, result, drain_s)
        for node in cluster.nodes.values():
            if fault.needs == "small disk" and node.log.exists():
                shutil.copy(node.log, folder / f"node{node.id}.log")
    work.history.write(folder / "history.jsonl")
    result.log = arena.log
    (folder / "result.json").write_text(json.dumps(asdict(result), indent=1))
    (folder / "verdict.txt").write_text("\n".join([str(result.verdict), *result.problems, *result.log, ""]))
    return result


def _strike(fault: Fault, arena: Arena, result: Result) -> None:
    """One fault, from the injection until all is well again."""
    cluster, work = arena.cluster, arena.workload
    arena.target = "{}-{}".format(*arena.chance.choice(work.partitions))
    begun = time.monotonic_ns()
    arena.say(f"inject {fault.name}, target {arena.target}")
    fault.inject(arena)
    result.fired += 1
    arena.say(f"injected, hit {arena.hit}")
    time.sleep(fault.hold_s(cluster))
    fault.heal(arena)
    arena.say("healed")
    try:
        took = cluster.wait("in sync after healing", lambda: cluster.in_sync(work.topics), IN_SYNC_S_MAX)
        result.in_sync.append(took)
        arena.say(f"in sync after {took:.1f} s")
        time.sleep(CALM_S)
    finally:
        ended = time.monotonic_ns()
        result.write_gaps.append(max(work.write_gaps(begun, ended).values()))
        result.read_gaps.append(max(work.read_gaps(begun, ended).values()))
        arena.say(f"not written for {result.write_gaps[-1]:.2f} s, not read for {result.read_gaps[-1]:.2f} s")


def _judge(arena: Arena, result: Result, drain_s: float) -> None:
    """Stop the clients, read everything, compare replicas, and check."""
    cluster, work = arena.cluster, arena.workload
    dead = cluster.dead()
    for node in dead:
        process = cluster.nodes[node].process
        code = process.returncode if process is not None else None
        result.problems.append(f"node {node} ended by itself with {code}")
    for node in cluster.nodes.values():
        if count := node.log.read_text(errors="replace").count("Traceback (most recent call last)"):
            result.problems.append(f"node {node.id} logged {count} tracebacks")
    work.stop(drain_s)
    if not work.drain(drain_s):
        result.problems.append(f"not all could be read within {drain_s:.0f} s")
    elif not result.problems:
        _compare_replicas(arena, result)
    result.verdict = check(work.history)
    result.notes = dict(work.notes)
    result.lag_p99 = work.lag_p99()
    if result.verdict.acknowledged < ACKNOWLEDGED_MIN:
        result.problems.append(f"only {result.verdict.acknowledged} acknowledged: this proves nothing")
    if not result.verdict.commits:
        result.problems.append("no group position was committed: this proves nothing about groups")
    if any(note.startswith(("fatal", "not flushed")) or "lost its position" in note for note in work.notes):
        result.problems.append(f"clients complain: {result.notes}")
    if result.void:
        result.problems.append(f"void: threads woke up to {result.lag_p99:.3f} s late (p99)")


def _compare_replicas(arena: Arena, result: Result) -> None:
    """Every replica's bytes below the high watermark; replicas may need a moment to have them."""
    cluster, work = arena.cluster, arena.workload
    holders = {name: one.replica_nodes for name, one in cluster.partitions(min(cluster.nodes)).items()}
    for name, end in work.ends.items():
        folders = {node: cluster.nodes[node].data / name for node in holders[name]}
        said: list[str] = []
        for _ in range(20):
            said = differences(folders, end)
            if not said:
                break
            time.sleep(0.25)
        result.replicas_compared += len(folders)
        result.problems += [f"{name}: {text}" for text in said]
