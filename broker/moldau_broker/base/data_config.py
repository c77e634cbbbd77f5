"""Settings of what the node keeps: topics, logs, groups, metadata. Pure.

Each field carries its `Setting`; the table of all is `broker_config`.
"""

from __future__ import annotations

from dataclasses import dataclass

from moldau_broker.base import limits
from moldau_broker.base.config_types import SettingType, at_least, between, setting_field

_BOOLEAN, _INT, _SHORT = SettingType.BOOLEAN, SettingType.INT, SettingType.SHORT
_LONG, _DOUBLE = SettingType.LONG, SettingType.DOUBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDefaults:
    """How topics come and go, and what a new one is like."""

    auto_create: bool = setting_field(
        "auto.create.topics.enable",
        _BOOLEAN,
        "true",
        "Whether a client's use of an unknown topic creates it.",
    )
    delete_enable: bool = setting_field(
        "delete.topic.enable", _BOOLEAN, "true", "Whether topics can be deleted."
    )
    num_partitions: int = setting_field(
        "num.partitions",
        _INT,
        "1",
        "Partitions of a topic created without a number.",
        at_least(1),
        dynamic=True,
    )
    replication_factor: int = setting_field(
        "default.replication.factor",
        _INT,
        "1",
        "Replicas of a topic created without a number.",
        at_least(1),
        dynamic=True,
    )
    partitions_per_broker_max: int = setting_field(
        "max.partitions.per.broker",
        _INT,
        str(limits.PARTITIONS_PER_BROKER_MAX),
        "Replicas a broker may hold; a topic that would exceed it is refused.",
        at_least(1),
    )
    partitions_per_answer_max: int = setting_field(
        "max.request.partition.size.limit",
        _INT,
        "2000",
        "Partitions in one page of DescribeTopicPartitions.",
        at_least(1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Durability, retention and cleaning of the node's logs."""

    flush_acks_all: bool = setting_field(
        "log.flush.acks.all",
        _BOOLEAN,
        "true",
        "Whether acks=all is answered only after fdatasync. False answers after the write, as Kafka does.",
    )
    recovery_bytes_max: int = setting_field(
        "log.recovery.max.bytes",
        _LONG,
        str(64 * 1024 * 1024),
        "Written bytes of one log that may lie above its recovery point: what a crash costs in re-reading.",
        at_least(1024 * 1024),
    )
    recovery_ms_max: int = setting_field(
        "log.recovery.max.ms",
        _LONG,
        "30000",
        "Longest time a written byte stays above its log's recovery point.",
        at_least(100),
    )
    high_watermark_checkpoint_interval_ms: int = setting_field(
        "replica.high.watermark.checkpoint.interval.ms",
        _LONG,
        "5000",
        "How often high watermarks, log starts and recovery points are written to their checkpoint files.",
    )
    retention_check_interval_ms: int = setting_field(
        "log.retention.check.interval.ms",
        _LONG,
        "300000",
        "How often logs are looked at for segments to delete.",
        at_least(1),
    )
    producer_id_expiration_ms: int = setting_field(
        "producer.id.expiration.ms",
        _INT,
        "86400000",
        "How long an idle idempotent producer's sequence numbers are remembered.",
        at_least(1),
    )
    cleaner_enable: bool = setting_field(
        "log.cleaner.enable", _BOOLEAN, "true", "Whether compacted topics are cleaned."
    )
    cleaner_dedupe_bytes: int = setting_field(
        "log.cleaner.dedupe.buffer.size",
        _LONG,
        str(32 * 1024 * 1024),
        "Memory of the cleaner's key map; it exists only while a log is cleaned.",
        at_least(1024),
    )
    cleaner_load_factor: float = setting_field(
        "log.cleaner.io.buffer.load.factor",
        _DOUBLE,
        "0.9",
        "How full the cleaner's key map may become.",
        between(0.1, 0.99),
    )
    cleaner_io_bytes: int = setting_field(
        "log.cleaner.io.buffer.size", _INT, "524288", "Bytes the cleaner reads at a time.", at_least(4096)
    )
    cleaner_bytes_per_second: float = setting_field(
        "log.cleaner.io.max.bytes.per.second",
        _DOUBLE,
        "1.7976931348623157E308",
        "Most bytes the cleaner reads and writes per second.",
        at_least(1),
    )
    cleaner_backoff_ms: int = setting_field(
        "log.cleaner.backoff.ms", _LONG, "15000", "Pause when there is nothing to clean.", at_least(0)
    )
    scrub_bytes_per_second: int = setting_field(
        "log.scrub.max.bytes.per.second",
        _LONG,
        str(2 * 1024 * 1024),
        "Most bytes of segments read per second to find damage that nobody reads, a tenth of it while the "
        "broker is busy; 0 looks for none. The default walks over a terabyte in six days.",
        at_least(0),
    )
    scrub_interval_ms: int = setting_field(
        "log.scrub.interval.ms",
        _LONG,
        "604800000",
        "From the beginning of one walk over all logs to the next one's, at least.",
        at_least(100),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """Consumer groups and their offsets."""

    session_timeout_ms_min: int = setting_field(
        "group.min.session.timeout.ms",
        _INT,
        "6000",
        "Shortest session timeout a member may ask for.",
        at_least(1),
    )
    session_timeout_ms_max: int = setting_field(
        "group.max.session.timeout.ms",
        _INT,
        "1800000",
        "Longest session timeout a member may ask for.",
        at_least(1),
    )
    initial_rebalance_delay_ms: int = setting_field(
        "group.initial.rebalance.delay.ms",
        _INT,
        "3000",
        "How long the first rebalance of an empty group waits for more members.",
        at_least(0),
    )
    members_max: int = setting_field(
        "group.max.size", _INT, str(limits.GROUP_MEMBERS_MAX), "Most members of one group.", at_least(1)
    )
    offsets_partitions: int = setting_field(
        "offsets.topic.num.partitions",
        _INT,
        "50",
        "Partitions of __consumer_offsets when created.",
        at_least(1),
    )
    offsets_replication_factor: int = setting_field(
        "offsets.topic.replication.factor",
        _SHORT,
        "3",
        "Replicas of __consumer_offsets when created; fewer while there are fewer brokers.",
        at_least(1),
    )
    offsets_segment_bytes: int = setting_field(
        "offsets.topic.segment.bytes",
        _INT,
        "104857600",
        "Segment size of __consumer_offsets: small, so that it is cleaned and loaded quickly.",
        at_least(1024 * 1024),
    )
    offsets_retention_minutes: int = setting_field(
        "offsets.retention.minutes",
        _INT,
        "10080",
        "How long offsets outlive their group's last member, or a simple consumer's last commit.",
        at_least(1),
    )
    offsets_retention_check_interval_ms: int = setting_field(
        "offsets.retention.check.interval.ms",
        _LONG,
        "600000",
        "How often expired offsets are looked for.",
        at_least(1),
    )
    offset_metadata_bytes_max: int = setting_field(
        "offset.metadata.max.bytes",
        _INT,
        str(limits.OFFSET_METADATA_BYTES_MAX),
        "Longest text a client may commit with an offset.",
        at_least(0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSettings:
    """The metadata log and its snapshots."""

    snapshot_bytes: int = setting_field(
        "metadata.log.max.record.bytes.between.snapshots",
        _LONG,
        "20971520",
        "Bytes of metadata records after which a snapshot is taken.",
        at_least(1),
    )
    snapshot_interval_ms: int = setting_field(
        "metadata.log.max.snapshot.interval.ms",
        _LONG,
        "3600000",
        "Time after which a snapshot is taken if there are new records; 0 is never.",
        at_least(0),
    )
