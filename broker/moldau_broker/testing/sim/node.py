"""One simulated process: its clock, its disk, its connections, and the layers that live in it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from moldau_broker.base.ids import Uuid
from moldau_broker.testing.sim.disk import NodeCrashed, SimDisk
from moldau_broker.testing.sim.kernel import NodeClock
from moldau_broker.testing.sim.network import Answer, Host

if TYPE_CHECKING:
    from moldau_broker.testing.sim.cluster import SimCluster


class Layer(Protocol):
    """A part of a running process."""

    def handle(self, kind: str, sender: int, message: Any, answer: Answer) -> None:
        """A request of one of its kinds."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...

    @property
    def deadline_ms(self) -> int | None:
        """Local monotonic time of the next `tick` that matters, None if none does."""
        ...


class SimNode:
    """A node over all its lives.

    Attributes:
        directory_id: of its data folder; a wiped disk has another one.
        up: whether the process is there.
        layers: of the present life, lowest first.
        kinds: request kind -> layer.
        wipes: how often its disk was replaced.
        late_until: until when timers that rang in a pause may come, though the pause was cut short.
    """

    def __init__(self, cluster: SimCluster, node_id: int) -> None:
        swarm = cluster.swarm
        self.cluster = cluster
        self.id = node_id
        self.kernel = cluster.kernel
        self.network = cluster.network
        self.coverage = cluster.coverage
        self.clock = NodeClock(self.kernel, swarm.offset_ms[node_id - 1], swarm.drift_permille[node_id - 1])
        self.disk = SimDisk(self.kernel, self.stream("disk"), swarm.disk, self.coverage)
        self.disk.run = self.run
        self.host: Host = self.network.host(node_id)
        self.rng: Random = self.stream("core")
        self.wipes = 0
        self.late_until = -1
        self.directory_id = self._new_directory()
        self.up = False
        self.layers: list[Layer] = []
        self.kinds: dict[str, Layer] = {}
        self._wake_at = -1
        self._settled_ms = -1
        self._running = False
        self._soon: list[Callable[[], None]] = []

    def stream(self, name: str) -> Random:
        """This node's own source of chance of that name."""
        return self.kernel.stream(f"node {self.id} {name}")

    def _new_directory(self) -> Uuid:
        return Uuid(bytes([self.id, self.wipes]) + b"directory-id\0\0")

    # -- lives --------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """The process starts."""
        assert not self.up, "it runs already"
        self.up = True
        self.disk.life += 1
        self._wake_at = self._settled_ms = -1
        self.network.start(self.host, self._receive)
        self.kernel.after(0, self._boot, self.host.life)

    def _boot(self, life: int) -> None:
        if self.up and life == self.host.life:
            self.run(self._assemble)

    def _assemble(self) -> None:
        self.layers, self.kinds = self.cluster.assemble(self)
        for layer in self.layers:
            layer.tick()

    def die(self) -> bool:
        """The process is gone; whether unsynced data is lost with it."""
        self.up = False
        self.network.stop(self.host)
        self.layers, self.kinds = [], {}
        return self.disk.crash()

    def wipe(self) -> None:
        """An empty disk; the node is down."""
        assert not self.up, "disks are replaced while the machine is off"
        self.wipes += 1
        self.directory_id = self._new_directory()
        self.disk.wipe()

    # -- events -------------------------------------------------------------------------------------------

    def run(self, call: Callable[..., None], *args: Any) -> None:
        """Enter the process: now, after its pause, or never if it is gone."""
        if not self.up:
            return
        pause = self.host.paused_until
        if pause > self.kernel.now:
            self.kernel.at(pause, self.resume, self.host.life, call, args)
            return
        if self._running:  # a callback from within: part of the event under way
            call(*args)
            return
        self._running = True
        try:
            call(*args)
            while self._soon:
                self._soon.pop(0)()
            self._settle()
        except NodeCrashed:
            self._running = False
            self._soon.clear()
            self.cluster.died_halfway(self)
        finally:
            self._running = False

    def soon(self, call: Callable[[], None]) -> None:
        """At the end of the event under way (`server.turn.Turn`)."""
        self._soon.append(call)

    def resume(self, life: int, call: Callable[..., None], args: tuple[Any, ...] = ()) -> None:
        """Enter, if it is still the same process."""
        if life == self.host.life:
            self.run(call, *args)

    def _receive(self, sender: int, request: Any, answer: Answer) -> None:
        self.run(self._dispatch, sender, request, answer)

    def _dispatch(self, sender: int, request: Any, answer: Answer) -> None:
        layer = self.kinds.get(request[0])
        if layer is not None:  # else it is still starting: the connection hangs
            layer.handle(request[0], sender, request, answer)

    def _settle(self) -> None:
        """See to it that the process wakes when the first of its layers wants to."""
        first: int | None = None
        for layer in self.layers:
            deadline = layer.deadline_ms
            if deadline is not None and (first is None or deadline < first):
                first = deadline
        now = self.kernel.now
        if first is None or (first == self._settled_ms and self._wake_at > now):
            return
        self._settled_ms = first
        when = self.clock.to_virtual(first)
        if when <= now:
            when = now + 1
        if self._wake_at < 0 or when < self._wake_at or self._wake_at <= now:
            self._wake_at = when
            self.kernel.at(when, self._wake, self.host.life, when)

    def _wake(self, life: int, when: int) -> None:
        if life != self.host.life or when != self._wake_at:
            return
        self._wake_at = -1
        self.run(self._tick)

    def _tick(self) -> None:
        now = self.clock.monotonic_ms()
        for layer in self.layers:
            deadline = layer.deadline_ms
            if deadline is not None and deadline <= now:
                layer.tick()
