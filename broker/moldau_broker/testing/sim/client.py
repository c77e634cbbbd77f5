"""What every simulated client is: a host that serves nobody and guesses whom to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from moldau_broker.base.ids import Uuid
from moldau_broker.testing.sim.network import Broken

if TYPE_CHECKING:
    from moldau_broker.testing.sim.quorum_cluster import QuorumCluster

Key: TypeAlias = tuple[str, int]
"""Topic and partition."""


class Client:
    """A host that asks brokers where leaders are, and believes it until it is told otherwise.

    Attributes:
        topic_ids: ids of the topics that it speaks of by id; of all others it speaks by name.
    """

    def __init__(self, cluster: QuorumCluster, host_id: int) -> None:
        self.cluster = cluster
        self.kernel = cluster.kernel
        self.rng = cluster.kernel.stream(f"client {host_id}")
        self.host = cluster.network.host(host_id)
        self.host.handler = no_requests
        self.leaders: dict[Key, tuple[int, int]] = {}
        self.topic_ids: dict[str, Uuid] = {}

    def leader(self, key: Key) -> int:
        """Where to send what is for the leader; a guess at first."""
        found = self.leaders.get(key)
        return found[1] if found is not None else self.rng.choice(self.cluster.node_ids())

    def leader_epoch(self, key: Key) -> int:
        """The newest leader epoch it has heard of, -1 before any; older leaders are not believed (KIP-320)."""
        found = self.leaders.get(key)
        return found[0] if found is not None else -1

    def look_up(self, key: Key) -> None:
        """Ask somebody who leads now."""
        node_id = self.rng.choice(self.cluster.node_ids())
        topic_id = self.topic_ids.get(key[0])

        def answered(answer: Any) -> None:
            if isinstance(answer, Broken) or answer is None or topic_id != self.topic_ids.get(key[0]):
                return
            epoch, leader = answer
            if leader > 0 and epoch >= self.leader_epoch(key):
                self.leaders[key] = (epoch, leader)

        self.cluster.network.call(self.host, node_id, ("leader", *key, topic_id), answered)


def no_requests(sender: int, request: Any, answer: Any) -> None:
    """Clients serve nobody."""
