"""What goes wrong with disks: they fill up and get room again, and bits flip at rest.

A nemesis of its own, with its own stream of chance, beside the one of processes and links (`faults`). A bit is flipped
only where another in-sync replica has the batch whole: damage to the only copy is nobody's bug.
"""

from __future__ import annotations

from random import Random
from typing import Final, Protocol

from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import Kernel

COUNTERS: Final = ("disks full", "writes refused for want of room")
ROT_COUNTERS: Final = ("bits flipped", "bit flips found by reading", "bit flips found by scrubbing")

_GAP_MS: Final = 3_000
_FULL_MS_MAX: Final = 6_000
_ROOM_WRITES_MAX: Final = 6
"""Writes that still fit when a disk fills up: the end comes in the middle of something."""


class DiskVictims(Protocol):
    """The cluster, as far as this nemesis acts on it."""

    def node_ids(self) -> list[int]:
        """All nodes, up or down."""
        ...

    def is_fragile(self) -> bool:
        """Whether any further fault could lose what no program can keep."""
        ...

    def fill_disk(self, node_id: int, writes: int | None) -> None:
        """So many more writes fit on its disk; None: any number."""
        ...

    def flip_bit(self, node_id: int, rng: Random) -> bool:
        """Damage a stored batch silently; whether there was one that may be damaged."""
        ...


class DiskNemesis:
    """Injects faults of disks until told to stop; half of all worlds have none.

    Attributes:
        injected: how many so far.
    """

    def __init__(self, kernel: Kernel, rng: Random, victims: DiskVictims, coverage: Coverage) -> None:
        self._kernel = kernel
        self._rng = rng
        self._victims = victims
        self._coverage = coverage
        self._active = rng.random() < 0.5
        self._rot = rng.choice((0.4, 0.8))
        self.injected = 0

    def begin(self, after_ms: int) -> None:
        """The first fault comes some time after `after_ms`."""
        if self._active:
            self._kernel.after(after_ms + self._gap(), self._strike)

    def end(self) -> None:
        """No more faults; all disks have room."""
        self._active = False
        for node_id in self._victims.node_ids():
            self._victims.fill_disk(node_id, None)

    def _gap(self) -> int:
        return 1 + int(self._rng.expovariate(1 / _GAP_MS))

    def _strike(self) -> None:
        if not self._active:
            return
        rng, victims = self._rng, self._victims
        node_id = rng.choice(victims.node_ids())
        rots = rng.random() < self._rot
        if not victims.is_fragile():
            if rots:
                hit = victims.flip_bit(node_id, rng)
                what = "bits flipped"
            else:
                victims.fill_disk(node_id, rng.randint(0, _ROOM_WRITES_MAX))
                room_ms = 50 + int(rng.random() ** 2 * _FULL_MS_MAX)
                self._kernel.after(room_ms, victims.fill_disk, node_id, None)
                hit, what = True, "disks full"
            if hit:
                self.injected += 1
                self._coverage.hit(what)
                if self._kernel.trace is not None:
                    self._kernel.note(f"FAULT {what}: n{node_id}")
        self._kernel.after(self._gap(), self._strike)
