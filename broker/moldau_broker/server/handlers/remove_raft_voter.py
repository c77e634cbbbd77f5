"""RemoveRaftVoter: served 0-0.

Behaviour: a voter becomes an observer; the leader itself may be named and resigns then (KIP-853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.remove_raft_voter import RemoveRaftVoterRequest, RemoveRaftVoterResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: RemoveRaftVoterRequest
) -> RemoveRaftVoterResponse:
    """Have the quorum decide."""
    answer = await ask_controller(broker, context, ApiKey.REMOVE_RAFT_VOTER, request)
    return cast("RemoveRaftVoterResponse", answer)


HANDLER = Handler(api=ApiKey.REMOVE_RAFT_VOTER, versions=(0, 0), handle=handle, listeners=ALL_LISTENERS)
