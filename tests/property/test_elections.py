"""Whatever brokers do and suffer, nobody who lacks committed records is elected, unless that was allowed.

Real controller; brokers are a model of ISR replication that knows only what it is told: each acts on the metadata it
last saw, answers get lost, and a crash takes what was not fsynced. A leader commits what every member of the largest
ISR that may be in force has fetched, while that ISR is large enough (KIP-966); a follower is proposed for the ISR
once it reached the high watermark and the leader's epoch.
"""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from moldau_broker.metadata.elections import RulesInForce
from moldau_broker.metadata.image import NO_LEADER, RECOVERED, MetadataImage, PartitionImage
from moldau_broker.metadata.operation import View
from moldau_broker.metadata.records import decode, encode
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.metadata.snapshot_records import snapshot_records
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages import incremental_alter_configs as configs
from moldau_broker.wire.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionRequestPartitionData,
    AlterPartitionRequestTopicData,
    BrokerState,
)
from moldau_broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from moldau_broker.wire.messages.elect_leaders import ElectLeadersRequest
from moldau_broker.wire.messages.metadata_records import PartitionChangeRecord
from moldau_broker.wire.schema import Struct

BROKERS = (1, 2, 3, 4)
TOPICS = ("safe", "loose")
"""`loose` may be led by anybody."""

brokers = st.sampled_from(BROKERS)
topics = st.sampled_from(TOPICS)


class Replica:
    """One broker's copy of one partition."""

    def __init__(self) -> None:
        self.log: list[int] = []
        self.fsynced = 0
        # As a leader: who fetched up to where, as which incarnation, in which leader epoch.
        self.epoch = -1
        self.fetched: dict[int, tuple[int, int]] = {}
        self.epoch_start = 0
        self.high_watermark = 0
        self.maybe_in_sync: set[int] = set()


