"""ListConfigResources (key 74): the resources that have settings of their own.

Source: Kafka 4.3 protocol guide; v0 knew client metrics only (KIP-714), v1 all types (KIP-1142).
"""

from __future__ import annotations

from moldau_broker.wire.schema import Array, Int8, Int16, Int32, String, Struct, field, message, struct


@message(key=74, versions=(0, 1), flexible=0)
class ListConfigResourcesRequest(Struct):
    """The resource types wanted; empty is all."""

    resource_types: Array[Int8] = field(default=(), since=1)


@struct
class ConfigResource(Struct):
    """One resource."""

    resource_name: String = ""
    resource_type: Int8 = field(default=16, since=1)


@message(key=74, versions=(0, 1), flexible=0)
class ListConfigResourcesResponse(Struct):
    """The resources."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    config_resources: Array[ConfigResource] = ()
