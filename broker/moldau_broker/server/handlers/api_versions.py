"""ApiVersions: served 0-4, on every listener, before anything else.

Behaviour: the ranges a Kafka 4.3 broker advertises, for the APIs served on this listener; finalized features from
the metadata image. An unknown version is answered in v0 with error 35 and our own range (KIP-511, done by the
dispatcher through `unsupported_version`). Version notes: v3 checks the client's software name (KIP-511) and carries
features (KIP-584); v4 allows a feature's minimum to be 0 (KAFKA-17011), which v3 and older clients choke on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_SOFTWARE_SINCE = 3
_MIN_LEVEL_ZERO_SINCE = 4


def handle(broker: Broker, context: RequestContext, request: ApiVersionsRequest) -> ApiVersionsResponse:
    """Tell what this listener serves."""
    if context.api_version >= _SOFTWARE_SINCE:
        name, version = request.client_software_name, request.client_software_version
        if not (_SOFTWARE.fullmatch(name) and _SOFTWARE.fullmatch(version)):
            return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
        context.connection.client_software = (name, version)
    image = broker.metadata.image
    lowest = 0 if context.api_version >= _MIN_LEVEL_ZERO_SINCE else 1
    return ApiVersionsResponse(
        api_keys=[_range(handler) for handler in broker.served[context.listener_kind]],
        supported_features=[
            SupportedFeatureKey(name=name, min_version=low, max_version=high)
            for name, (low, high) in sorted(broker.supported_features.items())
            if low >= lowest
        ],
        finalized_features_epoch=image.offset,
        finalized_features=[
            FinalizedFeatureKey(name=name, max_version_level=level, min_version_level=level)
            for name, level in sorted(image.features.items())
            if level > 0
        ],
    )


def _range(handler: Handler) -> ApiVersion:
    low, high = handler.advertised or handler.versions
    return ApiVersion(api_key=handler.api, min_version=low, max_version=high)


def unsupported_version() -> ApiVersionsResponse:
    """The v0 answer to an ApiVersions request of a version we do not know."""
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[_range(HANDLER)])


HANDLER = Handler(api=ApiKey.API_VERSIONS, versions=(0, 4), handle=handle, listeners=ALL_LISTENERS)
