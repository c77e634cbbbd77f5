"""ListConfigResources: served 0-1.

Behaviour: the names one may ask DescribeConfigs for: every topic, every broker (and its loggers), and the groups that
have settings of their own. Version notes: v0 only knew client metrics subscriptions (KIP-714), of which there are
none; v1 knows all types (KIP-1142), and a type it does not know is UNSUPPORTED_VERSION.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import MetadataImage, ResourceType
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_TYPES: Final = (
    ResourceType.GROUP,
    ResourceType.CLIENT_METRICS,
    ResourceType.BROKER_LOGGER,
    ResourceType.BROKER,
    ResourceType.TOPIC,
)
"""In the order in which a 4.3 broker lists them."""

_ALL_TYPES_SINCE: Final = 1


def handle(
    broker: Broker, context: RequestContext, request: ListConfigResourcesRequest
) -> ListConfigResourcesResponse:
    """The resources of the types asked for; of every type if none is."""
    if context.api_version < _ALL_TYPES_SINCE:
        return ListConfigResourcesResponse()
    wanted = set(request.resource_types or _TYPES)
    if not wanted <= set(_TYPES):
        return ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
    return ListConfigResourcesResponse(
        config_resources=[
            ConfigResource(resource_name=name, resource_type=kind)
            for kind in _TYPES
            if kind in wanted
            for name in _names(broker.metadata.image, kind)
        ]
    )


def _names(image: MetadataImage, kind: ResourceType) -> list[str]:
    match kind:
        case ResourceType.TOPIC:
            return sorted(image.topics)
        case ResourceType.BROKER | ResourceType.BROKER_LOGGER:
            return [str(broker) for broker in sorted(image.brokers)]
        case _:
            return sorted(name for of_kind, name in image.configs if of_kind == kind)


HANDLER = Handler(api=ApiKey.LIST_CONFIG_RESOURCES, versions=(0, 1), handle=handle)
