"""FetchSnapshot: served 0-1 on the controller listener.

Behaviour: pieces of a snapshot by position (KIP-630). Version notes: v1 directory ids (KIP-853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.fetch_snapshot import FetchSnapshotRequest, FetchSnapshotResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: FetchSnapshotRequest
) -> FetchSnapshotResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.FETCH_SNAPSHOT, request)
    return cast("FetchSnapshotResponse", answer)


HANDLER = Handler(api=ApiKey.FETCH_SNAPSHOT, versions=(0, 1), handle=handle, listeners=CONTROLLER_ONLY)
