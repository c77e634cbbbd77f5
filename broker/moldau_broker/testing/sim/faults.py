"""The nemesis: what goes wrong, when, and for how long; all of it drawn from its own stream of chance.

A fault never makes the cluster lose what it could not keep: a disk is wiped only while every other copy of what
it holds is whole (`Victims.may_wipe`), as otherwise the loss would be nobody's bug.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import Kernel
from moldau_broker.testing.sim.network import Network
from moldau_broker.testing.sim.swarm import Swarm


class Victims(Protocol):
    """The cluster, as far as the nemesis acts on it."""

    network: Network

    def node_ids(self) -> list[int]:
        """All nodes, up or down."""
        ...

    def client_ids(self) -> list[int]:
        """Hosts of clients."""
        ...

    def is_up(self, node_id: int) -> bool:
        """Whether its process is there."""
        ...

    def leader_id(self) -> int | None:
        """A node that matters most now: the quorum's or a partition's leader."""
        ...

    def crash(self, node_id: int, *, halfway: int = -1) -> None:
        """Kill the process, now or in the middle of the operation that many from now."""
        ...

    def restart(self, node_id: int) -> None:
        """Start it again if it is down."""
        ...

    def stop_cleanly(self, node_id: int) -> None:
        """SIGTERM: it leaves in order, then is down."""
        ...

    def is_fragile(self) -> bool:
        """Whether any further fault could lose what no program can keep."""
        ...

    def may_wipe(self, node_id: int) -> bool:
        """Whether nothing is lost for good with that disk."""
        ...

    def wipe(self, node_id: int) -> None:
        """Replace the disk of a node that is down by an empty one."""
        ...

    def jump_wall_clock(self, node_id: int, by_ms: int) -> None:
        """Set its wall clock."""
        ...

    def slow_disk(self, node_id: int, slow_ms: int) -> None:
        """Every flush takes up to `slow_ms`; 0: as before."""
        ...

    def administer(self, kind: str, rng: Random) -> bool:
        """An administrator's request of that kind (membership, reassign, elect); whether there was one to make."""
        ...


DOWN_MS_MAX: Final = 6_000


