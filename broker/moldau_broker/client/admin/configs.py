"""Settings of topics and brokers: read with source and default, changed one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from moldau_broker.client.admin.outcomes import outcome
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_broker.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
)
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)


class ResourceType(IntEnum):
    """What can have settings (`org.apache.kafka.common.config.ConfigResource.Type`)."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


class Resource(NamedTuple):
    """Something with settings. A broker's name is its id; the empty name is the default of all brokers."""

    type: ResourceType
    name: str

    def __str__(self) -> str:
        return f"{self.type.name.lower().replace('_', ' ')} {self.name or '(default)'}"


def topic_resource(name: str) -> Resource:
    """The resource of a topic's settings."""
    return Resource(ResourceType.TOPIC, name)


ALL_BROKERS: Final = Resource(ResourceType.BROKER, "")
"""The resource of settings that all brokers share; describing it gives only those that are set."""


class ConfigSource(IntEnum):
    """Where a setting's value comes from (`DescribeConfigsResponse.ConfigSource`)."""

    UNKNOWN = 0
    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    DYNAMIC_BROKER_LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `value` is None when it is sensitive or has none."""

    name: str
    value: str | None
    source: ConfigSource
    read_only: bool
    sensitive: bool
    documentation: str | None

    @property
    def is_default(self) -> bool:
        """Whether nobody set it."""
        return self.source is ConfigSource.DEFAULT


async def describe_configs(
    cluster: Cluster, resources: Iterable[Resource], *, documentation: bool = False
) -> dict[Resource, dict[str, Setting] | ClientError]:
    """All settings of each resource, by name. A broker is asked for its own."""
    found: dict[Resource, dict[str, Setting] | ClientError] = {}
    for node, group in _by_node(resources).items():
        request = DescribeConfigsRequest(
            resources=[
                DescribeConfigsResource(resource_type=r.type, resource_name=r.name, configuration_keys=None)
                for r in group
            ],
            include_documentation=documentation,
        )
        answer = await cluster.ask_patiently(request, DescribeConfigsResponse, node=node)
        for result in answer.results:
            resource = Resource(ResourceType(result.resource_type), result.resource_name)
            failed = outcome(result.error_code, str(resource), result.error_message)
            found[resource] = failed or {config.name: _setting(config) for config in result.configs}
    return found


async def alter_configs(
    cluster: Cluster, changes: Mapping[Resource, Mapping[str, str | None]], *, validate_only: bool = False
) -> dict[Resource, ClientError | None]:
    """Set settings to values, or (None) back to their default; the others stay as they are."""
    found: dict[Resource, ClientError | None] = {}
    for node, group in _by_node(changes).items():
        request = IncrementalAlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=resource.type,
                    resource_name=resource.name,
                    configs=[_change(name, value) for name, value in changes[resource].items()],
                )
                for resource in group
            ],
            validate_only=validate_only,
        )
        answer = await cluster.ask_patiently(request, IncrementalAlterConfigsResponse, node=node)
        for result in answer.responses:
            resource = Resource(ResourceType(result.resource_type), result.resource_name)
            found[resource] = outcome(result.error_code, str(resource), result.error_message)
    return found


def _by_node(resources: Iterable[Resource]) -> dict[int | None, list[Resource]]:
    """Resources by the broker that must be asked; None is any."""
    grouped: dict[int | None, list[Resource]] = {}
    for resource in resources:
        own = resource.type in (ResourceType.BROKER, ResourceType.BROKER_LOGGER) and resource.name != ""
        grouped.setdefault(int(resource.name) if own else None, []).append(resource)
    return grouped


_SET, _DELETE = 0, 1


def _change(name: str, value: str | None) -> AlterableConfig:
    return AlterableConfig(name=name, config_operation=_DELETE if value is None else _SET, value=value)


def _setting(config: DescribeConfigsResourceResult) -> Setting:
    try:
        source = ConfigSource(config.config_source)
    except ValueError:
        source = ConfigSource.UNKNOWN
    return Setting(
        config.name, config.value, source, config.read_only, config.is_sensitive, config.documentation
    )
