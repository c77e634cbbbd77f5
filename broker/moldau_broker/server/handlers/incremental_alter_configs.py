"""IncrementalAlterConfigs: served 0-1.

Behaviour: set, delete, append to and subtract from settings; each resource whole or not at all (KIP-339). Topics and
brokers go through the controller, so the change is on disk and applied here when the answer leaves. Loggers belong to
this process alone: their levels change at once and last until it ends (KIP-412). Version notes: v1 is flexible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from moldau_broker.base.config_types import clip
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import ResourceType
from moldau_broker.server.handlers.controller import ask_controller
from moldau_broker.server.handlers.spec import ALL_LISTENERS, Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_SET, _DELETE = 0, 1

Levels = dict[str, str | None]


async def handle(
    broker: Broker, context: RequestContext, request: IncrementalAlterConfigsRequest
) -> IncrementalAlterConfigsResponse:
    """One result for each resource, in that order."""
    written = await _write(broker, context, request)
    for_loggers = [one for one in request.resources if _is_logger(one)]
    responses = iter(written)
    return IncrementalAlterConfigsResponse(
        responses=[
            _alter_loggers(broker, resource, len(for_loggers), validate_only=request.validate_only)
            if _is_logger(resource)
            else next(responses)
            for resource in request.resources
        ]
    )


async def _write(
    broker: Broker, context: RequestContext, request: IncrementalAlterConfigsRequest
) -> Sequence[AlterConfigsResourceResponse]:
    """What the controller says to everything that is not a logger."""
    resources = [resource for resource in request.resources if not _is_logger(resource)]
    if not resources:
        return ()
    narrowed = IncrementalAlterConfigsRequest(resources=resources, validate_only=request.validate_only)
    answer = await ask_controller(broker, context, ApiKey.INCREMENTAL_ALTER_CONFIGS, narrowed)
    return cast("IncrementalAlterConfigsResponse", answer).responses


def _is_logger(resource: AlterConfigsResource) -> bool:
    return resource.resource_type == ResourceType.BROKER_LOGGER


def _alter_loggers(
    broker: Broker, resource: AlterConfigsResource, resources: int, *, validate_only: bool
) -> AlterConfigsResourceResponse:
    if resource.resource_name != str(broker.node_id):
        return _response(
            resource,
            ErrorCode.INVALID_REQUEST,
            f"this is broker {broker.node_id}; ask broker {clip(resource.resource_name)} for its own loggers",
        )
    if resources > 1:
        return _response(
            resource, ErrorCode.INVALID_REQUEST, "a broker's loggers may be named once in a request"
        )
    levels = _levels(resource.configs)
    if isinstance(levels, tuple):
        return _response(resource, *levels)
    if not validate_only:
        from moldau_broker.telemetry.logs import set_logger_level

        for name, level in levels.items():
            set_logger_level(name, level)
    return _response(resource, ErrorCode.NONE, None)


def _levels(changes: Sequence[AlterableConfig]) -> Levels | tuple[ErrorCode, str]:
    """The levels to set (None: follow the parent again), or why none is set."""
    from moldau_broker.telemetry.logs import KAFKA_LEVELS, ROOT_LOGGER, logger_levels

    known = logger_levels()
    levels: Levels = {}
    for change in changes:
        name = change.name
        if name in levels:
            return ErrorCode.INVALID_REQUEST, f"logger {clip(name)} is named twice"
        if name not in known:
            return ErrorCode.INVALID_CONFIG, f"there is no logger {clip(name)}"
        if change.config_operation == _DELETE:
            if name == ROOT_LOGGER:
                return ErrorCode.INVALID_REQUEST, "the root logger always has a level"
            levels[name] = None
        elif change.config_operation != _SET or change.value is None:
            return ErrorCode.INVALID_REQUEST, f"the level of logger {clip(name)} can be set or deleted"
        elif change.value not in KAFKA_LEVELS:
            return (
                ErrorCode.INVALID_CONFIG,
                f"{clip(change.value)} is not a level: choose one of {', '.join(KAFKA_LEVELS)}",
            )
        else:
            levels[name] = change.value
    return levels


def _response(
    resource: AlterConfigsResource, error: ErrorCode, message: str | None
) -> AlterConfigsResourceResponse:
    return AlterConfigsResourceResponse(
        error_code=error,
        error_message=message,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )


HANDLER = Handler(
    api=ApiKey.INCREMENTAL_ALTER_CONFIGS, versions=(0, 1), handle=handle, listeners=ALL_LISTENERS
)
