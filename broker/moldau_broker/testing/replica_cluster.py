"""Several brokers' replicas of the same topics, each on a disk of its own, without sockets, loop or waiting.

cluster = ReplicaCluster(3)
cluster.create_topic("t")
cluster.write("t", b"v")
cluster.replicate()              # followers fetch, and make durable, until nothing moves any more
cluster.power_failure(2)
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid, random_uuid
from moldau_broker.metadata.image import NO_LEADER, BrokerImage, MetadataImage, PartitionImage, TopicImage
from moldau_broker.replication.follower import Ask
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Partition
from moldau_broker.testing.logs import make_batch
from moldau_broker.testing.replicas import ReplicaBench
from moldau_broker.wire.batches import iter_batches
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    AlterPartitionResponsePartitionData,
    AlterPartitionResponseTopicData,
)
from moldau_broker.wire.messages.assign_replicas_to_dirs import AssignReplicasToDirsRequest
from moldau_broker.wire.schema import Struct

Answer = Callable[[AlterPartitionResponse | None], None]


class ManualController:
    """Takes what replica managers ask and leaves it until a test decides.

    Attributes:
        asked, lost: AlterPartition and AssignReplicasToDirs requests, and how to answer them, oldest first.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[AlterPartitionRequest, Answer]] = []
        self.lost: list[tuple[AssignReplicasToDirsRequest, Callable[[Any], None]]] = []

    def ask_soon(self, request: Struct, on_answer: Callable[[Any], None]) -> None:
        """See `replication.lost.ControllerSender`."""
        if isinstance(request, AlterPartitionRequest):
            self.asked.append((request, on_answer))
        else:
            assert isinstance(request, AssignReplicasToDirsRequest)
            self.lost.append((request, on_answer))


