"""ApiVersions (key 18): which requests this broker answers, and the finalized features.

Source: Kafka 4.3 protocol guide; v3 flexible, but its *response header* never is (KIP-511); an unknown
version is answered in v0.
"""

from __future__ import annotations

from moldau_broker.wire.schema import (
    Array,
    Boolean,
    Int16,
    Int32,
    Int64,
    String,
    Struct,
    field,
    message,
    struct,
)


@message(key=18, versions=(0, 4), flexible=3)
class ApiVersionsRequest(Struct):
    """The client's name and version."""

    client_software_name: String = field(default="", since=3)
    client_software_version: String = field(default="", since=3)


@struct
class ApiVersion(Struct):
    """The versions of one API."""

    api_key: Int16 = 0
    min_version: Int16 = 0
    max_version: Int16 = 0


@struct
class SupportedFeatureKey(Struct):
    """The levels of a feature this broker can run."""

    name: String = ""
    min_version: Int16 = 0
    max_version: Int16 = 0


@struct
class FinalizedFeatureKey(Struct):
    """The level of a feature the cluster runs."""

    name: String = ""
    max_version_level: Int16 = 0
    min_version_level: Int16 = 0


@message(key=18, versions=(0, 4), flexible=3)
class ApiVersionsResponse(Struct):
    """The version ranges and features."""

    error_code: Int16 = 0
    api_keys: Array[ApiVersion] = ()
    throttle_time_ms: Int32 = field(default=0, since=1)
    supported_features: Array[SupportedFeatureKey] = field(default=(), since=3, tag=0)
    finalized_features_epoch: Int64 = field(default=-1, since=3, tag=1)
    finalized_features: Array[FinalizedFeatureKey] = field(default=(), since=3, tag=2)
    zk_migration_ready: Boolean = field(default=False, since=3, tag=3)
