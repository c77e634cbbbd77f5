"""Whole brokers: quorum, controller, replicated partitions, and clients that check what they are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

from moldau_broker.metadata.image import NO_LEADER, PartitionImage, TopicImage
from moldau_broker.testing.sim import disk_faults, group_ghost
from moldau_broker.testing.sim.client import Key
from moldau_broker.testing.sim.clients import Consumer, Producer
from moldau_broker.testing.sim.committers import Committer
from moldau_broker.testing.sim.controller_cluster import ControllerCluster
from moldau_broker.testing.sim.fleeting import Caretaker, Reader, Writer
from moldau_broker.testing.sim.members import Workers
from moldau_broker.testing.sim.node import SimNode
from moldau_broker.testing.sim.offsets_ghost import OFFSETS_TOPIC, OffsetsGhost
from moldau_broker.testing.sim.partition_ghost import PartitionGhost
from moldau_broker.testing.sim.partition_log import SimLog
from moldau_broker.testing.sim.replicas import Replicas
from moldau_broker.testing.sim.swarm import EXTRAS, LATE_ROT
from moldau_broker.testing.sim.topic_ghosts import TopicGhosts


class BrokerCluster(ControllerCluster):
    """Nodes that are everything.

    Attributes:
        partitions: what must hold for each partition.
        pause_ms: mean pause of a producer between two batches for one partition.
    """

    counters: tuple[str, ...] = (
        *ControllerCluster.counters,
        "replica truncations",
        "replica questions ahead",
        "record batches lost with power",
        "batches consumed",
        "batches consumed from followers",
        "produce retries",
        "duplicate batches answered",
        *disk_faults.ROT_COUNTERS,
        "replicas begun anew",
        "fetches that outlive a damaged log",
        "topics deleted",
        "topics made again",
        "strays set aside",
        "group coordinators loaded",
        "groups moved to another coordinator",
        "offset commits acknowledged",
        "offset commits read",
        *group_ghost.COUNTERS,
    )
    replicas_class = Replicas

    def __init__(
        self, seed: int, trace: Any = None, world: Any = None, extras: frozenset[str] = EXTRAS
    ) -> None:
        super().__init__(seed, trace, world, extras)
        self.partitions: dict[Key, PartitionGhost] = {}
        for plan in self.swarm.topics:
            for index in range(plan.partitions):
                key = (plan.name, index)
                self.partitions[key] = PartitionGhost(
                    f"{plan.name}-{index}",
                    self.coverage,
                    partial(self.log_of, key),
                    strict=min(plan.min_insync, plan.replication_factor) > 1,
                )
        self.written_keys = list(self.keys)
        self.offsets: OffsetsGhost | None = None
        if self.swarm.groups:
            self._found_offsets_topic()
        self.fleeting: TopicGhosts | None = None
        if self.swarm.fleeting is not None:
            self.fleeting = TopicGhosts(self.swarm.fleeting, self.coverage, self.log_of)
        streams = self.swarm.producers * len(self.written_keys)
        self.pause_ms = self.swarm.pause_ms * streams // 2

    def _found_offsets_topic(self) -> None:
        """Of one partition, made with the others, and written to by coordinators only."""
        self.plans = (*self.plans, OFFSETS_TOPIC)
        key = (OFFSETS_TOPIC.name, 0)
        self.keys.append(key)
        self.offsets = OffsetsGhost(f"{key[0]}-0", self.coverage, partial(self.log_of, key))
        self.partitions[key] = self.offsets

    def leads_offsets(self, node_id: int, epoch: int | None = None) -> bool:
        """Whether that node leads the offsets topic, in that epoch if one is given, as the controller has committed."""
        image = None if self.offsets is None else self.offsets.image
        return image is not None and image.leader == node_id and epoch in {None, image.leader_epoch}

    def log_of(self, key: Key, node_id: int) -> SimLog | None:
        """A replica's log, whether its node is up or down."""
        found: SimLog | None = self.nodes[node_id].disk.logs.get(key)
        return found

    def ghost_of(self, key: Key) -> PartitionGhost:
        """What must hold for a partition."""
        return self.partitions[key]

    def ghost_for(self, log: SimLog, node_id: int) -> PartitionGhost:
        """What must hold for the partition whose log a node opens or makes."""
        if self.fleeting is not None and log.topic == self.fleeting.name:
            return self.fleeting.found(log, node_id)
        return self.partitions[log.topic, log.partition]

    def living(self) -> Iterator[PartitionGhost]:
        """The partitions of all topics that are there."""
        yield from self.partitions.values()
        if self.fleeting is not None:
            yield from self.fleeting.living(self.images.newest.topics.get(self.fleeting.name))

    def partition_changed(self, topic: TopicImage, index: int, partition: PartitionImage) -> None:
        """The controller has committed a change of a partition."""
        super().partition_changed(topic, index, partition)
        fleeting = self.fleeting
        if fleeting is not None and topic.name == fleeting.name:
            fleeting.of(topic.topic_id, index).changed(partition)
        else:
            self.partitions[topic.name, index].changed(partition)

    def topic_deleted(self, topic: TopicImage) -> None:
        """The controller has committed the end of a topic."""
        super().topic_deleted(topic)
        assert self.fleeting is not None, "no other topic is ever deleted"
        self.fleeting.deleted(topic)

    # -- nodes --------------------------------------------------------------------------------------------

    def after_crash(self, node: SimNode, *, power_cut: bool) -> None:
        """Of every log's unsynced batches some are gone."""
        super().after_crash(node, power_cut=power_cut)
        for key, log in list(node.disk.logs.items()):
            if isinstance(log, SimLog):
                checkpoint = node.disk.files.get(("checkpoint", key), 0)
                node.disk.logs[key], lost = log.reopened(
                    self._crash_rng, power_cut=power_cut, checkpoint=checkpoint
                )
                self.coverage.hit("record batches lost with power", lost)

    def may_wipe(self, node_id: int) -> bool:
        """Every partition's true log must be whole on another in-sync replica."""
        if not super().may_wipe(node_id):
            return False
        for ghost in self.living():
            image = ghost.image
            if image is None or ghost.wiped:
                return False
            others = [member for member in image.isr if member != node_id and self._is_registered(member)]
            if node_id in image.replicas and not any(ghost.holds(member) for member in others):
                return False
        return True

    def _is_registered(self, node_id: int) -> bool:
        """Whether the controller knows this life of the broker: what it is called in sync for is not taken back now."""
        broker = self.brokers.get(node_id)
        return self.is_up(node_id) and broker is not None and broker.session.epoch > 0

    def wipe(self, node_id: int) -> None:
        """An empty disk."""
        super().wipe(node_id)
        for ghost in self.living():
            ghost.lost_disk(node_id)

    def flip_bit(self, node_id: int, rng: Random) -> bool:
        """Damage a replicated batch of a partition that is otherwise in perfect order; a scrub comes within seconds.

        Only where min.insync.replicas keeps two copies of what is replicated: elsewhere the whole one may lawfully
        leave the ISR, and then the damaged one is the only one. Nor where a whole one is about to die.
        """
        network = self.swarm.network
        if LATE_ROT not in self.extras and (network.duplicate or network.slow):
            return False
        keys = [key for key in self.keys if self._may_rot(node_id, key)]
        if not keys:
            return False
        key = rng.choice(keys)
        log = self.log_of(key, node_id)
        assert log is not None, "it was looked at"
        end = self.partitions[key].end
        at = [at for at, stored in enumerate(log.batches) if stored.next <= end]
        log.flip_bit(at[-1] if rng.random() < 0.5 else rng.choice(at))  # the newest one is about to be read
        scrub_ms = 500 + rng.randrange(4_000)
        self.kernel.after(scrub_ms, self.scrub)
        if LATE_ROT in self.extras and rng.random() < 0.5:
            self.kernel.after(
                scrub_ms - rng.randrange(300), self._stall_fetches, node_id, key, rng.randrange(900)
            )
        return True

    def _stall_fetches(self, node_id: int, key: Key, beyond_ms: int) -> None:
        """What a damaged replica asks arrives only when it may have been set aside and begun anew."""
        image = self.partitions[key].image
        if self.chaos and image is not None and image.leader not in {NO_LEADER, node_id}:
            self.coverage.hit("fetches that outlive a damaged log")
            self.network.stall(node_id, image.leader, "fetch", self.kernel.now + 600 + beyond_ms)

    def _may_rot(self, node_id: int, key: Key) -> bool:
        ghost = self.partitions[key]
        image = ghost.image
        log = self.log_of(key, node_id)
        if image is None or not ghost.strict or ghost.wiped or log is None or node_id not in image.replicas:
            return False
        if not ghost.holds(node_id) or not any(stored.next <= ghost.end for stored in log.batches):
            return False
        everybody = self.node_ids()
        return (
            set(image.isr) == set(image.replicas)
            and all(self._is_registered(member) and ghost.holds(member) for member in image.replicas)
            and all(self.nodes[member].disk.dies_in < 0 for member in image.replicas if member != node_id)
            and not any(self._is_damaged(member, key) for member in everybody)
        )

    def _is_damaged(self, node_id: int, key: Key) -> bool:
        log = self.log_of(key, node_id)
        return log is not None and (log.failure is not None or log.is_damaged)

    def is_fragile(self) -> bool:
        """While a replica is damaged, no further fault may take the whole ones away."""
        return super().is_fragile() or self._is_rotten()

    def _is_rotten(self) -> bool:
        nodes = self.node_ids()
        return bool(self.coverage["bits flipped"]) and any(
            self._is_damaged(node_id, key) for key in self.keys for node_id in nodes
        )

    def stopped(self, node: SimNode) -> None:
        """The process has ended in order."""
        super().stopped(node)
        self._start_beside_damage(node)

    def died_halfway(self, node: SimNode) -> None:
        """See `Cluster`."""
        super().died_halfway(node)
        self._start_beside_damage(node)

    def _start_beside_damage(self, node: SimNode) -> None:
        """Beside damage nothing else would have it started again, where its end was long in coming."""
        if self.chaos and self._is_rotten():
            self.kernel.after(1_000, self.restart, node.id)

    def scrub(self) -> None:
        """Damage that nobody came upon is looked for, on every node that runs."""
        for node in self.nodes.values():
            for layer in node.layers:
                replicas = getattr(layer, "replicas", None)
                if isinstance(replicas, Replicas):
                    node.run(replicas.scrub)

    # -- work ---------------------------------------------------------------------------------------------

    def begin_work(self) -> None:
        """Topics, then producers and consumers."""
        self.producers: list[Producer] = []
        self.consumers: list[Consumer] = []
        self.committers: list[Committer] = []
        self.workers: Workers | None = None
        self.caretaker: Caretaker | None = None
        self.reader: Reader | None = None
        super().begin_work()

    def begin_clients(self) -> None:
        """Producers and consumers."""
        written = self.written_keys
        self.producers = [Producer(self, 110 + at, written) for at in range(self.swarm.producers)]
        self.consumers = [Consumer(self, 150 + at, written) for at in range(self.swarm.consumers)]
        if self.offsets is not None:
            key, ghost = (OFFSETS_TOPIC.name, 0), self.offsets
            self.committers = [Committer(self, 180 + at, key, ghost) for at in range(self.swarm.groups)]
            if self.swarm.members is not None:
                self.workers = Workers(self, 190, key, ghost)
        plan, ghosts = self.swarm.fleeting, self.fleeting
        if plan is not None and ghosts is not None:
            key = (plan.name, 0)
            self.caretaker = Caretaker(self, 170, plan)
            self.producers.append(Writer(self, 171, key, ghosts))
            self.reader = Reader(self, 172, key, ghosts)

    def end_work(self) -> None:
        """Producers finish what they began."""
        super().end_work()
        for producer in self.producers:
            producer.finishing = True
        for committer in self.committers:
            committer.finishing = True
        if self.workers is not None:
            self.workers.finish()
        if self.caretaker is not None:
            self.caretaker.finish()

    def not_converged(self) -> str | None:
        """Every replica has everything, everything is consumed, nobody waits."""
        reason = super().not_converged()
        if reason is not None:
            return reason
        for key, ghost in self.partitions.items():
            reason = self._unsettled(key, ghost, self.consumers if key in self.written_keys else ())
            if reason is not None:
                return f"{ghost.name}: {reason}"
        if self.fleeting is not None:
            reason = self._fleeting_unsettled(self.fleeting)
            if reason is not None:
                return f"{self.fleeting.name}: {reason}"
        if any(stream.busy for producer in self.producers for stream in producer.streams):
            return "a producer waits"
        if any(not committer.finished for committer in self.committers):
            return "a group's client waits"
        if self.workers is not None and self.offsets is not None and self.offsets.image is not None:
            reason = self.workers.unsettled(self.offsets.image.leader)
            return None if reason is None else f"{group_ghost.GROUP}: {reason}"
        return None

    def _fleeting_unsettled(self, ghosts: TopicGhosts) -> str | None:
        assert self.caretaker is not None, "its work has begun"
        assert self.reader is not None, "its work has begun"
        if self.caretaker.busy:
            return "its caretaker has not come to an end"
        for node_id, broker in self.brokers.items():
            left_over = broker.replicas.directory.left_over(ghosts.dead)
            if left_over is not None:
                return f"node {node_id} still has {left_over} of one that was deleted"
        topic = self.images.newest.topics.get(ghosts.name)
        for index, ghost in enumerate(ghosts.living(topic)):
            image = ghost.image
            if image is None or set(image.isr) != set(image.replicas) or image.leader == NO_LEADER:
                return f"not settled: {image}"
            if self.reader.topic_ids.get(ghosts.name) != ghost.topic_id:
                return "its reader does not know it yet"
            reason = self._unsettled((ghosts.name, index), ghost, [self.reader])
            if reason is not None:
                return reason
        return None

    def _unsettled(self, key: Key, ghost: PartitionGhost, consumers: Sequence[Consumer]) -> str | None:
        assert ghost.image is not None, "somebody leads"
        for replica in ghost.image.replicas:
            log = self.log_of(key, replica)
            if log is None or log.log_end_offset != ghost.end or log.durable_offset != ghost.end:
                return f"replica {replica} has {log} of {ghost.end}"
        for consumer in consumers:
            if consumer.positions[key] != ghost.end:
                return f"a consumer is at {consumer.positions[key]} of {ghost.end}"
        return None

    def check_end(self) -> None:
        """Every replica is the true log."""
        super().check_end()
        for ghost in self.living():
            assert ghost.image is not None, "it converged"
            for replica in ghost.image.replicas:
                log = ghost.log_of(replica)
                assert log is not None, "it converged"
                ghost.settled(replica, log)
            self.kernel.mix(ghost.end, len(ghost.truth))
