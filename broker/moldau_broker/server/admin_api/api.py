"""The admin API of one broker: every route, and how a request becomes an answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_PEER_TIMEOUT_MS
from moldau_broker.server.admin_api import (
    cluster,
    drain,
    groups,
    load,
    may_stop,
    out_of_sync,
    positions,
    replicas,
    reset,
)
from moldau_broker.server.admin_api.answers import Answer, Refused, answered, refused
from moldau_broker.server.admin_api.controller import ask_controller
from moldau_broker.server.admin_api.fields import Query
from moldau_broker.server.admin_api.node import AdminNode
from moldau_broker.server.admin_api.peers import Peers
from moldau_broker.server.admin_api.positions import LocalPositions
from moldau_broker.server.admin_api.routing import Call, Route, find_route

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker
    from moldau_broker.server.load_sampler import LoadSampler

logger = logging.getLogger(__name__)

ROUTES: Final = (
    Route("GET", "/admin/v1/cluster", cluster.respond),
    Route("GET", "/admin/v1/load", load.respond),
    Route("GET", "/admin/v1/replicas", replicas.respond),
    Route("GET", "/admin/v1/replicas/out-of-sync", out_of_sync.respond),
    Route("GET", "/admin/v1/brokers/{brokerId}/may-stop", may_stop.respond),
    Route("POST", "/admin/v1/brokers/{brokerId}/drain", drain.respond_begin),
    Route("GET", "/admin/v1/brokers/{brokerId}/drain", drain.respond_progress),
    Route("DELETE", "/admin/v1/brokers/{brokerId}/drain", drain.respond_cancel),
    Route("GET", "/admin/v1/groups", groups.respond_all),
    Route("GET", "/admin/v1/groups/{groupId}", groups.respond_one),
    Route("POST", "/admin/v1/groups/{groupId}/offsets/reset", reset.respond),
    Route("POST", "/admin/v1/partitions/positions", positions.respond),
)


class AdminApi:
    """Answers requests; owned by the event loop.

    Attributes:
        node: what resources work with.
    """

    def __init__(self, broker: Broker, loads: LoadSampler, patience_ms: int = ADMIN_PEER_TIMEOUT_MS) -> None:
        """`patience_ms`: how long to wait for other brokers, and for what has to be stored."""
        peers = Peers(lambda: broker.metadata.image, patience_ms)
        positions_here = LocalPositions(broker.replicas)
        self.node = AdminNode(
            broker, loads, peers, positions_here, partial(ask_controller, broker), patience_ms
        )

    async def answer(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
        *,
        forwarded: bool = False,
    ) -> Answer:
        """The answer to one request; `path` is as it was sent, with its percent signs and without its query."""
        try:
            route, names = find_route(ROUTES, method, path)
            call = Call(method, path, names, Query(query), body, content_type, forwarded)
            value = await route.respond(self.node, call)
        except Refused as refusal:
            return refused(refusal)
        except Exception as error:
            logger.exception("admin_api.failed", extra={"method": method, "path": path[:200]})
            return refused(Refused(ErrorCode.UNKNOWN_SERVER_ERROR, type(error).__name__))
        return value if isinstance(value, Answer) else answered(value)

    async def close(self) -> None:
        """Close the connections to other brokers."""
        await self.node.peers.close()
