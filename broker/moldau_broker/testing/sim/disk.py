"""A node's disk, light: logs and small files that survive a crash as far as they were synced.

`SimDisk` is a `Committer` (as `storage.group_commit` is one): a flush takes some virtual milliseconds, covers what
was appended before it began, and is void if the process dies meanwhile. `testing.disk.SimDisk` is its heavier
cousin under the real storage layer; here a log is a list of batches, for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple, Protocol, TypeVar

from moldau_broker.storage.errors import DiskFull, StorageError
from moldau_broker.testing.sim.coverage import Coverage
from moldau_broker.testing.sim.kernel import Kernel


class NodeCrashed(BaseException):
    """The process died in the middle of what it did. Not an Exception: no core may swallow it."""


class DiskConditions(NamedTuple):
    """How the disk behaves.

    Attributes:
        sync_ms: a flush ordinarily takes 0 to this.
        slow, slow_ms: how often it takes up to `slow_ms` instead.
        lose_unsynced: how often a crash is a power cut; otherwise the page cache survives it.
    """

    sync_ms: int = 2
    slow: float = 0.0
    slow_ms: int = 0
    lose_unsynced: float = 1.0


class Durable(Protocol):
    """A log whose end can be made durable."""

    @property
    def log_end_offset(self) -> int:
        """Where it ends."""

    @property
    def generation(self) -> int:
        """Changes when it is cut."""

    def mark_durable(self, offset: int, generation: int | None = None) -> None:
        """All below `offset` is on the platter, unless truncated since `generation`."""


L = TypeVar("L", bound=Durable)


class SimDisk:
    """What one node keeps.

    Attributes:
        files: content of small files by name; a write replaces a file atomically and durably.
        logs: by name.
        aside: logs that lost their name and were kept.
        life: void the callbacks of earlier lives.
        dies_in: operations until the process dies half way through its work; -1 never.
        room: writes that still fit; None: any number.
    """

    def __init__(self, kernel: Kernel, rng: Random, conditions: DiskConditions, coverage: Coverage) -> None:
        self._kernel = kernel
        self._rng = rng
        self._coverage = coverage
        self.conditions = conditions
        self.files: dict[Any, Any] = {}
        self.logs: dict[Any, Any] = {}
        self.aside: list[Any] = []
        self.life = 0
        self.dies_in = -1
        self.room: int | None = None

    def operation(self) -> None:
        """One change of what is stored; maybe the last.

        Raises:
            NodeCrashed: the process dies here.
        """
        if self.dies_in >= 0:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise NodeCrashed

    def write(self, *, needs_room: bool = True) -> None:
        """An operation that takes room, unless it is told that it does not."""
        self.operation()
        if needs_room:
            self.take_room()

    def take_room(self) -> None:
        """Something is about to be written that takes space.

        Raises:
            DiskFull: there is none, and nothing was changed.
        """
        if self.room is None:
            return
        if self.room == 0:
            self._coverage.hit("writes refused for want of room")
            raise DiskFull("no space left on the simulated disk")
        self.room -= 1

    def replace(self, name: str, content: Any) -> None:
        """Write a small file: atomic and durable."""
        self.operation()
        self.take_room()
        self.files[name] = content
        self.operation()

    def request(self, log: Any, callback: Callable[[StorageError | None], None]) -> None:
        """Flush `log`; `callback(None)` once it is durable up to where it ends now (`Committer`)."""
        conditions = self.conditions
        chance = self._rng.random()
        if chance < conditions.slow:
            self._coverage.hit("flushes slow")
            delay = int(chance / conditions.slow * conditions.slow_ms)
        else:
            delay = int(chance * (conditions.sync_ms + 1))
        self._kernel.after(delay, self._flushed, log, log.log_end_offset, log.generation, self.life, callback)

    def _flushed(
        self,
        log: Durable,
        end: int,
        generation: int,
        life: int,
        callback: Callable[[StorageError | None], None],
    ) -> None:
        if life != self.life:
            return
        log.mark_durable(end, generation)
        self.run(callback, None)

    run: Callable[..., None]
    """How a callback is entered: by the node, which must be awake and may die; set by the node."""

    def crash(self) -> bool:
        """The process is gone; whether the power went with it, so that unsynced data may be lost.

        Whoever starts it again makes room first.
        """
        self.life += 1
        self.dies_in = -1
        self.room = None
        return self._rng.random() < self.conditions.lose_unsynced

    def wipe(self) -> None:
        """A new, empty disk."""
        self.life += 1
        self.dies_in = -1
        self.room = None
        self.files.clear()
        self.logs.clear()
        self.aside.clear()
