"""What the reconcilers ask of the brokers. Pure values and one Protocol.

Every method about several things answers for each of them, so that one bad name spoils nothing; a whole
call that fails raises `AdminError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from moldau_operator.errors import AdminError
from moldau_operator.resources.consumergroup import Edge

BROKER_DEFAULT: Final = -1
"""A partition count or replication factor left to the brokers."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.number}"


class QuorumMember(NamedTuple):
    """A replica of the metadata log: `lag` in records behind the leader, the directory as 16 bytes."""

    id: int
    directory_id: bytes = bytes(16)
    lag: int = 0
    last_caught_up_ms: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumView:
    """The metadata quorum as its leader sees it."""

    leader_id: int
    leader_epoch: int
    voters: tuple[QuorumMember, ...]
    observers: tuple[QuorumMember, ...] = ()

    def voter(self, node_id: int) -> QuorumMember | None:
        """The voter with this id, if there is one."""
        return next((voter for voter in self.voters if voter.id == node_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The cluster as it describes itself.

    Attributes:
        controller_id: None while there is none.
        broker_ids: brokers that serve; `fenced_ids` are registered and do not.
        racks: of the brokers that have one.
    """

    cluster_id: str
    controller_id: int | None
    broker_ids: tuple[int, ...]
    fenced_ids: tuple[int, ...] = ()
    racks: Mapping[int, str] = field(default_factory=dict)


class PartitionView(NamedTuple):
    """Where one partition lives; `leader` is None while it has none.

    `replicas` holds those that are being added and removed too, while a move is under way.
    """

    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


class MoveView(NamedTuple):
    """A move under way: the brokers that come and those that go."""

    adding: tuple[int, ...]
    removing: tuple[int, ...]


class PartitionLoad(NamedTuple):
    """What a partition carries a second, averaged over five minutes by its leader; replication is not in it."""

    bytes_in: float
    bytes_out: float
    requests: float


class Obstacle(NamedTuple):
    """Why a broker should not be stopped now, in words; for a partition's sake, or (None) for the quorum's."""

    words: str
    partition: Partition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicView:
    """A topic as it is.

    Attributes:
        topic_id: its unique id as text; a topic made again under the same name has another.
        replicas: the largest replication factor among its partitions.
        leaderless: partitions without a leader.
        overrides: settings that differ from the cluster's defaults because somebody set them.
        placement: where its partitions live, by number.
    """

    name: str
    topic_id: str
    partitions: int
    replicas: int
    leaderless: int = 0
    internal: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)
    placement: tuple[PartitionView, ...] = ()

    @property
    def under_replicated(self) -> int:
        """Partitions with a leader that lack an in-sync replica."""
        return sum(p.leader is not None and len(p.in_sync) < len(p.replicas) for p in self.placement)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """A group as its coordinator sees it. `state` is Kafka's name; a group nobody knows is Dead."""

    group_id: str
    state: str
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAge:
    """How long a group's oldest record that it has not consumed has waited, in seconds; None is not known.

    Attributes:
        by_topic: the longest of each topic that it has committed offsets in.
    """

    seconds: float | None
    by_topic: Mapping[str, float | None] = field(default_factory=dict)


NOT_TOLD: Final = GroupAge(seconds=None)
"""Nobody could be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """A topic to create; numbers may be `BROKER_DEFAULT`."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """Settings to set, and overrides to remove."""

    set: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


class BrokerAdmin(Protocol):
    """Kafka's admin protocol, narrowed. Implementation: `adapters.brokers`."""

    async def describe_cluster(self) -> ClusterView:
        """Who is there."""
        ...

    async def describe_quorum(self) -> QuorumView:
        """The metadata quorum."""
        ...

    async def describe_topics(self, names: Sequence[str]) -> dict[str, TopicView]:
        """These topics with their overrides; a topic that does not exist is left out."""
        ...

    async def list_topics(self) -> dict[str, TopicView]:
        """All topics, without their overrides."""
        ...

    async def create_topics(self, topics: Sequence[NewTopic]) -> dict[str, AdminError | None]:
        """Create topics."""
        ...

    async def create_partitions(self, totals: Mapping[str, int]) -> dict[str, AdminError | None]:
        """Grow topics to these total numbers of partitions."""
        ...

    async def alter_topics(self, changes: Mapping[str, ConfigChange]) -> dict[str, AdminError | None]:
        """Change topic settings; what a change does not name stays."""
        ...

    async def delete_topics(self, names: Sequence[str]) -> dict[str, AdminError | None]:
        """Delete topics with their records."""
        ...

    async def list_moves(self) -> dict[Partition, MoveView]:
        """Moves of replicas that are under way."""
        ...

    async def move_replicas(
        self, targets: Mapping[Partition, Sequence[int]]
    ) -> dict[Partition, AdminError | None]:
        """Begin to move partitions to these brokers, the preferred leader first."""
        ...

    async def cancel_moves(self, partitions: Sequence[Partition]) -> dict[Partition, AdminError | None]:
        """Go back to the replicas from before these moves; what was copied is given up."""
        ...

    async def elect_preferred(self, partitions: Sequence[Partition]) -> dict[Partition, AdminError | None]:
        """Give leadership to the first replica of each of these; nothing is wrong where it leads already."""
        ...

    async def partition_loads(self) -> dict[Partition, PartitionLoad]:
        """What each partition carries, as far as leaders answer; a partition nobody tells of is left out."""
        ...

    async def replica_bytes(self) -> dict[Partition, int]:
        """Bytes of one replica of each partition, as far as brokers answer."""
        ...

    async def broker_overrides(self) -> dict[str, str]:
        """Settings that all brokers were given while they run."""
        ...

    async def alter_brokers(self, change: ConfigChange) -> AdminError | None:
        """Give all brokers settings while they run."""
        ...

    async def may_stop(self, broker_id: int) -> tuple[Obstacle, ...]:
        """Why this broker should not be stopped now; empty when it may."""
        ...

    async def remove_voter(self, voter: QuorumMember) -> AdminError | None:
        """Take a voter out of the metadata quorum."""
        ...

    async def unregister(self, broker_id: int) -> AdminError | None:
        """Forget a broker that is gone for good."""
        ...

    async def list_groups(self) -> tuple[str, ...]:
        """Ids of all groups, sorted."""
        ...

    async def describe_groups(self, group_ids: Sequence[str]) -> dict[str, GroupView | AdminError]:
        """These groups."""
        ...

    async def group_ages(self, group_ids: Sequence[str]) -> dict[str, GroupAge]:
        """Lag in seconds, as far as coordinators answer; a group nobody tells of is left out."""
        ...

    async def committed_offsets(
        self, group_ids: Sequence[str]
    ) -> dict[str, dict[Partition, int] | AdminError]:
        """What each group has committed; partitions without a commit are left out."""
        ...

    async def offsets_at(
        self, partitions: Sequence[Partition], place: Edge | int
    ) -> dict[Partition, int | AdminError]:
        """Offsets at an end of the log, or of the first record at or after a time in ms (the end if none)."""
        ...

    async def partitions_of(self, topics: Sequence[str]) -> dict[str, int]:
        """Partition counts; a topic that does not exist is left out."""
        ...

    async def reset_offsets(
        self, group_id: str, offsets: Mapping[Partition, int], reset_id: str, *, force: bool = False
    ) -> None:
        """Commit these offsets, all or none, under the coordinator's fence, once for each id.

        Raises:
            AdminError: NON_EMPTY_GROUP while members are active, unless `force` removes them first;
                OFFSET_OUT_OF_RANGE where a log holds an offset no longer. Asked again, neither is done twice.
        """
        ...

    async def delete_groups(self, group_ids: Sequence[str]) -> dict[str, AdminError | None]:
        """Delete groups without members, with their offsets."""
        ...
