"""What the brokers' admin API answers, as values. Rates are per second, lag is records and seconds.

A field that is None was absent: the brokers could not tell, which is never the same as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from moldau_broker.client.errors import ProtocolViolation
from moldau_broker.client.partitions import TopicPartition

T = TypeVar("T")
Json = Mapping[str, Any]


def read_answer(read: Callable[[Json], T], document: object) -> T:
    """`read(document)`.

    Raises:
        ProtocolViolation: the document is not what the API promises.
    """
    try:
        return read(document)  # type: ignore[arg-type]  # what it is comes out while reading
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolViolation(f"the admin API's answer is not understood: {error!r}") from error


def read_place(item: Json) -> TopicPartition:
    """The partition that an item of an answer is about."""
    return TopicPartition(str(item["topic"]), int(item["partition"]))


@dataclass(frozen=True, slots=True)
class PartitionLoad:
    """Moving averages of a partition, on its leader."""

    partition: TopicPartition
    bytes_in_per_second_1m: float
    bytes_in_per_second_5m: float
    bytes_out_per_second_1m: float
    bytes_out_per_second_5m: float
    requests_per_second_1m: float
    requests_per_second_5m: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BrokerLoad:
    """What one broker leads."""

    node_id: int
    partitions: tuple[PartitionLoad, ...]

    @classmethod
    def read(cls, found: Json) -> BrokerLoad:
        """The answer of `GET load`."""
        return cls(
            int(found["nodeId"]),
            tuple(
                PartitionLoad(
                    read_place(item),
                    float(item["bytesInPerSecond1m"]),
                    float(item["bytesInPerSecond5m"]),
                    float(item["bytesOutPerSecond1m"]),
                    float(item["bytesOutPerSecond5m"]),
                    float(item["requestsPerSecond1m"]),
                    float(item["requestsPerSecond5m"]),
                    int(item["sizeBytes"]),
                )
                for item in found["partitions"]
            ),
        )


@dataclass(frozen=True, slots=True)
class BlockedPartition:
    """A partition that stopping a broker would hurt; `obstacle` says how."""

    partition: TopicPartition
    obstacle: str
    in_sync_replicas: tuple[int, ...]
    min_in_sync_replicas: int


@dataclass(frozen=True, slots=True)
class MayStop:
    """Whether a broker may be stopped now, and what is in the way."""

    broker_id: int
    allowed: bool
    reasons: tuple[str, ...]
    partitions: tuple[BlockedPartition, ...]
    quorum_kept: bool

    @classmethod
    def read(cls, found: Json) -> MayStop:
        """The answer of `GET brokers/{id}/may-stop`."""
        return cls(
            int(found["brokerId"]),
            bool(found["mayStop"]),
            tuple(map(str, found["reasons"])),
            tuple(
                BlockedPartition(
                    read_place(item),
                    str(item["obstacle"]),
                    tuple(map(int, item["inSyncReplicas"])),
                    int(item["minInSyncReplicas"]),
                )
                for item in found["partitions"]
            ),
            bool(found["quorumKept"]),
        )


@dataclass(frozen=True, slots=True)
class GroupMember:
    """Somebody in a group."""

    id: str
    instance_id: str | None
    client_id: str
    host: str


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """Where a group stands in one partition; lag None means not known."""

    partition: TopicPartition
    committed_offset: int | None
    log_start_offset: int | None
    high_watermark: int | None
    lag_records: int | None
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group with its lag: the sum of records, the longest of seconds; None where a part of it is not known."""

    id: str
    coordinator_id: int
    state: str
    protocol_type: str
    generation: int
    members: tuple[GroupMember, ...]
    offsets: tuple[GroupOffset, ...]
    lag_records: int | None
    lag_seconds: float | None

    @classmethod
    def read(cls, found: Json) -> GroupReport:
        """The answer of `GET groups/{groupId}`."""
        return cls(
            str(found["groupId"]),
            int(found["coordinatorId"]),
            str(found["state"]),
            str(found["protocolType"]),
            int(found["generation"]),
            tuple(
                GroupMember(
                    str(m["memberId"]), m.get("groupInstanceId"), str(m["clientId"]), str(m["clientHost"])
                )
                for m in found["members"]
            ),
            tuple(
                GroupOffset(
                    read_place(item),
                    item.get("committedOffset"),
                    item.get("logStartOffset"),
                    item.get("highWatermark"),
                    item.get("lagRecords"),
                    item.get("lagSeconds"),
                )
                for item in found["offsets"]
            ),
            found.get("lagRecords"),
            found.get("lagSeconds"),
        )


@dataclass(frozen=True, slots=True)
class GroupReports:
    """Several groups, and why some may be missing (broker id -> reason)."""

    groups: tuple[GroupReport, ...]
    incomplete: Mapping[int, str]

    @classmethod
    def read(cls, found: Json) -> GroupReports:
        """The answer of `GET groups`."""
        return cls(
            tuple(map(GroupReport.read, found["groups"])),
            {int(item["brokerId"]): str(item["reason"]) for item in found["incomplete"]},
        )


