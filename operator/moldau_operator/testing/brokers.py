"""A cluster's topics and groups as dictionaries, behind `BrokerAdmin`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.resources.consumergroup import Edge
from moldau_operator.seams.broker_admin import (
    BROKER_DEFAULT,
    ClusterView,
    ConfigChange,
    MoveView,
    NewTopic,
    Obstacle,
    Partition,
    PartitionLoad,
    PartitionView,
    QuorumMember,
    QuorumView,
    TopicView,
)
from moldau_operator.testing.groups import FakeGroups

CHANGES = frozenset(
    {
        "create_topics",
        "create_partitions",
        "alter_topics",
        "delete_topics",
        "reset_offsets",
        "delete_groups",
        "move_replicas",
        "cancel_moves",
        "elect_preferred",
        "alter_brokers",
        "remove_voter",
        "unregister",
    }
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
    internal: bool = False
    placement: list[PartitionView] = field(default_factory=list)


class FakeBrokers(FakeGroups):
    """Implements `BrokerAdmin`. Change the dictionaries to change the world behind the reconcilers.

    Attributes:
        disks: the cluster's id by node, as the platform's fake keeps it; the first is the cluster's.
        fenced: registered brokers that do not serve; `forgotten` ones are registered no more.
        voters: of the metadata quorum.
        moves: under way; `finish_moves` ends them.
        busy: why a broker may not stop, by id.
        controller: the active one.
        min_isr: min.insync.replicas of every topic; a broker without which a partition of several replicas would have
            fewer may not stop.
        loads, sizes: of partitions, as they are told.
        racks: by broker.
    """

    def __init__(self, brokers: int = 1, disks: Mapping[int, str] | None = None) -> None:
        super().__init__()
        self.disks = {0: "cluster-1"} if disks is None else disks
        self.brokers = brokers
        self.fenced: set[int] = set()
        self.forgotten: set[int] = set()
        self.voters: set[int] = set(range(brokers))
        self.moves: dict[Partition, tuple[int, ...]] = {}
        self.overrides: dict[str, str] = {}
        self.busy: dict[int, tuple[Obstacle, ...]] = {}
        self.loads: dict[Partition, PartitionLoad] = {}
        self.sizes: dict[Partition, int] = {}
        self.racks: dict[int, str] = {}
        self.num_partitions = 1
        self.min_isr = 1
        self.controller = 0
        self.topics: dict[str, FakeTopic] = {}
        self._ids = 0
        self._placed = 0  # partitions, so that the next one begins with the next broker

    @property
    def changes(self) -> list[str]:
        """The calls made that change something."""
        return [call for call in self.calls if call in CHANGES]

    def add_topic(self, name: str, partitions: int = 1, replicas: int = 1, **overrides: str) -> FakeTopic:
        """Make a topic as if somebody else had; `retention_ms="1"` sets retention.ms."""
        self._ids += 1
        config = {key.replace("_", "."): value for key, value in overrides.items()}
        brokers = max(self.brokers, replicas)
        placement = []
        for number in range(partitions):
            nodes = tuple((self._placed + number + other) % brokers for other in range(replicas))
            placement.append(PartitionView(nodes[0], nodes, nodes))
        self._placed += partitions
        self.topics[name] = FakeTopic(f"id-{self._ids}", partitions, replicas, config, placement=placement)
        return self.topics[name]

    async def close(self) -> None:
        """Nothing is open."""

    async def describe_cluster(self) -> ClusterView:
        """As the protocol."""
        self._called("describe_cluster")
        ids = tuple(node for node in range(self.brokers) if node not in self.fenced | self.forgotten)
        return ClusterView(
            cluster_id=next(iter(self.disks.values())),
            controller_id=self.controller,
            broker_ids=ids,
            fenced_ids=tuple(sorted(self.fenced - self.forgotten)),
            racks=dict(self.racks),
        )

    async def describe_quorum(self) -> QuorumView:
        """As the protocol."""
        self._called("describe_quorum")
        return QuorumView(leader_id=0, leader_epoch=1, voters=tuple(map(QuorumMember, sorted(self.voters))))

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
            internal=topic.internal,
            overrides=dict(topic.overrides),
            placement=tuple(topic.placement),
        )

    async def create_topics(self, topics: Sequence[NewTopic]) -> dict[str, AdminError | None]:
        """As the protocol."""
        self._called("create_topics")
        found: dict[str, AdminError | None] = {}
        for topic in topics:
            there = (
                AdminError(ErrorCode.TOPIC_ALREADY_EXISTS, "exists") if topic.name in self.topics else None
            )
            found[topic.name] = self.refuse.get(("create_topics", topic.name)) or there
            if found[topic.name] is None:
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
                topic = self.topics[name]
                topic.placement += [topic.placement[0]] * (total - topic.partitions)
                topic.partitions = total
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

    async def list_moves(self) -> dict[Partition, MoveView]:
        """As the protocol."""
        self._called("list_moves")
        found = {}
        for place, target in self.moves.items():
            now = self.topics[place.topic].placement[place.number].replicas
            found[place] = MoveView(
                tuple(node for node in target if node not in now),
                tuple(node for node in now if node not in target),
            )
        return found

    async def move_replicas(
        self, targets: Mapping[Partition, Sequence[int]]
    ) -> dict[Partition, AdminError | None]:
        """As the protocol: another order of the same replicas needs no time."""
        self._called("move_replicas")
        for place, target in targets.items():
            one = self.topics[place.topic].placement[place.number]
            if set(target) == set(one.replicas):
                self.topics[place.topic].placement[place.number] = one._replace(replicas=tuple(target))
            else:
                self.moves[place] = tuple(target)
        return dict.fromkeys(targets)

    async def cancel_moves(self, partitions: Sequence[Partition]) -> dict[Partition, AdminError | None]:
        """As the protocol."""
        self._called("cancel_moves")
        for place in partitions:
            self.moves.pop(place, None)
        return dict.fromkeys(partitions)

    async def elect_preferred(self, partitions: Sequence[Partition]) -> dict[Partition, AdminError | None]:
        """As the protocol."""
        self._called("elect_preferred")
        found: dict[Partition, AdminError | None] = {}
        for place in partitions:
            one = self.topics[place.topic].placement[place.number]
            first = one.replicas[0]
            if first in one.in_sync and first not in self.fenced:
                self.topics[place.topic].placement[place.number] = one._replace(leader=first)
                found[place] = None
            else:
                found[place] = AdminError(ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, "not in sync")
        return found

    async def partition_loads(self) -> dict[Partition, PartitionLoad]:
        """As the protocol."""
        self._called("partition_loads")
        return dict(self.loads)

    def finish_moves(self, *places: Partition) -> None:
        """Everything that is on its way arrives, or these moves alone."""
        for place in places or tuple(self.moves):
            target = self.moves.pop(place)
            topic = self.topics[place.topic]
            before = topic.placement[place.number].leader
            leader = before if before in target else target[0]
            topic.placement[place.number] = PartitionView(leader, target, target)
            topic.replicas = max(len(one.replicas) for one in topic.placement)

    async def replica_bytes(self) -> dict[Partition, int]:
        """As the protocol: of what was said."""
        self._called("replica_bytes")
        return dict(self.sizes)

    async def broker_overrides(self) -> dict[str, str]:
        """As the protocol."""
        self._called("broker_overrides")
        return dict(self.overrides)

    async def alter_brokers(self, change: ConfigChange) -> AdminError | None:
        """As the protocol."""
        self._called("alter_brokers")
        self.overrides.update(change.set)
        for name in change.remove:
            self.overrides.pop(name, None)
        return None

    async def may_stop(self, broker_id: int) -> tuple[Obstacle, ...]:
        """As the protocol."""
        self._called("may_stop")
        short = tuple(
            Obstacle(f"{name}-{number} would be below its min.insync.replicas", Partition(name, number))
            for name, topic in self.topics.items()
            for number, one in enumerate(topic.placement)
            if broker_id in one.in_sync and len(one.in_sync) <= self.min_isr and len(one.replicas) > 1
        )
        return (*self.busy.get(broker_id, ()), *short)

    def replicas_follow(self, serving: Collection[int]) -> None:
        """Replicas of brokers that serve are in sync, others are not; a leader that serves not is replaced."""
        for topic in self.topics.values():
            for number, one in enumerate(topic.placement):
                in_sync = tuple(node for node in one.replicas if node in serving)
                leader = one.leader if one.leader in in_sync else next(iter(in_sync), None)
                topic.placement[number] = PartitionView(leader, one.replicas, in_sync or one.in_sync[:1])
            topic.leaderless = sum(one.leader is None for one in topic.placement)

    async def remove_voter(self, voter: QuorumMember) -> AdminError | None:
        """As the protocol."""
        self._called("remove_voter")
        self.voters.discard(voter.id)
        return None

    async def unregister(self, broker_id: int) -> AdminError | None:
        """As the protocol."""
        self._called("unregister")
        self.forgotten.add(broker_id)
        return None

    async def offsets_at(
        self, partitions: Sequence[Partition], place: Edge | int
    ) -> dict[Partition, int | AdminError]:
        """As the protocol; a time counts as an offset, so that 5 is the sixth record."""
        self._called("offsets_at")
        found: dict[Partition, int | AdminError] = {}
        for partition in partitions:
            start, end = self.topics[partition.topic].logs.get(partition.number, (0, 0))
            if refused := self.refuse.get(("offsets_at", str(partition))):
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
