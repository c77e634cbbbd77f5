"""The settings the group cores act on, as one frozen value. Pure; parsing is the server's."""

from __future__ import annotations

from dataclasses import dataclass

from moldau_broker.base import limits
from moldau_broker.base.broker_config import GroupSettings
from moldau_broker.base.topic_config import TopicConfig

BATCH_HEADER_BYTES = 61


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """Kafka's broker settings for classic groups; defaults are Kafka's unless said.

    Attributes:
        min_session_timeout_ms, max_session_timeout_ms: bounds on what a member may ask for
            (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`).
        initial_rebalance_delay_ms: how long an empty group waits for more members
            (`group.initial.rebalance.delay.ms`).
        group_size_max: members of one group (`group.max.size`). Kafka has no bound; a flood of joins must have one.
        offset_metadata_max: UTF-16 units in the metadata of one committed offset (`offset.metadata.max.bytes`).
        offsets_retention_ms: `offsets.retention.minutes` in milliseconds.
        retention_check_interval_ms: `offsets.retention.check.interval.ms`.
        new_member_join_timeout_ms: how long a parked join of a new member is kept; not a setting in Kafka either.
        write_bytes_max: most bytes of one atomic write; the offsets topic's `max.message.bytes` less the header.
        groups_per_shard_max: most groups in one shard.
        commit_timeout_ms: how long a commit may wait for replicas before its client is told to try again; Kafka's
            default of `offsets.commit.timeout.ms`.
    """

    min_session_timeout_ms: int = 6_000
    max_session_timeout_ms: int = 1_800_000
    initial_rebalance_delay_ms: int = 3_000
    group_size_max: int = limits.GROUP_MEMBERS_MAX
    offset_metadata_max: int = limits.OFFSET_METADATA_BYTES_MAX
    offsets_retention_ms: int = 7 * 24 * 3_600_000
    retention_check_interval_ms: int = 600_000
    new_member_join_timeout_ms: int = 300_000
    write_bytes_max: int = 1_048_588 - 100
    groups_per_shard_max: int = limits.GROUPS_PER_SHARD_MAX
    commit_timeout_ms: int = 5_000

    @classmethod
    def of(cls, settings: GroupSettings, offsets_topic: TopicConfig) -> GroupConfig:
        """The settings as the broker has them."""
        return cls(
            min_session_timeout_ms=settings.session_timeout_ms_min,
            max_session_timeout_ms=settings.session_timeout_ms_max,
            initial_rebalance_delay_ms=settings.initial_rebalance_delay_ms,
            group_size_max=settings.members_max,
            offset_metadata_max=settings.offset_metadata_bytes_max,
            offsets_retention_ms=settings.offsets_retention_minutes * 60_000,
            retention_check_interval_ms=settings.offsets_retention_check_interval_ms,
            write_bytes_max=offsets_topic.max_message_bytes - BATCH_HEADER_BYTES,
        )
