"""Every topic setting in one table, and a topic's resolved settings as a value. Pure.

Source: Apache Kafka 4.3 `LogConfig` (33 settings) and its topic-to-broker synonyms, plus our own
`record.validation`. What we do not act on is in the table all the same, so that DescribeConfigs lists
it whole and a change of it can be refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from moldau_broker.base.config_types import (
    LONG_MAX,
    Setting,
    SettingError,
    SettingType,
    any_of,
    at_least,
    between,
    clip,
    either,
    one_of,
)

_BOOLEAN, _STRING, _INT = SettingType.BOOLEAN, SettingType.STRING, SettingType.INT
_LONG, _DOUBLE, _LIST = SettingType.LONG, SettingType.DOUBLE, SettingType.LIST


def _setting(
    name: str, kind: SettingType, default: str, check: Any, synonyms: str, doc: str, *, acted_on: bool = True
) -> Setting:
    return Setting(
        name=name,
        type=kind,
        default=default,
        doc=doc,
        check=check,
        synonyms=tuple(synonyms.split()),
        acted_on=acted_on,
    )


_NEVER: Final = str(LONG_MAX)
_WEEK_MS: Final = str(7 * 24 * 3600 * 1000)

_TABLE: Final = (
    _setting(
        "cleanup.policy",
        _LIST,
        "delete",
        any_of("compact", "delete"),
        "log.cleanup.policy",
        "What happens to old records: 'delete' drops whole segments by time and size, 'compact' keeps "
        "the newest record of every key; both may be given.",
    ),
    _setting(
        "compression.gzip.level",
        _INT,
        "-1",
        either(-1, between(1, 9)),
        "compression.gzip.level",
        "Level used when the broker itself compresses with gzip; -1 is the library's default.",
        acted_on=False,
    ),
    _setting(
        "compression.lz4.level",
        _INT,
        "9",
        between(1, 17),
        "compression.lz4.level",
        "Level used when the broker itself compresses with lz4.",
        acted_on=False,
    ),
    _setting(
        "compression.type",
        _STRING,
        "producer",
        one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
        "compression.type",
        "Codec batches are stored with; 'producer' stores them as they arrive.",
    ),
    _setting(
        "compression.zstd.level",
        _INT,
        "3",
        between(-131072, 22),
        "compression.zstd.level",
        "Level used when the broker itself compresses with zstd.",
        acted_on=False,
    ),
    _setting(
        "delete.retention.ms",
        _LONG,
        "86400000",
        at_least(0),
        "log.cleaner.delete.retention.ms",
        "How long a tombstone stays in a compacted topic after the first cleaning that sees it.",
    ),
    _setting(
        "file.delete.delay.ms",
        _LONG,
        "60000",
        at_least(0),
        "log.segment.delete.delay.ms",
        "How long the files of a removed segment stay on disk, so that readers can finish.",
    ),
    _setting(
        "flush.messages",
        _LONG,
        _NEVER,
        at_least(1),
        "log.flush.interval.messages",
        "Number of records after which the log is forced to disk, looked at once a second.",
    ),
    _setting(
        "flush.ms",
        _LONG,
        _NEVER,
        at_least(0),
        "log.flush.interval.ms log.flush.scheduler.interval.ms",
        "Longest time a written record waits before the log is forced to disk, looked at once a second.",
    ),
    _setting(
        "follower.replication.throttled.replicas",
        _LIST,
        "",
        None,
        "",
        "Replicas (partition:broker, or *) whose fetching is throttled on the follower's side.",
        acted_on=False,
    ),
    _setting(
        "index.interval.bytes",
        _INT,
        "4096",
        at_least(0),
        "log.index.interval.bytes",
        "Bytes of log between two entries of the offset index.",
    ),
    _setting(
        "leader.replication.throttled.replicas",
        _LIST,
        "",
        None,
        "",
        "Replicas (partition:broker, or *) whose fetching is throttled on the leader's side.",
        acted_on=False,
    ),
    _setting(
        "local.retention.bytes",
        _LONG,
        "-2",
        at_least(-2),
        "log.local.retention.bytes",
        "Bytes of a tiered partition kept on local disk; -2 follows retention.bytes.",
        acted_on=False,
    ),
    _setting(
        "local.retention.ms",
        _LONG,
        "-2",
        at_least(-2),
        "log.local.retention.ms",
        "Time a tiered segment is kept on local disk; -2 follows retention.ms.",
        acted_on=False,
    ),
    _setting(
        "max.compaction.lag.ms",
        _LONG,
        _NEVER,
        at_least(1),
        "log.cleaner.max.compaction.lag.ms",
        "Longest time a record of a compacted topic stays uncompacted.",
    ),
    _setting(
        "max.message.bytes",
        _INT,
        "1048588",
        at_least(0),
        "message.max.bytes",
        "Largest batch accepted, in bytes as stored (after compression).",
    ),
    _setting(
        "message.timestamp.after.max.ms",
        _LONG,
        "3600000",
        at_least(0),
        "log.message.timestamp.after.max.ms",
        "How far a record's own timestamp may lie ahead of the broker's clock (CreateTime only).",
    ),
    _setting(
        "message.timestamp.before.max.ms",
        _LONG,
        _NEVER,
        at_least(0),
        "log.message.timestamp.before.max.ms",
        "How far a record's own timestamp may lie behind the broker's clock (CreateTime only).",
    ),
    _setting(
        "message.timestamp.type",
        _STRING,
        "CreateTime",
        one_of("CreateTime", "LogAppendTime"),
        "log.message.timestamp.type",
        "Whose clock stamps records: the producer's (CreateTime) or the broker's (LogAppendTime).",
    ),
    _setting(
        "min.cleanable.dirty.ratio",
        _DOUBLE,
        "0.5",
        between(0, 1),
        "log.cleaner.min.cleanable.ratio",
        "Share of uncompacted bytes from which a compacted log is cleaned.",
    ),
    _setting(
        "min.compaction.lag.ms",
        _LONG,
        "0",
        at_least(0),
        "log.cleaner.min.compaction.lag.ms",
        "Shortest time a record stays uncompacted, so that readers can see every change.",
    ),
    _setting(
        "min.insync.replicas",
        _INT,
        "1",
        at_least(1),
        "min.insync.replicas",
        "In-sync replicas an acks=all write needs; with fewer it is refused.",
    ),
    _setting(
        "preallocate",
        _BOOLEAN,
        "false",
        None,
        "log.preallocate",
        "Whether a new segment's file gets its full size at once.",
        acted_on=False,
    ),
    _setting(
        "remote.log.copy.disable",
        _BOOLEAN,
        "false",
        None,
        "",
        "Whether a tiered topic stops uploading new segments.",
        acted_on=False,
    ),
    _setting(
        "remote.log.delete.on.disable",
        _BOOLEAN,
        "false",
        None,
        "",
        "Whether tiered data is deleted when tiering is turned off.",
        acted_on=False,
    ),
    _setting(
        "remote.storage.enable",
        _BOOLEAN,
        "false",
        None,
        "",
        "Whether the topic's closed segments are moved to remote storage.",
        acted_on=False,
    ),
    _setting(
        "retention.bytes",
        _LONG,
        "-1",
        None,
        "log.retention.bytes",
        "Bytes a partition may hold before its oldest segments go; -1 is no limit.",
    ),
    _setting(
        "retention.ms",
        _LONG,
        _WEEK_MS,
        at_least(-1),
        "log.retention.ms log.retention.minutes log.retention.hours",
        "Age from which a segment is deleted, by its newest record; -1 is never.",
    ),
    _setting(
        "segment.bytes",
        _INT,
        "1073741824",
        at_least(1024 * 1024),
        "log.segment.bytes",
        "Size at which a new segment file is begun.",
    ),
    _setting(
        "segment.index.bytes",
        _INT,
        "10485760",
        at_least(4),
        "log.index.size.max.bytes",
        "Largest size of a segment's offset index; a full index begins a new segment.",
    ),
    _setting(
        "segment.jitter.ms",
        _LONG,
        "0",
        at_least(0),
        "log.roll.jitter.ms log.roll.jitter.hours",
        "Largest random time taken off segment.ms, so that segments do not all roll together.",
    ),
    _setting(
        "segment.ms",
        _LONG,
        _WEEK_MS,
        at_least(1),
        "log.roll.ms log.roll.hours",
        "Age at which a new segment is begun even if the old one is not full.",
    ),
    _setting(
        "unclean.leader.election.enable",
        _BOOLEAN,
        "false",
        None,
        "unclean.leader.election.enable",
        "Whether an out-of-sync replica may become leader when no other is left, at the price of records.",
        acted_on=False,
    ),
    _setting(
        "record.validation",
        _STRING,
        "header",
        one_of("header", "full"),
        "record.validation",
        "moldau's own: 'header' checks a batch's header, CRC and counts; 'full' also opens every record.",
    ),
)

TOPIC_SETTINGS: Final[Mapping[str, Setting]] = {setting.name: setting for setting in _TABLE}
"""By name: Kafka's 33 and ours."""


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
    index_interval_bytes: int = 4096
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