@dataclass(frozen=True, slots=True)
class OffsetMove:
    """One partition of a reset: from where (None: nothing was committed) to where."""

    partition: TopicPartition
    old_offset: int | None
    new_offset: int


@dataclass(frozen=True, slots=True)
class ResetReport:
    """What a reset did, or in a dry run would do."""

    group_id: str
    reset_id: str
    dry_run: bool
    applied: bool
    moves: tuple[OffsetMove, ...]
    members_removed: tuple[str, ...]

    @classmethod
    def read(cls, found: Json) -> ResetReport:
        """The answer of `POST groups/{groupId}/offsets/reset`."""
        return cls(
            str(found["groupId"]),
            str(found["resetId"]),
            bool(found["dryRun"]),
            bool(found["applied"]),
            tuple(
                OffsetMove(read_place(item), item.get("oldOffset"), int(item["newOffset"]))
                for item in found["partitions"]
            ),
            tuple(map(str, found["membersRemoved"])),
        )


@dataclass(frozen=True, slots=True)
class PartitionPosition:
    """A partition as its leader sees it; `error` is a protocol error's name where it could not tell."""

    partition: TopicPartition
    error: str | None
    log_start_offset: int | None
    high_watermark: int | None
    timestamp_ms: int | None
    offset_at_timestamp: int | None

    @classmethod
    def read_all(cls, found: Json) -> tuple[PartitionPosition, ...]:
        """The answer of `POST partitions/positions`."""
        return tuple(
            cls(
                read_place(item),
                item.get("error"),
                item.get("logStartOffset"),
                item.get("highWatermark"),
                item.get("timestampMs"),
                item.get("offsetAtTimestamp"),
            )
            for item in found["partitions"]
        )


@dataclass(frozen=True, slots=True)
class HostedReplica:
    """A replica on a broker's disk."""

    partition: TopicPartition
    leads: bool
    size_bytes: int
    log_start_offset: int
    log_end_offset: int
    high_watermark: int
    offline_reason: str | None

    @classmethod
    def read_all(cls, found: Json) -> tuple[HostedReplica, ...]:
        """The answer of `GET replicas`."""
        return tuple(
            cls(
                read_place(item),
                bool(item["leads"]),
                int(item["sizeBytes"]),
                int(item["logStartOffset"]),
                int(item["logEndOffset"]),
                int(item["highWatermark"]),
                item.get("offlineReason"),
            )
            for item in found["replicas"]
        )


@dataclass(frozen=True, slots=True)
class MetadataDamage:
    """A damaged file of a broker's metadata log: its path below the data directory, and what a person can do."""

    file: str
    reason: str
    advice: str
    found_ms: int

    @classmethod
    def read_all(cls, found: Json) -> tuple[MetadataDamage, ...]:
        """The answer of `GET replicas`; brokers that do not look for it have found none."""
        return tuple(
            cls(str(item["file"]), str(item["reason"]), str(item["advice"]), int(item["foundMs"]))
            for item in found.get("metadataDamage", ())
        )


@dataclass(frozen=True, slots=True)
class ReplicaOutOfSync:
    """A replica that is out of sync, as its partition's leader sees it. Times are UTC in ms by the leader's clock.

    Attributes:
        leader_since_ms: when the leader's term began.
        since_ms: when the replica last had everything; None means before the leader's term.
        lag_records: None where it has not asked for anything in the leader's term.
    """

    partition: TopicPartition
    broker_id: int
    leader_epoch: int
    leader_since_ms: int
    since_ms: int | None
    lag_records: int | None


@dataclass(frozen=True, slots=True)
class OutOfSyncReport:
    """The replicas out of sync of the partitions that one broker leads; `now_ms` is its clock."""

    node_id: int
    now_ms: int
    replicas: tuple[ReplicaOutOfSync, ...]

    @classmethod
    def read(cls, found: Json) -> OutOfSyncReport:
        """The answer of `GET replicas/out-of-sync`."""
        return cls(
            int(found["nodeId"]),
            int(found["nowMs"]),
            tuple(
                ReplicaOutOfSync(
                    read_place(item),
                    int(item["brokerId"]),
                    int(item["leaderEpoch"]),
                    int(item["leaderSinceMs"]),
                    item.get("sinceMs"),
                    item.get("lagRecords"),
                )
                for item in found["replicas"]
            ),
        )


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """How far a broker is emptied; `bytes_left` is None where the broker itself cannot be asked.

    It is done when no replica is left; while some are left and none is moving, `drain` has to be asked again.
    """

    broker_id: int
    draining: bool
    replicas_left: int
    replicas_moving: int
    bytes_left: int | None

    @classmethod
    def read(cls, found: Json) -> DrainProgress:
        """The answer of all three of `brokers/{id}/drain`."""
        return cls(
            int(found["brokerId"]),
            bool(found["draining"]),
            int(found["replicasLeft"]),
            int(found["replicasMoving"]),
            found.get("bytesLeft"),
        )
