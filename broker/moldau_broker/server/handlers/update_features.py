"""UpdateFeatures: served 0-2.

Behaviour: finalized levels move up where every broker and controller supports it; downgrades that would lose
metadata are refused. Version notes: v1 upgrade types and validate-only (KIP-584, KIP-778), v2 all or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.update_features import UpdateFeaturesRequest, UpdateFeaturesResponse

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker


async def handle(
    broker: Broker, context: RequestContext, request: UpdateFeaturesRequest
) -> UpdateFeaturesResponse:
    """Have the controller decide."""
    answer = await ask_controller(broker, context, ApiKey.UPDATE_FEATURES, request)
    return cast("UpdateFeaturesResponse", answer)


HANDLER = Handler(api=ApiKey.UPDATE_FEATURES, versions=(0, 2), handle=handle, listeners=ALL_LISTENERS)
