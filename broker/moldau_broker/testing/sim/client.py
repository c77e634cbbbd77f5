"""What every simulated client is: a host that serves nobody and guesses whom to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from moldau_broker.testing.sim.network import Broken

if TYPE_CHECKING:
    from moldau_broker.testing.sim.quorum_cluster import QuorumCluster

Key: TypeAlias = tuple[str, int]
"""Topic and partition."""


class Client:
    """A host that asks brokers where leaders are, and believes it until it is told otherwise."""

    def __init__(self, cluster: QuorumCluster, host_id: int) -> None:
        self.cluster = cluster
        self.kernel = cluster.kernel
        self.rng = cluster.kernel.stream(f"client {host_id}")
        self.host = cluster.network.host(host_id)
        self.host.handler = no_requests
        self.leaders: dict[Key, int] = {}

    def leader(self, key: Key) -> int:
        """Where to send what is for the leader; a guess at first."""
        found = self.leaders.get(key)
        return found if found is not None else self.rng.choice(self.cluster.node_ids())

    def look_up(self, key: Key) -> None:
        """Ask somebody who leads now."""
        node_id = self.rng.choice(self.cluster.node_ids())

        def answered(answer: Any) -> None:
            if not isinstance(answer, Broken) and answer > 0:
                self.leaders[key] = answer

        self.cluster.network.call(self.host, node_id, ("leader", *key), answered)


def no_requests(sender: int, request: Any, answer: Any) -> None:
    """Clients serve nobody."""
