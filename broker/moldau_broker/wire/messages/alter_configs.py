"""AlterConfigs (key 33): replace all settings of a resource.

Source: Kafka 4.3 protocol guide; v2 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Boolean, Int8, Int16, Int32, String, Struct, message, struct


@struct
class AlterableConfig(Struct):
    """One setting."""

    name: String = ""
    value: String | None = ""


@struct
class AlterConfigsResource(Struct):
    """One resource."""

    resource_type: Int8 = 0
    resource_name: String = ""
    configs: Array[AlterableConfig] = ()


@message(key=33, versions=(0, 2), flexible=2)
class AlterConfigsRequest(Struct):
    """The resources and all their settings."""

    resources: Array[AlterConfigsResource] = ()
    validate_only: Boolean = False


@struct
class AlterConfigsResourceResponse(Struct):
    """Whether one resource was changed."""

    error_code: Int16 = 0
    error_message: String | None = ""
    resource_type: Int8 = 0
    resource_name: String = ""


@message(key=33, versions=(0, 2), flexible=2)
class AlterConfigsResponse(Struct):
    """What was changed."""

    throttle_time_ms: Int32 = 0
    responses: Array[AlterConfigsResourceResponse] = ()
