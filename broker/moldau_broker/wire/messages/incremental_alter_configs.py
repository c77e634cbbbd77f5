"""IncrementalAlterConfigs (key 44): set, delete, append to and subtract from settings.

Source: Kafka 4.3 protocol guide; v1 flexible.
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Boolean, Int8, Int16, Int32, String, Struct, message, struct


@struct
class AlterableConfig(Struct):
    """One change; the operation is 0 set, 1 delete, 2 append, 3 subtract."""

    name: String = ""
    config_operation: Int8 = 0
    value: String | None = ""


@struct
class AlterConfigsResource(Struct):
    """One resource."""

    resource_type: Int8 = 0
    resource_name: String = ""
    configs: Array[AlterableConfig] = ()


@message(key=44, versions=(0, 1), flexible=1)
class IncrementalAlterConfigsRequest(Struct):
    """The resources and the changes."""

    resources: Array[AlterConfigsResource] = ()
    validate_only: Boolean = False


@struct
class AlterConfigsResourceResponse(Struct):
    """Whether one resource was changed."""

    error_code: Int16 = 0
    error_message: String | None = ""
    resource_type: Int8 = 0
    resource_name: String = ""


@message(key=44, versions=(0, 1), flexible=1)
class IncrementalAlterConfigsResponse(Struct):
    """What was changed."""

    throttle_time_ms: Int32 = 0
    responses: Array[AlterConfigsResourceResponse] = ()
