"""DescribeConfigs: served 1-4.

Behaviour: every setting of a topic, of this broker, of the settings all brokers share (empty name), of a group, or
every logger's level; each with its source and, if asked, all places it could come from. No keys (or null) is all of
them; unknown keys are left out, as Kafka does. A setting that is known but not acted on is read-only and its
documentation says so. Only this broker knows its static settings, so another broker's id is INVALID_REQUEST.
Version notes: v3 adds types and documentation (KIP-569).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from moldau_broker.base.config_types import SettingType, clip
from moldau_broker.base.config_view import (
    BrokerLayers,
    ConfigEntry,
    ConfigSource,
    describe_broker,
    describe_broker_default,
    describe_group,
    describe_topic,
)
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import DESCRIBED_SETTINGS_MAX
from moldau_broker.metadata.image import ResourceType
from moldau_broker.metadata.topic_names import name_problem
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

Described = list[DescribeConfigsResourceResult]

_EVERYTHING: Final = None


class Refused(Exception):
    """A resource that cannot be described; becomes its part of the answer."""

    def __init__(self, error: ErrorCode, message: str = "") -> None:
        super().__init__(message)
        self.error = error


def handle(broker: Broker, _: RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse:
    """One result for each resource asked for, in that order."""
    describer = _Describer(broker, request)
    return DescribeConfigsResponse(results=[describer.result(resource) for resource in request.resources])


class _Describer:
    """One request's work; topics without settings of their own share their entries."""

    def __init__(self, broker: Broker, request: DescribeConfigsRequest) -> None:
        self._broker = broker
        self._image = image = broker.metadata.image
        self._synonyms = request.include_synonyms
        self._documentation = request.include_documentation
        self._layers = BrokerLayers(
            dynamic=image.config(ResourceType.BROKER, str(broker.node_id)),
            dynamic_default=image.config(ResourceType.BROKER, ""),
            static={**broker.settings.ignored, **broker.settings.static},
        )
        self._topic_defaults: dict[str, DescribeConfigsResourceResult] = {}
        self._broker_settings: Described = []
        self._room = DESCRIBED_SETTINGS_MAX

    def result(self, resource: DescribeConfigsResource) -> DescribeConfigsResult:
        """What one resource has, or why it cannot be said."""
        error, message, configs = ErrorCode.NONE, "", Described()
        try:
            keys = frozenset(resource.configuration_keys or ()) or _EVERYTHING
            configs = self._configs(resource, keys)
            self._room -= len(configs)
        except Refused as refused:
            error, message = refused.error, str(refused)
        return DescribeConfigsResult(
            error_code=error,
            error_message=message,
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
            configs=configs,
        )

    def _configs(self, resource: DescribeConfigsResource, keys: Collection[str] | None) -> Described:
        if self._room <= 0:
            raise Refused(
                ErrorCode.POLICY_VIOLATION, "too many settings for one answer; ask for fewer resources"
            )
        name = resource.resource_name
        match resource.resource_type:
            case ResourceType.TOPIC:
                return self._topic(name, keys)
            case ResourceType.BROKER:
                if not name:
                    return _chosen(self._wired(describe_broker_default(self._layers)), keys)
                self._refuse_other_broker(name)
                self._broker_settings = self._broker_settings or self._wired(describe_broker(self._layers))
                return _chosen(self._broker_settings, keys)
            case ResourceType.BROKER_LOGGER:
                if not name:
                    raise Refused(ErrorCode.INVALID_REQUEST, "a broker's loggers are asked for by its id")
                self._refuse_other_broker(name)
                return _loggers(keys)
            case ResourceType.GROUP:
                if not name:
                    raise Refused(ErrorCode.INVALID_REQUEST, "a group is asked for by its name")
                own = self._image.config(ResourceType.GROUP, name)
                return _chosen(self._wired(describe_group(own, self._layers)), keys)
            case ResourceType.CLIENT_METRICS:
                raise Refused(ErrorCode.INVALID_REQUEST, "client metrics subscriptions are not kept here")
            case unknown:
                raise Refused(ErrorCode.INVALID_REQUEST, f"there is no resource of type {unknown}")

    def _topic(self, name: str, keys: Collection[str] | None) -> Described:
        problem = name_problem(name)
        if problem is not None:
            raise Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        if name not in self._image.topics:
            raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if not self._topic_defaults:
            self._topic_defaults = {
                entry.name: self._wire(entry) for entry in describe_topic({}, self._layers)
            }
        overrides = self._image.config(ResourceType.TOPIC, name)
        found = self._topic_defaults
        if overrides:
            own = describe_topic(overrides, self._layers, overrides.keys())
            found = {**found, **{entry.name: self._wire(entry) for entry in own}}
        return [found[key] for key in sorted(found) if keys is None or key in keys]

    def _refuse_other_broker(self, name: str) -> None:
        if not (name.isascii() and name.removeprefix("-").isdigit()):
            raise Refused(ErrorCode.INVALID_REQUEST, f"a broker's id is a whole number, not {clip(name)}")
        if int(name) != self._broker.node_id:
            raise Refused(
                ErrorCode.INVALID_REQUEST,
                f"this is broker {self._broker.node_id}; ask broker {clip(name)} itself",
            )

    def _wired(self, entries: Iterable[ConfigEntry]) -> Described:
        return [self._wire(entry) for entry in entries]

    def _wire(self, entry: ConfigEntry) -> DescribeConfigsResourceResult:
        return DescribeConfigsResourceResult(
            name=entry.name,
            value=None if entry.sensitive else entry.value,
            read_only=entry.read_only,
            config_source=entry.source,
            is_sensitive=entry.sensitive,
            synonyms=[
                DescribeConfigsSynonym(name=place.name, value=place.value, source=place.source)
                for place in (entry.synonyms if self._synonyms else ())
            ],
            config_type=entry.type,
            documentation=entry.doc if self._documentation else None,
        )


def _chosen(entries: Described, keys: Collection[str] | None) -> Described:
    return entries if keys is None else [entry for entry in entries if entry.name in keys]


def _loggers(keys: Collection[str] | None) -> Described:
    from moldau_broker.telemetry.logs import logger_levels

    levels = [
        DescribeConfigsResourceResult(
            name=name,
            value=level,
            config_source=ConfigSource.LOGGER,
            config_type=SettingType.UNKNOWN,
            documentation=None,
        )
        for name, level in logger_levels().items()
    ]
    return _chosen(levels, keys)


HANDLER = Handler(api=ApiKey.DESCRIBE_CONFIGS, versions=(1, 4), handle=handle)
