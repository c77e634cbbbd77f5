"""AddRaftVoter: served 0-1.

Behaviour: an observer that has caught up becomes a voter (KIP-853). Version notes: v1 may answer before the commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.add_raft_voter import AddRaftVoterRequest, AddRaftVoterResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: AddRaftVoterRequest
) -> AddRaftVoterResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.ADD_RAFT_VOTER, request)
    return cast("AddRaftVoterResponse", answer)


HANDLER = Handler(api=ApiKey.ADD_RAFT_VOTER, versions=(0, 1), handle=handle, listeners=ALL_LISTENERS)
