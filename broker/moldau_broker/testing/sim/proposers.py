"""Clients of the bare quorum: each proposes one value after the other until it is told that it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moldau_broker.testing.sim.client import no_requests
from moldau_broker.testing.sim.network import Broken

if TYPE_CHECKING:
    from moldau_broker.testing.sim.quorum_cluster import QuorumCluster


class Proposer:
    """One client.

    Attributes:
        acked: values it was told are safe.
        busy: a value is under way.
        finishing: nothing new is begun.
    """

    def __init__(self, cluster: QuorumCluster, host_id: int) -> None:
        self._cluster = cluster
        self._kernel = cluster.kernel
        self._rng = cluster.kernel.stream(f"client {host_id}")
        self.host = cluster.network.host(host_id)
        self.host.handler = no_requests
        self.acked: list[bytes] = []
        self.busy = False
        self.finishing = False
        self._count = 0
        self._target = 1
        self._next()

    def _next(self) -> None:
        self.busy = not self.finishing
        if self.busy:
            self._count += 1
            self._send(b"%d/%d" % (self.host.id, self._count))

    def _send(self, value: bytes) -> None:
        self._cluster.network.call(
            self.host, self._target, ("propose", value), lambda answer: self._answered(value, answer)
        )

    def _answered(self, value: bytes, answer: Any) -> None:
        if isinstance(answer, Broken) or answer[0] != "ok":
            hint = -1 if isinstance(answer, Broken) else answer[1]
            self._target = hint if hint > 0 else self._rng.choice(self._cluster.node_ids())
            self._kernel.after(30 + self._rng.randrange(60), self._send, value)
            return
        self.acked.append(value)
        self._cluster.acked += 1
        self._kernel.after(self._rng.randrange(300), self._next)
