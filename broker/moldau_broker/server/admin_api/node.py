"""What the resources of the admin API work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.peers import Peers
    from moldau_broker.server.admin_api.positions import LocalPositions
    from moldau_broker.server.broker import Broker
    from moldau_broker.server.load_sampler import LoadSampler


@dataclass(frozen=True, slots=True)
class AdminNode:
    """This broker, the others, and what is remembered between requests."""

    broker: Broker
    loads: LoadSampler
    peers: Peers
    positions: LocalPositions
