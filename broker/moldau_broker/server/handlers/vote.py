"""Vote: served 0-2 on the controller listener.

Behaviour: KRaft elections (KIP-595). Version notes: v1 directory ids (KIP-853), v2 pre-vote (KIP-996).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.vote import VoteRequest, VoteResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(broker: Broker, context: RequestContext, request: VoteRequest) -> VoteResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.VOTE, request)
    return cast("VoteResponse", answer)


HANDLER = Handler(api=ApiKey.VOTE, versions=(0, 2), handle=handle, listeners=CONTROLLER_ONLY)