class Nemesis:
    """Injects faults until told to stop.

    Attributes:
        injected: how many so far.
    """

    def __init__(
        self, kernel: Kernel, rng: Random, swarm: Swarm, victims: Victims, coverage: Coverage
    ) -> None:
        self._kernel = kernel
        self._rng = rng
        self._swarm = swarm
        self._victims = victims
        self._coverage = coverage
        self._kinds = list(swarm.faults)
        self._weights = list(swarm.faults.values())
        self.injected = 0
        self._active = True
        self._do: dict[str, Callable[[], bool]] = {
            "crash": lambda: self._crash(self._any()),
            "crash leader": lambda: self._crash(self._victims.leader_id()),
            "crash all": self._crash_all,
            "pause": lambda: self._pause(self._any()),
            "pause leader": lambda: self._pause(self._victims.leader_id()),
            "isolate": lambda: self._isolate(self._any()),
            "isolate leader": lambda: self._isolate(self._victims.leader_id()),
            "one-way cut": self._one_way,
            "split": self._split,
            "clog": self._clog,
            "reset": self._reset,
            "wall clock jump": self._jump,
            "slow disk": self._slow_disk,
            "wipe": self._wipe,
            "membership": lambda: self._victims.administer("membership", self._rng),
            "clean restart": self._clean_restart,
            "reassign": lambda: self._victims.administer("reassign", self._rng),
            "elect": lambda: self._victims.administer("elect", self._rng),
        }

    def begin(self, after_ms: int) -> None:
        """The first fault comes after `after_ms`."""
        self._kernel.after(after_ms, self._strike)

    def end(self) -> None:
        """No more faults; what is down comes back, what is cut is joined."""
        self._active = False
        victims = self._victims
        victims.network.heal()
        for node_id in victims.node_ids():
            victims.slow_disk(node_id, 0)
            victims.restart(node_id)

    def _strike(self) -> None:
        if not self._active:
            return
        kind = self._rng.choices(self._kinds, self._weights)[0]
        if not self._victims.is_fragile() and self._do[kind]():
            self.injected += 1
            self._coverage.hit(f"fault: {kind}")
            if self._kernel.trace is not None:
                self._kernel.note(f"FAULT {kind}")
        self._kernel.after(1 + int(self._rng.expovariate(1 / self._swarm.fault_gap_ms)), self._strike)

    def _any(self) -> int:
        return self._rng.choice(self._victims.node_ids())

    def _time(self, most_ms: int) -> int:
        """Mostly short, sometimes as long as that."""
        return 50 + int(self._rng.random() ** 2 * most_ms)

    def _later(self, most_ms: int, call: Callable[..., None], *args: int) -> None:
        self._kernel.after(self._time(most_ms), call, *args)

    # -- processes ----------------------------------------------------------------------------------------

    def _crash(self, node_id: int | None) -> bool:
        if node_id is None or not self._victims.is_up(node_id):
            return False
        halfway = self._rng.randrange(6) if self._rng.random() < self._swarm.dies_halfway else -1
        self._victims.crash(node_id, halfway=halfway)
        self._later(DOWN_MS_MAX, self._victims.restart, node_id)
        return True

    def _crash_all(self) -> bool:
        for node_id in self._victims.node_ids():
            if self._victims.is_up(node_id):
                self._victims.crash(node_id)
            self._later(3_000, self._victims.restart, node_id)
        return True

    def _clean_restart(self) -> bool:
        node_id = self._any()
        if not self._victims.is_up(node_id):
            return False
        self._victims.stop_cleanly(node_id)
        self._kernel.after(2_000 + self._time(3_000), self._victims.restart, node_id)
        return True

    def _pause(self, node_id: int | None) -> bool:
        if node_id is None or not self._victims.is_up(node_id):
            return False
        network = self._victims.network
        network.pause(network.host(node_id), self._kernel.now + self._time(9_000))
        return True

    def _wipe(self) -> bool:
        node_id = self._any()
        if not self._victims.may_wipe(node_id):
            return False
        if self._victims.is_up(node_id):
            self._victims.crash(node_id)
        self._victims.wipe(node_id)
        self._later(3_000, self._victims.restart, node_id)
        return True

    def _jump(self) -> bool:
        self._victims.jump_wall_clock(self._any(), self._rng.randint(-120_000, 120_000))
        return True

    def _slow_disk(self) -> bool:
        node_id = self._any()
        self._victims.slow_disk(node_id, self._rng.choice((200, 800, 3_000)))
        self._later(6_000, self._victims.slow_disk, node_id, 0)
        return True

    # -- links --------------------------------------------------------------------------------------------

    def _isolate(self, node_id: int | None) -> bool:
        """Cut off from its peers, and (or not) from the clients."""
        if node_id is None:
            return False
        others = [other for other in self._victims.node_ids() if other != node_id]
        if self._rng.random() < 0.5:
            others += self._victims.client_ids()
        self._cut([(node_id, other) for other in others] + [(other, node_id) for other in others], 8_000)
        return True

    def _one_way(self) -> bool:
        source, target = self._rng.sample(self._victims.node_ids(), 2)
        self._cut([(source, target)], 8_000)
        return True

    def _split(self) -> bool:
        """Two random sides; with more than three nodes often a ring in which everybody sees a majority."""
        nodes = self._victims.node_ids()
        if len(nodes) > 3 and self._rng.random() < 0.5:
            order = self._rng.sample(nodes, len(nodes))
            near = {
                (order[at], order[(at + step) % len(order)]) for at in range(len(order)) for step in (1, -1)
            }
            pairs = [(a, b) for a in nodes for b in nodes if a != b and (a, b) not in near]
        else:
            side = set(self._rng.sample(nodes, self._rng.randint(1, len(nodes) // 2)))
            pairs = [(a, b) for a in nodes for b in nodes if (a in side) != (b in side)]
        self._cut(pairs, 8_000)
        return True

    def _cut(self, pairs: list[tuple[int, int]], most_ms: int) -> None:
        network = self._victims.network
        for source, target in pairs:
            network.cut(source, target)
        length = self._time(most_ms)
        for source, target in pairs:
            self._kernel.after(length, network.heal_link, source, target)

    def _clog(self) -> bool:
        """Several links stop at about the same time and open one by one."""
        nodes = self._victims.node_ids()
        for source in nodes:
            for target in nodes:
                if source != target and self._rng.random() < 0.4:
                    self._victims.network.clog(source, target, self._kernel.now + self._time(3_000))
        return True

    def _reset(self) -> bool:
        nodes = self._victims.node_ids() + self._victims.client_ids()
        for at, one in enumerate(nodes):
            for other in nodes[at + 1 :]:
                if self._rng.random() < 0.5:
                    self._victims.network.reset(one, other)
        return True
