"""What the resources of the admin API work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moldau_broker.base.limits import ADMIN_PEER_TIMEOUT_MS
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.server.admin_api.peers import Peers
    from moldau_broker.server.admin_api.positions import LocalPositions
    from moldau_broker.server.broker import Broker
    from moldau_broker.server.load_sampler import LoadSampler


@dataclass(frozen=True, slots=True)
class AdminNode:
    """This broker, the others, and what is remembered between requests.

    Attributes:
        ask_controller: sends a request to the active controller, here or elsewhere.
        patience_ms: how long to wait for other brokers, and for what has to be stored.
    """

    broker: Broker
    loads: LoadSampler
    peers: Peers
    positions: LocalPositions
    ask_controller: Callable[[ApiKey, Struct], Awaitable[Struct]]
    patience_ms: int = ADMIN_PEER_TIMEOUT_MS
