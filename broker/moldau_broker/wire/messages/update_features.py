"""UpdateFeatures (key 57): change finalized feature levels.

Source: Kafka 4.3 protocol guide; v1 downgrade kinds and dry run, v2 one answer for all.
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
class FeatureUpdateKey(Struct):
    """One feature; the kind is 1 upgrade, 2 safe downgrade, 3 unsafe."""

    feature: String = ""
    max_version_level: Int16 = 0
    upgrade_type: Int8 = field(default=1, since=1)
    allow_downgrade: Boolean = field(default=False, until=0)


@message(key=57, versions=(0, 2), flexible=0)
class UpdateFeaturesRequest(Struct):
    """The levels wanted."""

    timeout_ms: Int32 = 60000
    feature_updates: Array[FeatureUpdateKey] = ()
    validate_only: Boolean = field(default=False, since=1)


@struct
class UpdatableFeatureResult(Struct):
    """Whether one feature was changed (to v1)."""

    feature: String = field(default="", until=1)
    error_code: Int16 = field(default=0, until=1)
    error_message: String | None = field(default="", until=1)


@message(key=57, versions=(0, 2), flexible=0)
class UpdateFeaturesResponse(Struct):
    """What was changed."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""
    results: Array[UpdatableFeatureResult] = field(default=(), until=1)
