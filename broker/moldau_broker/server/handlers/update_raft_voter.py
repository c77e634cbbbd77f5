"""UpdateRaftVoter: served 0-0 on the controller listener.

Behaviour: a voter tells where it listens and which levels it supports (KIP-853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import CONTROLLER_ONLY, ask_controller
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.update_raft_voter import UpdateRaftVoterRequest, UpdateRaftVoterResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: UpdateRaftVoterRequest
) -> UpdateRaftVoterResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.UPDATE_RAFT_VOTER, request)
    return cast("UpdateRaftVoterResponse", answer)


HANDLER = Handler(api=ApiKey.UPDATE_RAFT_VOTER, versions=(0, 0), handle=handle, listeners=CONTROLLER_ONLY)
