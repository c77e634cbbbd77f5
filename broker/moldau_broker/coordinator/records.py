"""The records of the offsets topic: values in, bytes out, and back. Pure.

Written in the versions an Apache Kafka 4.3 broker writes: a group's state in version 3, a committed offset in 4, or
in 1 when an old client gave it an expiry of its own. Every version Kafka ever wrote is read.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from moldau_broker.base.ids import Uuid
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.group_state import GroupState
from moldau_broker.coordinator.member import Member, Protocol
from moldau_broker.coordinator.offsets import NO_EXPIRY, CommittedOffset
from moldau_broker.wire.coordinator_framing import decode_key, decode_versioned, encode_key, encode_versioned
from moldau_broker.wire.messages.group_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    LegacyOffsetCommitKey,
    LegacyOffsetCommitValue,
    MemberMetadata,
    OffsetCommitKey,
    OffsetCommitValue,
)

GROUP_METADATA_VERSION: Final = 3
OFFSET_COMMIT_VERSION: Final = 4
OFFSET_COMMIT_WITH_EXPIRY_VERSION: Final = 1

RECORD_OVERHEAD_BYTES_MAX: Final = 48
"""What a record adds to names and values in a batch: lengths, attributes, deltas, no headers."""


class GroupRecord(NamedTuple):
    """A key and its new value; without a value the key is deleted."""

    key: GroupMetadataKey | OffsetCommitKey
    value: GroupMetadataValue | OffsetCommitValue | None


class EncodedRecord(NamedTuple):
    """A record as it stands in the log."""

    key: bytes
    value: bytes | None

    @property
    def size_max(self) -> int:
        """Most bytes it takes in a batch."""
        return len(self.key) + (len(self.value) if self.value is not None else 0) + RECORD_OVERHEAD_BYTES_MAX


def encode_record(record: GroupRecord) -> EncodedRecord:
    """The bytes of key and value."""
    key, value = record
    if value is None:
        return EncodedRecord(encode_key(key), None)
    if isinstance(value, GroupMetadataValue):
        version = GROUP_METADATA_VERSION
    elif value.expire_timestamp == NO_EXPIRY:
        version = OFFSET_COMMIT_VERSION
    else:
        version = OFFSET_COMMIT_WITH_EXPIRY_VERSION
    return EncodedRecord(encode_key(key), encode_versioned(value, version))


def decode_record(key: bytes, value: bytes | None) -> GroupRecord | None:
    """The record behind these bytes; None for a kind that this broker does not keep (KIP-848 and later groups).

    Raises:
        WireError: not a record of the offsets topic, or a version from the future.
    """
    match decode_key(key):
        case GroupMetadataKey() as group_key:
            group = None if value is None else decode_versioned(GroupMetadataValue, value)[0]
            return GroupRecord(group_key, group)
        case OffsetCommitKey() as offset_key:
            offset = None if value is None else decode_versioned(OffsetCommitValue, value)[0]
            return GroupRecord(offset_key, offset)
        case LegacyOffsetCommitKey() as old_key:  # brokers before 0.9 wrote it, and Kafka 4.3 still reads it
            new_key = OffsetCommitKey(group=old_key.group, topic=old_key.topic, partition=old_key.partition)
            if value is None:
                return GroupRecord(new_key, None)
            old = decode_versioned(LegacyOffsetCommitValue, value)[0]
            return GroupRecord(
                new_key,
                OffsetCommitValue(
                    offset=old.offset, metadata=old.metadata, commit_timestamp=old.commit_timestamp
                ),
            )
        case _:
            return None


def group_record(group: Group, assignments: dict[str, bytes]) -> GroupRecord:
    """A group as of this generation, with the assignment that is about to become its members'."""
    return GroupRecord(
        GroupMetadataKey(group=group.group_id),
        GroupMetadataValue(
            protocol_type=group.protocol_type or "",
            generation=group.generation,
            protocol=group.protocol_name,
            leader=group.leader_id,
            current_state_timestamp=-1 if group.state_timestamp_ms is None else group.state_timestamp_ms,
            members=[
                MemberMetadata(
                    member_id=member.member_id,
                    group_instance_id=member.instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    rebalance_timeout=member.rebalance_timeout_ms,
                    session_timeout=member.session_timeout_ms,
                    subscription=member.metadata(group.protocol_name),
                    assignment=assignments.get(member.member_id, b""),
                )
                for member in group.members.values()
            ],
        ),
    )


def new_group_record(group: Group) -> GroupRecord:
    """A group that has just come to be and has no generation yet."""
    assert group.state_timestamp_ms is not None
    return GroupRecord(
        GroupMetadataKey(group=group.group_id),
        GroupMetadataValue(
            protocol_type="",
            generation=0,
            protocol=None,
            leader=None,
            current_state_timestamp=group.state_timestamp_ms,
        ),
    )


def group_tombstone(group_id: str) -> GroupRecord:
    """The end of a group."""
    return GroupRecord(GroupMetadataKey(group=group_id), None)


def offset_record(group_id: str, topic: str, partition: int, committed: CommittedOffset) -> GroupRecord:
    """A committed offset."""
    return GroupRecord(
        OffsetCommitKey(group=group_id, topic=topic, partition=partition),
        OffsetCommitValue(
            offset=committed.offset,
            leader_epoch=committed.leader_epoch,
            metadata=committed.metadata,
            commit_timestamp=committed.committed_ms,
            expire_timestamp=committed.expires_ms,
            topic_id=committed.topic_id,
        ),
    )


def offset_tombstone(group_id: str, topic: str, partition: int) -> GroupRecord:
    """The end of a committed offset."""
    return GroupRecord(OffsetCommitKey(group=group_id, topic=topic, partition=partition), None)


def committed_offset(value: OffsetCommitValue) -> CommittedOffset:
    """The offset a record holds."""
    return CommittedOffset(
        value.offset,
        value.leader_epoch,
        value.metadata,
        value.commit_timestamp,
        value.expire_timestamp,
        Uuid(value.topic_id),
    )


def restored_group(group_id: str, value: GroupMetadataValue) -> Group:
    """The group a record holds: Stable with its members as they were, or Empty."""
    timestamp = None if value.current_state_timestamp == -1 else value.current_state_timestamp
    group = Group(group_id, timestamp, GroupState.STABLE if value.members else GroupState.EMPTY)
    group.generation = value.generation
    group.protocol_name = value.protocol
    group.leader_id = value.leader
    for member in value.members:
        group.add(
            Member(
                member.member_id,
                instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout_ms=(
                    member.session_timeout if member.rebalance_timeout == -1 else member.rebalance_timeout
                ),
                session_timeout_ms=member.session_timeout,
                protocols=(Protocol(value.protocol or "", member.subscription),),
                assignment=member.assignment,
            ),
            value.protocol_type,
        )
    group.protocol_type = value.protocol_type or None
    group.refresh_topics()
    return group
