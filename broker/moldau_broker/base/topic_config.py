"""A topic's resolved settings as a value, and the checks of its overrides. Pure.

The table itself is `topic_settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from moldau_broker.base.config_types import LONG_MAX, Setting, SettingError, clip
from moldau_broker.base.topic_settings import TOPIC_SETTINGS

__all__ = [
    "TOPIC_SETTINGS",
    "TopicConfig",
    "broker_default",
    "resolve_topic_config",
    "synonym_text",
    "validate_topic_setting",
    "validate_topic_settings",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """A topic's settings as values, one attribute per setting that is acted on; defaults are Kafka's.

    A setting that is only listed has no attribute, so that no code can read it and seem to obey it.
    Times are milliseconds, sizes bytes.
    """

    cleanup_policy: frozenset[str] = frozenset({"delete"})
    compression_type: str = "producer"
    delete_retention_ms: int = 86_400_000
    file_delete_delay_ms: int = 60_000
    flush_messages: int = LONG_MAX
    flush_ms: int = LONG_MAX
    follower_replication_throttled_replicas: frozenset[str] = frozenset()
    index_interval_bytes: int = 4096
    leader_replication_throttled_replicas: frozenset[str] = frozenset()
    max_compaction_lag_ms: int = LONG_MAX
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = LONG_MAX
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    min_insync_replicas: int = 1
    retention_bytes: int = -1
    retention_ms: int = 604_800_000
    segment_bytes: int = 1_073_741_824
    segment_index_bytes: int = 10_485_760
    segment_jitter_ms: int = 0
    segment_ms: int = 604_800_000
    unclean_leader_election_enable: bool = False
    record_validation: str = "header"

    @property
    def is_compacted(self) -> bool:
        """Whether compaction is on (deletion may be on too)."""
        return "compact" in self.cleanup_policy

    @property
    def is_deleted(self) -> bool:
        """Whether old segments are deleted by time and size."""
        return "delete" in self.cleanup_policy

    @property
    def is_log_append_time(self) -> bool:
        """Whether the broker's clock stamps records."""
        return self.message_timestamp_type == "LogAppendTime"


_ATTRIBUTES: Final = {field.name.replace("_", "."): field.name for field in fields(TopicConfig)}
_SYNONYM_MS: Final = {"hours": 3_600_000, "minutes": 60_000}
"""A broker synonym's last word is its unit; topic settings are in milliseconds."""

_DEFAULTS: Final = TopicConfig()


def validate_topic_setting(name: str, value: str) -> str | None:
    """Why topic setting `name` cannot be set to `value`, in words; None when it can.

    A setting that is not acted on may be set to its default: tools do that, and it stays true.
    """
    setting = TOPIC_SETTINGS.get(name)
    if setting is None:
        return f"{clip(name)} is not a topic setting"
    try:
        text = setting.normalize(value)
    except SettingError as error:
        return str(error)
    if not setting.acted_on and text != setting.default:
        return f"{name} is known to Kafka but not acted on here, so it cannot be changed from {setting.default!r}"
    return None


def validate_topic_settings(overrides: Mapping[str, str], broker: Mapping[str, str]) -> str | None:
    """Why a topic cannot have these overrides, each alone and all together; None when it can.

    `broker` holds the broker's explicit settings, whose defaults the overrides are combined with.
    """
    for name, value in overrides.items():
        problem = validate_topic_setting(name, value)
        if problem:
            return problem
    config = resolve_topic_config(overrides, broker)
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms:
        return (
            f"min.compaction.lag.ms={config.min_compaction_lag_ms} must not be above "
            f"max.compaction.lag.ms={config.max_compaction_lag_ms}"
        )
    return None


def broker_default(setting: Setting, broker: Mapping[str, str]) -> tuple[str, str] | None:
    """The broker setting that supplies `setting`'s default and the text it gives, in the topic's unit.

    None when no synonym is set in `broker` (explicit broker settings, by name).
    """
    for synonym in setting.synonyms:
        text = broker.get(synonym)
        if text is not None:
            return synonym, synonym_text(synonym, text)
    return None


def synonym_text(synonym: str, text: str) -> str:
    """A broker setting's text in the unit of the topic setting it stands for (hours, minutes -> ms).

    Any negative number of hours or minutes means "no limit", which is -1 in milliseconds.
    """
    factor = _SYNONYM_MS.get(synonym.rpartition(".")[2])
    if factor is None:
        return text
    count = int(text)
    return str(count * factor) if count >= 0 else "-1"


def resolve_topic_config(overrides: Mapping[str, str], broker: Mapping[str, str]) -> TopicConfig:
    """A topic's settings: its own overrides, else the broker's explicit settings, else Kafka's defaults.

    Overrides that are unknown or not acted on are skipped: a log must open whatever its metadata says,
    and the place to refuse a value is where it is set.

    Raises:
        SettingError: a value that its setting does not allow.
    """
    if not overrides and not broker:
        return _DEFAULTS
    values: dict[str, Any] = {}
    for name, attribute in _ATTRIBUTES.items():
        setting = TOPIC_SETTINGS[name]
        text = overrides.get(name)
        if text is None:
            found = broker_default(setting, broker)
            if found is None:
                continue
            text = found[1]
        value = setting.parse(text)
        values[attribute] = frozenset(value) if isinstance(value, tuple) else value
    return _shared(TopicConfig(**values)) if values else _DEFAULTS


@lru_cache(maxsize=256)
def _shared(config: TopicConfig) -> TopicConfig:
    """The first equal value: a thousand partitions configured alike hold one object."""
    return config
