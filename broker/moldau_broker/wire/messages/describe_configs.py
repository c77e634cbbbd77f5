"""DescribeConfigs (key 32): settings of topics, brokers and groups, with default and source.

Source: Kafka 4.3 protocol guide; v4 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    Array,
    Boolean,
    Int8,
    Int16,
    Int32,
    String,
    Struct,
    field,
    message,
    struct,
)


@struct
class DescribeConfigsResource(Struct):
    """One resource; null keys is all of them."""

    resource_type: Int8 = 0
    resource_name: String = ""
    configuration_keys: Array[String] | None = ()


@message(key=32, versions=(1, 4), flexible=4)
class DescribeConfigsRequest(Struct):
    """The resources asked for."""

    resources: Array[DescribeConfigsResource] = ()
    include_synonyms: Boolean = False
    include_documentation: Boolean = field(default=False, since=3)


@struct
class DescribeConfigsSynonym(Struct):
    """Where a setting's value could come from, nearest first."""

    name: String = ""
    value: String | None = ""
    source: Int8 = 0


@struct
class DescribeConfigsResourceResult(Struct):
    """One setting."""

    name: String = ""
    value: String | None = ""
    read_only: Boolean = False
    config_source: Int8 = -1
    is_sensitive: Boolean = False
    synonyms: Array[DescribeConfigsSynonym] = ()
    config_type: Int8 = field(default=0, since=3)
    documentation: String | None = field(default="", since=3)


@struct
class DescribeConfigsResult(Struct):
    """The settings of one resource."""

    error_code: Int16 = 0
    error_message: String | None = ""
    resource_type: Int8 = 0
    resource_name: String = ""
    configs: Array[DescribeConfigsResourceResult] = ()


@message(key=32, versions=(1, 4), flexible=4)
class DescribeConfigsResponse(Struct):
    """The settings."""

    throttle_time_ms: Int32 = 0
    results: Array[DescribeConfigsResult] = ()
