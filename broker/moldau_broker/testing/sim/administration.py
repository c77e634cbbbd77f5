"""An administrator of the simulated cluster: makes the topics, moves replicas, asks for preferred leaders."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.controller import OPERATIONS
from moldau_broker.testing.sim.client import Client
from moldau_broker.testing.sim.network import Broken
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from moldau_broker.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions

if TYPE_CHECKING:
    from moldau_broker.testing.sim.controller_cluster import ControllerCluster
    from moldau_broker.testing.sim.swarm import TopicPlan


class Administrator(Client):
    """One administrator, who asks nodes until one of them is the controller."""

    cluster: ControllerCluster

    def __init__(self, cluster: ControllerCluster, host_id: int) -> None:
        super().__init__(cluster, host_id)
        self._controller = 1

    def _ask(self, key: ApiKey, request: Any, on_answer: Callable[[Any], None]) -> None:
        self.cluster.network.call(self.host, self._controller, ("controller", key, request), on_answer)

    # -- topics -------------------------------------------------------------------------------------------

    def create_topics(self, done: Callable[[], None]) -> None:
        """Create every topic of the plan, then call `done`."""
        brokers = self.cluster.images.newest.brokers
        if sum(not broker.fenced for broker in brokers.values()) < len(self.cluster.nodes):
            self.kernel.after(50, self.create_topics, done)
            return
        nodes = self.cluster.node_ids()
        request = CreateTopicsRequest(
            topics=[new_topic(plan, nodes, self.rng) for plan in self.cluster.plans]
        )

        def answered(answer: Any) -> None:
            ok = not isinstance(answer, Broken) and all(
                topic.error_code in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS)
                for topic in answer.topics
            )
            if ok:
                done()
                return
            self._controller = self.rng.choice(self.cluster.node_ids())
            self.kernel.after(50, self.create_topics, done)

        self._ask(ApiKey.CREATE_TOPICS, request, answered)

    # -- the nemesis' wishes ------------------------------------------------------------------------------

    def administer(self, kind: str, rng: Random) -> bool:
        """Ask once; whatever becomes of it."""
        key = ApiKey.ALTER_PARTITION_REASSIGNMENTS if kind == "reassign" else ApiKey.ELECT_LEADERS
        leader = self.cluster.leader()
        if key not in OPERATIONS or leader is None:
            return False
        self._controller = leader.key.node_id
        topic, index = rng.choice(self.cluster.keys)
        request: Any
        if kind == "reassign":
            image = self.cluster.images.newest.partition(topic, index)
            if image is None:
                return False
            replicas = rng.sample(self.cluster.node_ids(), len(image.replicas) - len(image.adding))
            partition = ReassignablePartition(partition_index=index, replicas=replicas)
            request = AlterPartitionReassignmentsRequest(
                topics=[ReassignableTopic(name=topic, partitions=[partition])]
            )
        else:
            request = ElectLeadersRequest(
                election_type=0, topic_partitions=[TopicPartitions(topic=topic, partitions=[index])]
            )

        def answered(answer: Any) -> None:
            if not isinstance(answer, Broken) and answer.error_code == 0:
                self.cluster.coverage.hit(f"administrator: {kind}")

        self._ask(key, request, answered)
        return True


def new_topic(plan: TopicPlan, nodes: list[int], rng: Random) -> CreatableTopic:
    """A topic as planned, its replicas wherever chance puts them."""
    return CreatableTopic(
        name=plan.name,
        num_partitions=-1,
        replication_factor=-1,
        assignments=[
            CreatableReplicaAssignment(
                partition_index=index, broker_ids=rng.sample(nodes, plan.replication_factor)
            )
            for index in range(plan.partitions)
        ],
        configs=[CreatableTopicConfig(name="min.insync.replicas", value=str(plan.min_insync))],
    )
