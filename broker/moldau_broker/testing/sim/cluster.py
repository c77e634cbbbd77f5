"""A whole cluster under one seed: chaos first, then healing, then everything must have converged."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

from moldau_broker.replication.fetch_round import AHEAD_BYTES
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.disk_faults import DiskNemesis
from moldau_broker.testing.sim.faults import Nemesis
from moldau_broker.testing.sim.kernel import InvariantViolated, Kernel
from moldau_broker.testing.sim.network import Network
from moldau_broker.testing.sim.node import Layer, SimNode
from moldau_broker.testing.sim.outcome import ACKED_MIN, FAULTS_MIN, RUN_MS_MIN, Outcome
from moldau_broker.testing.sim.swarm import (
    COMMITS,
    DELETIONS,
    DISK_FAULTS,
    EXTRAS,
    MEMBERS,
    READ_AHEAD,
    Swarm,
    draw,
)

CALM_MS = 4_000
"""Before the first fault: the cluster forms."""
CONVERGE_MS_MAX = 90_000
"""After the last fault, within which everything must have converged."""


class SimCluster:
    """What is common to clusters of every layer. Subclasses say what lives in a node, and when all is well.

    Attributes:
        extras: what this world may have of `swarm.EXTRAS`.
        acked: writes that a client was told are safe.
        nodes: by id, from 1 on.
    """

    counters: tuple[str, ...] = ()

    def __init__(
        self,
        seed: int,
        trace: Callable[[str], None] | None = None,
        world: Callable[[Swarm], Swarm] | None = None,
        extras: frozenset[str] = EXTRAS,
    ) -> None:
        self.seed = seed
        self.extras = extras
        self.kernel = Kernel(seed, trace)
        self.coverage = Coverage(self.counters)
        self.swarm: Swarm = (world or self.adapt)(draw(self.kernel.stream("swarm")))
        if DELETIONS not in extras:
            self.swarm = self.swarm._replace(fleeting=None)
        if READ_AHEAD not in extras:
            self.swarm = self.swarm._replace(ahead_bytes=AHEAD_BYTES)
        if COMMITS not in extras:
            self.swarm = self.swarm._replace(groups=0)
        if MEMBERS not in extras or not self.swarm.groups:
            self.swarm = self.swarm._replace(members=None)
        self.network = Network(self.kernel, self.kernel.stream("network"), self.swarm.network, self.coverage)
        self.acked = 0
        self.nodes = {node_id: SimNode(self, node_id) for node_id in range(1, self.swarm.nodes + 1)}
        self._crash_rng = self.kernel.stream("crash")
        self.chaos = True
        self.disk_nemesis = DiskNemesis(self.kernel, self.kernel.stream("disk faults"), self, self.coverage)
        if DISK_FAULTS not in extras:
            self.disk_nemesis.end()
        self.nemesis = Nemesis(self.kernel, self.kernel.stream("faults"), self.swarm, self, self.coverage)

    # -- what subclasses say ------------------------------------------------------------------------------

    def adapt(self, swarm: Swarm) -> Swarm:
        """The world as this layer can bear it."""
        return swarm

    def assemble(self, node: SimNode) -> tuple[list[Layer], dict[str, Layer]]:
        """The layers of a process that starts, and who takes which kind of request."""
        raise NotImplementedError

    def begin_work(self) -> None:
        """Clients start."""
        raise NotImplementedError

    def end_work(self) -> None:
        """Clients finish what they began and start nothing new."""
        raise NotImplementedError

    def scrub(self) -> None:
        """After the chaos every disk is read once, wherever nobody had to."""

    def mend(self) -> None:
        """What an administrator does after the chaos."""

    def not_converged(self) -> str | None:
        """Why the cluster has not converged yet, None if it has."""
        raise NotImplementedError

    def check_end(self) -> None:
        """What must hold once everything is quiet."""
        raise NotImplementedError

    def after_crash(self, node: SimNode, *, power_cut: bool) -> None:
        """What a crash does to the logs on a node's disk."""
        raise NotImplementedError

    # -- the run ------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """The whole history, from the seed to the verdict."""
        began = time.process_time()
        failure = None
        try:
            self._play()
        except InvariantViolated as violated:
            failure = f"at {self.kernel.now} ms: {violated}"
        except Exception as error:  # noqa: BLE001 - a core that falls over is a finding as well
            failure = f"at {self.kernel.now} ms: {type(error).__name__}: {error} ({_where(error)})"
        return Outcome(
            self.seed,
            self.kernel.digest,
            self.kernel.now,
            self.kernel.events,
            self.acked,
            self.nemesis.injected,
            dict(self.coverage.counts),
            failure,
            time.process_time() - began,
        )

    def _play(self) -> None:
        kernel = self.kernel
        for node in self.nodes.values():
            node.boot()
        self.begin_work()
        self.nemesis.begin(CALM_MS)
        self.disk_nemesis.begin(CALM_MS)
        kernel.run(self.swarm.chaos_ms)
        while self.nemesis.injected < FAULTS_MIN and kernel.now < self.swarm.chaos_ms + 90_000:
            kernel.run(kernel.now + 1_000)
        kernel.note("HEAL")
        self.chaos = False
        self.nemesis.end()
        self.disk_nemesis.end()
        limit = kernel.now + CONVERGE_MS_MAX
        while kernel.now < RUN_MS_MIN - 3_000 or self.acked < ACKED_MIN:
            kernel.run(kernel.now + 500)
            if kernel.now > limit:
                raise InvariantViolated(f"only {self.acked} writes acknowledged: {self.not_converged()}")
        self.end_work()
        reason = None
        while kernel.now < RUN_MS_MIN or (reason := self.not_converged()) is not None:
            kernel.run(kernel.now + 250)
            self.mend()
            if self.disk_nemesis.injected:
                self.scrub()
            if kernel.now > limit:
                raise InvariantViolated(f"did not converge: {reason}")
        self.check_end()
        if self.nemesis.injected < FAULTS_MIN:
            raise InvariantViolated(f"only {self.nemesis.injected} faults were injected")

    # -- what the nemesis does (faults.Victims) -----------------------------------------------------------

    def node_ids(self) -> list[int]:
        """All nodes, up or down."""
        return list(self.nodes)

    def client_ids(self) -> list[int]:
        """Hosts of clients."""
        return [host_id for host_id in self.network.hosts if host_id not in self.nodes]

    def is_up(self, node_id: int) -> bool:
        """Whether its process is there."""
        return self.nodes[node_id].up

    def leader_id(self) -> int | None:
        """A node that matters most now."""
        raise NotImplementedError

    def crash(self, node_id: int, *, halfway: int = -1) -> None:
        """Kill the process, now or in the middle of an operation."""
        node = self.nodes[node_id]
        if halfway >= 0:
            node.disk.dies_in = halfway
            return
        self._bury(node)

    def died_halfway(self, node: SimNode) -> None:
        """The disk said that this was its last operation."""
        self.coverage.hit("crashes halfway")
        self._bury(node)
        if not self.chaos:
            self.kernel.after(500, self.restart, node.id)

    def _bury(self, node: SimNode) -> None:
        power_cut = node.die()
        if self.kernel.trace is not None:
            self.kernel.note(f"n{node.id} is dead" + (", its page cache too" if power_cut else ""))
        self.coverage.hit("power cuts" if power_cut else "kills")
        self.after_crash(node, power_cut=power_cut)

    def restart(self, node_id: int) -> None:
        """Start it again if it is down; a crash that has not come yet will not come."""
        node = self.nodes[node_id]
        if not node.up:
            self.kernel.note(f"n{node_id} starts")
            node.boot()
        elif not self.chaos:
            node.disk.dies_in = -1
            node.late_until = max(node.late_until, node.host.paused_until)
            node.host.paused_until = min(node.host.paused_until, self.kernel.now)

    def stop_cleanly(self, node_id: int) -> None:
        """SIGTERM."""
        self.crash(node_id)

    def may_wipe(self, node_id: int) -> bool:
        """Whether nothing is lost for good with that disk."""
        return False

    def is_fragile(self) -> bool:
        """Whether any further fault could lose what no program can keep."""
        return False

    def wipe(self, node_id: int) -> None:
        """Replace the disk of a node that is down by an empty one."""
        self.nodes[node_id].wipe()

    def jump_wall_clock(self, node_id: int, by_ms: int) -> None:
        """Set its wall clock."""
        self.nodes[node_id].clock.wall_error_ms += by_ms

    def slow_disk(self, node_id: int, slow_ms: int) -> None:
        """Every flush takes up to `slow_ms`; 0: as before."""
        disk = self.nodes[node_id].disk
        disk.conditions = self.swarm.disk
        if slow_ms:
            disk.conditions = disk.conditions._replace(slow=1.0, slow_ms=slow_ms)

    def fill_disk(self, node_id: int, writes: int | None) -> None:
        """So many more writes fit on its disk; None: any number."""
        self.nodes[node_id].disk.room = writes

    def flip_bit(self, node_id: int, rng: Random) -> bool:
        """Nothing is damaged where no records are."""
        del node_id, rng
        return False

    def administer(self, kind: str, rng: Random) -> bool:
        """An administrator's request."""
        return False

    def stuck(self) -> dict[str, Any]:
        """For a failure's text."""
        return {}


def _where(error: BaseException) -> str:
    """The innermost line of our own code."""
    trace = error.__traceback__
    place = "?"
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rpartition('moldau_broker/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
