"""What a refusal says of who leads instead (KIP-951): taken over, so that nobody has to be asked for metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.metadata import Node
from moldau_broker.client.partitions import TopicPartition

if TYPE_CHECKING:
    from moldau_broker.client.cluster import Cluster

_TELLING: Final = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)


class LeaderHint(Protocol):
    """`LeaderIdAndEpoch` of Produce and Fetch; -1 where nothing was told."""

    @property
    def leader_id(self) -> int:
        """The broker that leads."""
        ...

    @property
    def leader_epoch(self) -> int:
        """Since which epoch."""
        ...


class Endpoint(Protocol):
    """`NodeEndpoint` of Produce and Fetch."""

    @property
    def node_id(self) -> int:
        """Whose address it is."""
        ...

    @property
    def host(self) -> str:
        """Name or address."""
        ...

    @property
    def port(self) -> int:
        """TCP port."""
        ...

    @property
    def rack(self) -> str | None:
        """Where it stands."""
        ...


def learn_leader(
    cluster: Cluster,
    partition: TopicPartition,
    error: ErrorCode,
    hint: LeaderHint,
    endpoints: Iterable[Endpoint],
) -> bool:
    """Take over the leader that came with `error`; True if it is newer than what the cluster was known by.

    A caller may then ask that leader at once. Only a newer epoch counts, so two brokers that send a client to each
    other cannot keep it busy.
    """
    if error not in _TELLING or hint.leader_id < 0:
        return False
    nodes = [Node(at.node_id, at.host, at.port, at.rack) for at in endpoints]
    return cluster.learn_leader(partition, hint.leader_id, hint.leader_epoch, nodes)