class ReplicaCluster:
    """Replica managers that follow one image, which a test changes; partitions are numbered 0.

    Attributes:
        nodes: a bench for each broker, by id.
        controller: where all ask for ISRs.
    """

    def __init__(self, size: int = 3, *, seed: int = 1) -> None:
        self._rng = Random(seed)  # noqa: S311 - a test is to be repeatable
        self.controller = ManualController()
        self.nodes = {
            node_id: ReplicaBench(node_id=node_id, seed=seed + node_id, controller=self.controller)
            for node_id in range(1, size + 1)
        }
        self.image = MetadataImage("cluster")
        self.publish(
            brokers={
                node_id: BrokerImage(node_id, 100 + node_id, Uuid(bytes(16)), False, False, None, {})
                for node_id in self.nodes
            }
        )

    # --- the image ------------------------------------------------------------------------------------

    def publish(self, **parts: object) -> None:
        """The next image, with these parts of it changed."""
        self.image = self.image._replace(offset=self.image.offset + 1, **parts)  # type: ignore[arg-type]
        for bench in self.nodes.values():
            bench.follow(self.image)

    def create_topic(self, name: str, *, leader: int = 1, **settings: str) -> None:
        """With a replica on every broker, all in sync."""
        everyone = tuple(self.nodes)
        one = PartitionImage(
            replicas=everyone,
            directories=(Uuid(bytes(16)),) * len(everyone),
            isr=everyone,
            leader=leader,
            leader_epoch=0,
            partition_epoch=0,
        )
        topic = TopicImage(name, random_uuid(self._rng), (one,))
        config = {key.replace("_", "."): value for key, value in settings.items()}
        self.publish(
            topics={**self.image.topics, name: topic},
            topics_by_id={**self.image.topics_by_id, topic.topic_id: topic},
            configs={**self.image.configs, (2, name): config} if config else self.image.configs,
        )

    def change(self, name: str, *, leader: int | None = None, isr: tuple[int, ...] | None = None) -> None:
        """Another leader (which begins a new leader epoch, the same one again too), another ISR."""
        topic = self.image.topics[name]
        before = topic.partitions[0]
        after = before._replace(
            isr=before.isr if isr is None else isr,
            leader=before.leader if leader is None else leader,
            leader_epoch=before.leader_epoch + (leader is not None),
            partition_epoch=before.partition_epoch + 1,
        )
        changed = topic._replace(partitions=(after,))
        self.publish(
            topics={**self.image.topics, name: changed},
            topics_by_id={**self.image.topics_by_id, topic.topic_id: changed},
        )

    def fence(self, node_id: int) -> None:
        """The controller no longer believes in that broker."""
        broker = self.image.brokers[node_id]._replace(fenced=True)
        self.publish(brokers={**self.image.brokers, node_id: broker})

    def partition(self, name: str, node_id: int) -> Partition:
        """The replica there."""
        return self.nodes[node_id].partition(name)

    def leader(self, name: str) -> Partition:
        """The replica that leads."""
        return self.partition(name, self.image.topics[name].partitions[0].leader)

    # --- the controller -------------------------------------------------------------------------------

    def decide(self, error: ErrorCode = ErrorCode.NONE) -> list[tuple[int, ...]]:
        """Answer all that was asked; what is granted is published too. Gives the ISRs that were asked for."""
        wanted = []
        while self.controller.asked:
            request, answer = self.controller.asked.pop(0)
            topics = []
            for topic in request.topics:
                name = self.image.topics_by_id[Uuid(topic.topic_id)].name
                parts = []
                for part in topic.partitions:
                    isr = tuple(member.broker_id for member in part.new_isr_with_epochs)
                    wanted.append(isr)
                    before = self.image.topics[name].partitions[0]
                    verdict = error
                    if part.partition_epoch != before.partition_epoch:
                        verdict = ErrorCode.INVALID_UPDATE_VERSION
                    if verdict is ErrorCode.NONE:
                        self.change(name, isr=isr)
                    now = self.image.topics[name].partitions[0]
                    parts.append(
                        AlterPartitionResponsePartitionData(
                            partition_index=0,
                            error_code=verdict,
                            leader_id=now.leader,
                            leader_epoch=now.leader_epoch,
                            isr=now.isr,
                            partition_epoch=now.partition_epoch,
                        )
                    )
                topics.append(AlterPartitionResponseTopicData(topic_id=topic.topic_id, partitions=parts))
            answer(AlterPartitionResponse(topics=topics))
        return wanted

    # --- data -----------------------------------------------------------------------------------------

    def write(
        self, name: str, *values: bytes, node_id: int | None = None, all_in_sync: bool = True
    ) -> AppendOutcome:
        """Append one batch at the leader, or at a node that believes to be it."""
        partition = self.leader(name) if node_id is None else self.partition(name, node_id)
        bench = self.nodes[node_id or self.image.topics[name].partitions[0].leader]
        batch = bench.accepted(make_batch(values or (b"v",)))
        return partition.append(batch, bench.clock.wall_ms(), all_in_sync=all_in_sync)

    def fetch(self, name: str, node_id: int, *, from_id: int | None = None, max_bytes: int = 1 << 20) -> bool:
        """One fetch of a follower, as the handler answers it; whether its log changed. Nothing is flushed."""
        follower = self.partition(name, node_id)
        if follower.leader_id == NO_LEADER or follower.is_leader:
            return False
        leader = self.partition(name, from_id or follower.leader_id)
        asked = follower.ask()
        if asked is None:
            return False
        before = (follower.log_end_offset, follower.log.generation)
        self._answer(follower, leader, asked, max_bytes, node_id)
        return before != (follower.log_end_offset, follower.log.generation)

    def _answer(
        self, follower: Partition, leader: Partition, asked: Ask, max_bytes: int, node_id: int
    ) -> None:
        now = self.nodes[node_id].clock.wall_ms()
        error = leader.leadership_error(asked.leader_epoch, for_replica=True)
        diverging, records = (-1, -1), None
        if error is ErrorCode.NONE and asked.last_epoch >= 0:
            epoch, end = leader.log.end_offset_for(asked.last_epoch)
            if epoch < asked.last_epoch or end < asked.offset:
                diverging = (epoch, end)
        if error is ErrorCode.NONE and diverging == (-1, -1):
            broker_epoch = self.image.brokers[node_id].epoch
            error = leader.fetched_by(node_id, broker_epoch, asked.offset, asked.log_start)
            if error is ErrorCode.NONE:
                read = leader.read(
                    asked.offset, max_bytes, committed=False, min_one=True, wait=True, to_end=True
                )
                assert read is not None
                error, records = read.error, read.records
        follower.take(
            asked,
            error,
            None if records is None else bytes(records),
            diverging,
            leader.high_watermark,
            leader.log_start_offset,
            now,
        )

    def flush(self, *node_ids: int) -> None:
        """Make durable what those brokers (all by default) were asked to."""
        for node_id in node_ids or tuple(self.nodes):
            self.nodes[node_id].committer.flush_all()

    def replicate(self, name: str = "t", *, only: tuple[int, ...] | None = None) -> None:
        """Flush and fetch, by all brokers or among those, until nothing moves any more."""
        members = only or tuple(self.nodes)
        before: object = None
        for _ in range(100):
            now = []
            for node_id in members:
                self.flush(*members)
                partition = self.partition(name, node_id)
                if partition.leader_id in members:
                    self.fetch(name, node_id)
                if partition.log.durable_offset < partition.log_end_offset:
                    partition.request_commit()
                now.append((partition.log_end_offset, partition.log.durable_offset, partition.high_watermark))
            if now == before:
                return
            before = now
        raise AssertionError(f"it does not come to rest: {before}")

    def restart(self, node_id: int, *, power_failure: bool = False) -> None:
        """Kill a broker and start it again; with a power failure, what it had not fsynced may be gone."""
        bench = self.nodes[node_id]
        bench.restart(clean=False, power_failure=self._rng if power_failure else None)

    def values(self, name: str, node_id: int) -> bytes:
        """All bytes of a replica."""
        log = self.partition(name, node_id).log
        found, offset = b"", log.log_start_offset
        while offset < log.log_end_offset:
            data = bytes(log.read(offset, 1 << 20))
            found += data
            _, last = list(iter_batches(data))[-1]
            offset = last.base_offset + last.last_offset_delta + 1
        return found
