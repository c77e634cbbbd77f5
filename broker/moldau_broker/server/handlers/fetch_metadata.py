"""Fetch on the controller listener: served 4-18, of `__cluster_metadata` only.

Behaviour: the log of the quorum for its voters and observers (KIP-595): diverging epochs, snapshots, who leads. Version
notes: v17 the replica's directory (KIP-853), v18 its high watermark, which lets the leader answer at once (KIP-1166).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch import FetchRequest, FetchResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(broker: Broker, context: RequestContext, request: FetchRequest) -> FetchResponse:
    """Have the quorum answer."""
    answer = await broker.controller.local(ApiKey.FETCH, request, context.api_version)
    return cast("FetchResponse", answer)


HANDLER = Handler(api=ApiKey.FETCH, versions=(4, 18), handle=handle, listeners=CONTROLLER_ONLY)