class Elections(RuleBasedStateMachine):
    """A cluster of four brokers and two partitions."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = ControlBench()
        self.bench.add_brokers(*BROKERS)
        for topic in TOPICS:
            self.bench.create_topic(
                topic,
                [[1, 2, 3]],
                min_insync_replicas="2",
                unclean_leader_election_enable=str(topic == "loose").lower(),
            )
        self.bench.observe = self.changed
        self.alive = set(BROKERS)
        self.directories = {broker: broker for broker in BROKERS}
        self.seen = dict.fromkeys(BROKERS, self.bench.image)
        self.epochs = {broker: self.bench.image.brokers[broker].epoch for broker in BROKERS}
        self.replicas = {(broker, topic): Replica() for broker in BROKERS for topic in TOPICS}
        self.committed: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        self.values = 0

    # -- what the controller writes -----------------------------------------------------------------------

    def changed(self, before: MetadataImage, written: tuple[Struct, ...], after: MetadataImage) -> None:
        touched = [record.topic_id for record in written if isinstance(record, PartitionChangeRecord)]
        assert len(touched) == len(set(touched)), "one change of a partition in one write"
        for topic in TOPICS:
            old, new = before.topics[topic].partitions[0], after.topics[topic].partitions[0]
            is_touched = after.topics[topic].topic_id in touched
            assert new.partition_epoch - old.partition_epoch == is_touched
            assert new.leader_epoch - old.leader_epoch in ({0, 1} if is_touched else {0})
            if new.leader != old.leader:
                assert new.leader_epoch == old.leader_epoch + 1
                self.elected(topic, new)

    def elected(self, topic: str, partition: PartitionImage) -> None:
        if partition.leader == NO_LEADER:
            return
        log = self.replicas[partition.leader, topic].log
        if partition.leader_recovery_state == RECOVERED:
            assert log[: len(self.committed[topic])] == self.committed[topic], "committed records are lost"
        else:
            # Allowed to lose; what is committed now is what the leader has of it.
            common = 0
            for ours, theirs in zip(self.committed[topic], log, strict=False):
                if ours != theirs:
                    break
                common += 1
            self.committed[topic] = self.committed[topic][:common]

    # -- what brokers do ----------------------------------------------------------------------------------

    def view_of(self, broker: int, topic: str) -> PartitionImage:
        return self.seen[broker].topics[topic].partitions[0]

    def leads(self, broker: int, topic: str) -> bool:
        return broker in self.alive and self.view_of(broker, topic).leader == broker

    def lead(self, broker: int, topic: str) -> Replica:
        """The leader's state; begins anew with each leader epoch it learns of."""
        replica, partition = self.replicas[broker, topic], self.view_of(broker, topic)
        if replica.epoch != partition.leader_epoch:
            replica.epoch = partition.leader_epoch
            replica.fetched = {}
            replica.epoch_start = len(replica.log)
            replica.high_watermark = min(replica.high_watermark, len(replica.log))
            replica.maybe_in_sync = set()
        return replica

    def advance(self, broker: int, topic: str) -> None:
        replica, partition = self.lead(broker, topic), self.view_of(broker, topic)
        replica.fsynced = len(replica.log)
        image = self.seen[broker]
        rules = RulesInForce(View(image, 0, self.bench.settings, Random(0))).of(topic)
        if len(partition.isr) < min(rules.min_insync, len(partition.replicas)):
            return
        others = {*partition.isr, *replica.maybe_in_sync} - {broker}
        reached = min([len(replica.log), *(replica.fetched.get(one, (0, 0))[0] for one in others)])
        if reached <= replica.high_watermark:
            return
        replica.high_watermark = reached
        known, fresh = self.committed[topic], replica.log[:reached]
        shorter = min(len(known), len(fresh))
        assert known[:shorter] == fresh[:shorter], "two histories are committed"
        if len(fresh) > len(known):
            self.committed[topic] = fresh

    @rule(broker=brokers, topic=topics)
    def write(self, broker: int, topic: str) -> None:
        if self.leads(broker, topic):
            self.values += 1
            self.lead(broker, topic).log.append(self.values)

    @rule(broker=brokers, topic=topics)
    def fetch(self, broker: int, topic: str) -> None:
        """A follower copies its leader's log, fsyncs it and says so, if both are of the same leader epoch."""
        mine = self.view_of(broker, topic)
        leader = mine.leader
        if broker not in self.alive or leader in {broker, NO_LEADER} or broker not in mine.replicas:
            return
        if not self.leads(leader, topic) or self.view_of(leader, topic).leader_epoch != mine.leader_epoch:
            return
        if broker not in self.view_of(leader, topic).replicas:
            return
        source, replica = self.lead(leader, topic), self.replicas[broker, topic]
        replica.log = list(source.log)
        replica.fsynced = len(replica.log)
        replica.high_watermark = source.high_watermark
        source.fetched[broker] = (len(replica.log), self.epochs[broker])
        self.advance(leader, topic)

    @rule(broker=brokers)
    def learn(self, broker: int) -> None:
        """A broker sees the newest metadata."""
        if broker in self.alive:
            self.seen[broker] = self.bench.image
            for topic in TOPICS:
                if self.leads(broker, topic):
                    replica = self.lead(broker, topic)
                    replica.maybe_in_sync -= set(self.view_of(broker, topic).isr)
                    self.advance(broker, topic)

    @rule(broker=brokers, other=brokers, topic=topics, lost=st.booleans())
    def expand(self, broker: int, other: int, topic: str, lost: bool) -> None:
        if not self.leads(broker, topic):
            return
        replica, partition = self.lead(broker, topic), self.view_of(broker, topic)
        reached, epoch = replica.fetched.get(other, (-1, -1))
        if other in partition.isr or reached < max(replica.high_watermark, replica.epoch_start):
            return
        replica.maybe_in_sync.add(other)
        if not self.alter(broker, topic, [*partition.isr, other], {other: epoch}, lost=lost):
            replica.maybe_in_sync.discard(other)

    @rule(broker=brokers, other=brokers, topic=topics, lost=st.booleans())
    def shrink(self, broker: int, other: int, topic: str, lost: bool) -> None:
        partition = self.view_of(broker, topic)
        if self.leads(broker, topic) and other != broker and other in partition.isr:
            self.alter(broker, topic, [one for one in partition.isr if one != other], {}, lost=lost)

    def alter(self, broker: int, topic: str, isr: list[int], epochs: dict[int, int], *, lost: bool) -> bool:
        """Whether the change may be in force."""
        seen, partition = self.seen[broker], self.view_of(broker, topic)
        members = [
            BrokerState(broker_id=one, broker_epoch=epochs.get(one, seen.brokers[one].epoch)) for one in isr
        ]
        wanted = AlterPartitionRequestPartitionData(
            partition_index=0,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            leader_recovery_state=RECOVERED,
            new_isr_with_epochs=members,
        )
        response = self.bench.ask(
            ApiKey.ALTER_PARTITION,
            AlterPartitionRequest(
                broker_id=broker,
                broker_epoch=self.epochs[broker],
                topics=[
                    AlterPartitionRequestTopicData(topic_id=seen.topics[topic].topic_id, partitions=[wanted])
                ],
            ),
        )
        if lost:
            return True
        if response.error_code or response.topics[0].partitions[0].error_code:
            return False
        self.learn(broker)
        return True

    @rule(topic=topics)
    def calm(self, topic: str) -> None:
        """Nothing goes wrong for a while: records are written and acknowledged, whoever can catch up does."""
        for _ in range(3):
            for broker in BROKERS:
                self.heartbeat(broker)
                self.learn(broker)
            for broker in BROKERS:
                self.write(broker, topic)
            for broker in BROKERS:
                self.fetch(broker, topic)
            for broker in BROKERS:
                for other in BROKERS:
                    self.expand(broker, other, topic, lost=False)

    # -- what brokers suffer ------------------------------------------------------------------------------

    @rule(broker=brokers, noticed=st.booleans())
    def kill(self, broker: int, noticed: bool) -> None:
        if broker not in self.alive:
            return
        self.alive.discard(broker)
        for topic in TOPICS:
            replica = self.replicas[broker, topic]
            replica.log = replica.log[: replica.fsynced]
        if noticed:
            self.bench.kill(broker)

    @rule(broker=brokers)
    def lose_session(self, broker: int) -> None:
        """The controller takes a broker for dead that is not."""
        self.bench.core.report_dead(broker, self.bench.image.brokers[broker].epoch)
        self.bench.tick()

    @rule(broker=brokers)
    def heartbeat(self, broker: int) -> None:
        if broker in self.alive and self.bench.image.brokers[broker].epoch == self.epochs[broker]:
            self.bench.heartbeat(broker, offset=self.seen[broker].offset)

    @rule(broker=brokers, wiped=st.booleans())
    def restart(self, broker: int, wiped: bool) -> None:
        """After a kill; unclean. With a wiped disk nothing is left."""
        if broker in self.alive:
            return
        if wiped:
            self.lose_session(broker)
            self.directories[broker] += 10
            for topic in TOPICS:
                self.replicas[broker, topic] = Replica()
        self.come(broker, clean=False)

    def come(self, broker: int, *, clean: bool) -> None:
        response = self.bench.register(broker, clean=clean, directory=self.directories[broker])
        assert response.error_code == 0
        self.alive.add(broker)
        self.epochs[broker] = response.broker_epoch
        self.seen[broker] = self.bench.image
        for topic in TOPICS:
            self.replicas[broker, topic].epoch = -1

    @rule(broker=brokers)
    def bounce(self, broker: int) -> None:
        """A controlled shutdown as far as it gets in two heartbeats, and a clean start."""
        if broker not in self.alive:
            return
        if self.bench.image.brokers[broker].epoch == self.epochs[broker]:
            for _ in range(2):
                self.bench.heartbeat(broker, offset=self.seen[broker].offset, want_shut_down=True)
        for topic in TOPICS:
            replica = self.replicas[broker, topic]
            replica.fsynced = len(replica.log)
        self.come(broker, clean=True)

    @rule()
    def change_controller(self) -> None:
        self.bench.fail_over()

    # -- what operators do --------------------------------------------------------------------------------

    @rule(topic=topics, wanted=st.one_of(st.none(), st.permutations(BROKERS)), count=st.integers(1, 3))
    def reassign(self, topic: str, wanted: list[int] | None, count: int) -> None:
        replicas = None if wanted is None else wanted[:count]
        self.bench.ask(
            ApiKey.ALTER_PARTITION_REASSIGNMENTS,
            AlterPartitionReassignmentsRequest(
                topics=[
                    ReassignableTopic(
                        name=topic, partitions=[ReassignablePartition(partition_index=0, replicas=replicas)]
                    )
                ]
            ),
        )

    @rule()
    def prefer(self) -> None:
        self.bench.ask(ApiKey.ELECT_LEADERS, ElectLeadersRequest(topic_partitions=None))

    @rule(topic=topics, count=st.integers(1, 3))
    def set_min_insync(self, topic: str, count: int) -> None:
        one = configs.AlterableConfig(name="min.insync.replicas", value=str(count))
        resource = configs.AlterConfigsResource(resource_type=2, resource_name=topic, configs=[one])
        request = configs.IncrementalAlterConfigsRequest(resources=[resource])
        assert self.bench.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, request).responses[0].error_code == 0

    # -- what must hold -----------------------------------------------------------------------------------

    @invariant()
    def partitions_are_sound(self) -> None:
        image = self.bench.image
        rules = RulesInForce(self.bench.view)
        for topic in TOPICS:
            partition = image.topics[topic].partitions[0]
            leader, isr, elr = partition.leader, set(partition.isr), set(partition.elr)
            replicas = set(partition.replicas)
            assert len(isr) == len(partition.isr)
            assert len(replicas) == len(partition.replicas) == len(partition.directories)
            assert not isr & elr
            assert isr | elr | set(partition.adding) | set(partition.removing) <= replicas
            assert not set(partition.adding) & set(partition.removing)
            assert all(image.brokers[broker].active for broker in isr)
            assert leader in isr or leader == NO_LEADER
            assert not elr or len(isr) < rules.of(topic).min_insync
            assert partition.leader_recovery_state == RECOVERED or len(isr) <= 1
            assert topic == "loose" or not partition.last_known_elr or leader == NO_LEADER

    @invariant()
    def nobody_waits_who_could_lead(self) -> None:
        image = self.bench.image
        for topic in TOPICS:
            partition = image.topics[topic].partitions[0]
            if partition.leader == NO_LEADER:
                able = partition.replicas if topic == "loose" else partition.isr or partition.elr
                assert not any(image.brokers[broker].active for broker in able)

    @invariant()
    def image_survives_its_snapshot(self) -> None:
        replay = ImageReplay(MetadataImage(self.bench.image.cluster_id))
        for record in snapshot_records(self.bench.image):
            replay.replay(decode(encode(record)))
        assert replay.image(self.bench.image.offset, self.bench.image.epoch) == self.bench.image


TestElections = Elections.TestCase
TestElections.settings = settings(stateful_step_count=60, max_examples=60, deadline=None)
