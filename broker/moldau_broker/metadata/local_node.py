"""What this node is to the others, and how it takes part in the quorum, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from moldau_broker.metadata.image import Endpoint
from moldau_broker.raft.ports import NoPeers, Transport
from moldau_broker.raft.quorum import VoterEndpoint
from moldau_broker.raft.timing import RaftTiming


class LocalNode(NamedTuple):
    """What this node tells the cluster of itself.

    Attributes:
        endpoints: advertised broker listeners by name, the controller's not among them.
        controller_endpoints: where the quorum reaches it; empty for a node without the role.
        rack: failure domain, None if it has no name.
        is_broker: whether it has the role broker, and registers.
    """

    endpoints: Mapping[str, Endpoint]
    controller_endpoints: tuple[VoterEndpoint, ...]
    rack: str | None = None
    is_broker: bool = True


class QuorumOptions(NamedTuple):
    """How this node takes part in the quorum.

    Attributes:
        transport: to the other nodes.
        timing: how patient.
        servers: (host, port) of controllers that know the leader.
        auto_join: whether it becomes a voter by itself.
        founds: whether it makes itself the first voter where its folder knows no quorum; else it looks for one.
    """

    transport: Transport = NoPeers()
    timing: RaftTiming = RaftTiming()
    servers: tuple[tuple[str, int], ...] = ()
    auto_join: bool = False
    founds: bool = True
