"""The table of topic settings: Kafka's 33, and ours. Pure.

Source: Apache Kafka 4.3 `LogConfig` and its topic-to-broker synonyms. What we do not act on is in the table all
the same, so that DescribeConfigs lists it whole and a change of it can be refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_broker.base.config_types import (
    LONG_MAX,
    Check,
    Setting,
    SettingType,
    any_of,
    at_least,
    between,
    either,
    one_of,
    throttled_replicas,
)

_BOOLEAN, _STRING, _INT = SettingType.BOOLEAN, SettingType.STRING, SettingType.INT
_LONG, _DOUBLE, _LIST = SettingType.LONG, SettingType.DOUBLE, SettingType.LIST


def _setting(
    name: str,
    kind: SettingType,
    default: str,
    check: Check | None,
    synonyms: str,
    doc: str,
    *,
    acted_on: bool = True,
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
        throttled_replicas(),
        "",
        "Replicas (partition:broker, or *) whose fetching is throttled on the follower's side.",
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
        throttled_replicas(),
        "",
        "Replicas (partition:broker, or *) whose fetching is throttled on the leader's side.",
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
