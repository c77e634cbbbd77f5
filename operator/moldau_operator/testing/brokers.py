"""A cluster's topics and groups as dictionaries, behind `BrokerAdmin`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.resources.consumergroup import Edge
from moldau_operator.seams.broker_admin import (
    BROKER_DEFAULT,
    ClusterView,
    ConfigChange,
    GroupView,
    NewTopic,
    Partition,
    TopicView,
)

CHANGES = frozenset(
    {"create_topics", "create_partitions", "alter_topics", "delete_topics", "alter_offsets", "delete_groups"}
)
"""The calls that change something; a converged pass makes none of them."""


@dataclass
class FakeTopic:
    """One topic; `logs` holds (start, end, first timestamp after start) by partition."""

    topic_id: str
    partitions: int
    replicas: int
    overrides: dict[str, str] = field(default_factory=dict)
    logs: dict[int, tuple[int, int]] = field(default_factory=dict)
    leaderless: int = 0


@dataclass
class FakeGroup:
    """One group and what it has committed."""

    state: str = "Empty"
    members: int = 0
    committed: dict[Partition, int] = field(default_factory=dict)


class FakeBrokers:
    """Implements `BrokerAdmin`. Change the dictionaries to change the world behind the reconcilers.

    Attributes:
        calls: every call made, by name.
        refuse: (call, topic or group) -> the error it gets.
        unreachable: while set, every call raises it.
    """

    def __init__(self, brokers: int = 1) -> None:
        self.cluster_id = "cluster-1"
        self.brokers = brokers
        self.num_partitions = 1
        self.topics: dict[str, FakeTopic] = {}
        self.groups: dict[str, FakeGroup] = {}
        self.calls: list[str] = []
        self.refuse: dict[tuple[str, str], AdminError] = {}
        self.unreachable: AdminError | None = None
        self._ids = 0

    @property
    def changes(self) -> list[str]:
        """The calls made that change something."""
        return [call for call in self.calls if call in CHANGES]

    def add_topic(self, name: str, partitions: int = 1, replicas: int = 1, **overrides: str) -> FakeTopic:
        """Make a topic as if somebody else had; `retention_ms="1"` sets retention.ms."""
        self._ids += 1
        config = {key.replace("_", "."): value for key, value in overrides.items()}
        self.topics[name] = FakeTopic(f"id-{self._ids}", partitions, replicas, config)
        return self.topics[name]

    async def close(self) -> None:
        """Nothing is open."""

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.unreachable is not None:
            raise self.unreachable

    async def describe_cluster(self) -> ClusterView:
        """As the protocol."""
        self._called("describe_cluster")
        return ClusterView(cluster_id=self.cluster_id, controller_id=0, broker_ids=tuple(range(self.brokers)))

    async def describe_topics(self, names: Sequence[str]) -> dict[str, TopicView]:
        """As the protocol."""
        self._called("describe_topics")
        return {name: self._view(name) for name in names if name in self.topics}

    async def list_topics(self) -> dict[str, TopicView]:
        """As the protocol."""
        self._called("list_topics")
        return {name: self._view(name) for name in self.topics}

    def _view(self, name: str) -> TopicView:
        topic = self.topics[name]
        return TopicView(
            name=name,
            topic_id=topic.topic_id,
            partitions=topic.partitions,
            replicas=topic.replicas,
            leaderless=topic.leaderless,
            overrides=dict(topic.overrides),
        )

    async def create_topics(self, topics: Sequence[NewTopic]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("create_topics")
        found: dict[str, AdminError | None] = {}
        for topic in topics:
            found[topic.name] = self.refuse.get(("create_topics", topic.name))
            if found[topic.name] is None and topic.name in self.topics:
                found[topic.name] = AdminError(ErrorCode.TOPIC_ALREADY_EXISTS, "exists")
            elif found[topic.name] is None:
                partitions = self.num_partitions if topic.partitions == BROKER_DEFAULT else topic.partitions
                replicas = 1 if topic.replicas == BROKER_DEFAULT else topic.replicas
                self.add_topic(topic.name, partitions, replicas).overrides.update(topic.config)
        return found

    async def create_partitions(self, totals: Mapping[str, int]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("create_partitions")
        found: dict[str, AdminError | None] = {}
        for name, total in totals.items():
            found[name] = self.refuse.get(("create_partitions", name))
            if found[name] is None:
                self.topics[name].partitions = total
        return found

    async def alter_topics(self, changes: Mapping[str, ConfigChange]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("alter_topics")
        found: dict[str, AdminError | None] = {}
        for name, change in changes.items():
            found[name] = self.refuse.get(("alter_topics", name))
            if found[name] is None:
                self.topics[name].overrides.update(change.set)
                for key in change.remove:
                    self.topics[name].overrides.pop(key, None)
        return found

    async def delete_topics(self, names: Sequence[str]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("delete_topics")
        found: dict[str, AdminError | None] = {}
        for name in names:
            found[name] = self.refuse.get(("delete_topics", name))
            if found[name] is None:
                self.topics.pop(name, None)
        return found

    async def list_groups(self) -> tuple[str, ...]:
        """As the protocol."""
        self._called("list_groups")
        return tuple(sorted(self.groups))

    async def describe_groups(self, group_ids: Sequence[str]) -> dict[str, GroupView | AdminError]:
        """As the protocol."""
        self._called("describe_groups")
        return {
            group_id: self.refuse.get(("describe_groups", group_id)) or self._group_view(group_id)
            for group_id in group_ids
        }

    def _group_view(self, group_id: str) -> GroupView:
        group = self.groups.get(group_id)
        if group is None:
            return GroupView(group_id=group_id, state="Dead", members=0)
        return GroupView(group_id=group_id, state=group.state, members=group.members)

    async def committed_offsets(
        self, group_ids: Sequence[str]
    ) -> dict[str, dict[Partition, int] | AdminError]:
        """As the protocol."""
        self._called("committed_offsets")
        return {
            group_id: dict(self.groups[group_id].committed) if group_id in self.groups else {}
            for group_id in group_ids
        }

    async def offsets_at(
        self, partitions: Sequence[Partition], place: Edge | int
    ) -> dict[Partition, int | AdminError]:
        """As the protocol; a time counts as an offset, so that 5 is the sixth record."""
        self._called("offsets_at")
        found: dict[Partition, int | AdminError] = {}
        for partition in partitions:
            refused = self.refuse.get(("offsets_at", str(partition)))
            start, end = self.topics[partition.topic].logs.get(partition.number, (0, 0))
            if refused is not None:
                found[partition] = refused
            elif isinstance(place, Edge):
                found[partition] = start if place is Edge.EARLIEST else end
            else:
                found[partition] = min(max(place, start), end)
        return found

    async def partitions_of(self, topics: Sequence[str]) -> dict[str, int]:
        """As the protocol."""
        self._called("partitions_of")
        return {name: self.topics[name].partitions for name in topics if name in self.topics}

    async def alter_offsets(
        self, group_id: str, offsets: Mapping[Partition, int]
    ) -> dict[Partition, AdminError | None]:
        """As the protocol."""
        self._called("alter_offsets")
        refused = self.refuse.get(("alter_offsets", group_id))
        if refused is None:
            self.groups.setdefault(group_id, FakeGroup()).committed.update(offsets)
        return dict.fromkeys(offsets, refused)

    async def delete_groups(self, group_ids: Sequence[str]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("delete_groups")
        for group_id in group_ids:
            self.groups.pop(group_id, None)
        return dict.fromkeys(group_ids)
