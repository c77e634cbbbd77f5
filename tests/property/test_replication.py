"""Whatever is lost, late or dead: a record acknowledged with acks=all is on every disk that may lead next.

Real partitions on disks in memory. The controller elects any member of the ISR at any time and grants what leaders ask
for, late or never; brokers are deaf for a while and go on leading; a power failure takes what was not fsynced, of any
of them.
"""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import NO_LEADER, PartitionImage
from moldau_broker.testing.replica_cluster import ReplicaCluster

NODES = (1, 2, 3)
nodes = st.sampled_from(NODES)


class Cluster(ReplicaCluster):
    """Some of its brokers may not hear of new images for a while."""

    def __init__(self, seed: int) -> None:
        self.deaf: set[int] = set()
        super().__init__(len(NODES), seed=seed)

    def publish(self, **parts: object) -> None:
        """Only to those who hear."""
        self.image = self.image._replace(offset=self.image.offset + 1, **parts)  # type: ignore[arg-type]
        for node_id, bench in self.nodes.items():
            if node_id not in self.deaf:
                bench.follow(self.image)

    def hear(self, node_id: int) -> None:
        """It catches up."""
        if node_id in self.deaf:
            self.deaf.discard(node_id)
            self.nodes[node_id].follow(self.image)

    @property
    def now(self) -> PartitionImage:
        """The truth about the partition."""
        return self.image.topics["t"].partitions[0]


class Replication(RuleBasedStateMachine):
    """Rules are what may happen at any time."""

    @initialize(seed=st.integers(0, 1_000))
    def begin(self, seed: int) -> None:
        self.cluster = Cluster(seed)
        self.cluster.create_topic("t", min_insync_replicas="2")
        self.written = 0
        self.acknowledged: dict[int, bytes] = {}
        self.marks = dict.fromkeys(NODES, 0)

    def _told(self, offset: int, value: bytes, error: ErrorCode) -> None:
        if error is ErrorCode.NONE:
            assert offset not in self.acknowledged, "two records were acknowledged at one offset"
            self.acknowledged[offset] = value

    @rule(node=nodes)
    def write(self, node: int) -> None:
        """At anybody: those that do not lead refuse."""
        value = b"<%d>" % self.written
        self.written += 1
        outcome = self.cluster.write("t", value, node_id=node)
        if outcome.error is ErrorCode.NONE:
            told = partial(self._told, outcome.base_offset, value)
            self.cluster.partition("t", node).when_committed(outcome.next_offset, told)

    @rule(node=nodes)
    def fetch(self, node: int) -> None:
        """From whom the follower takes for the leader."""
        self.cluster.fetch("t", node)
        self.cluster.partition("t", node).request_commit()

    @rule(node=nodes)
    def flush(self, node: int) -> None:
        """One group commit."""
        self.cluster.nodes[node].committer.flush()

    @rule()
    def replicate(self) -> None:
        """A few rounds in which all goes well."""
        for _ in range(3):
            for node in NODES:
                self.fetch(node)
                self.flush(node)

    @rule(at=st.integers(0, 2))
    def elect(self, at: int) -> None:
        """Any member of the ISR."""
        isr = self.cluster.now.isr
        self.cluster.change("t", leader=isr[at % len(isr)])

    @rule(ms=st.sampled_from([100, 6_000, 10_001]))
    def wait(self, ms: int) -> None:
        """Leaders look who lags."""
        for bench in self.cluster.nodes.values():
            bench.clock.advance(ms)
            bench.replicas.tick()

    @rule()
    def grant(self) -> None:
        """The controller decides on what it was asked for; stale requests fall by their epochs."""
        self.cluster.decide()

    @rule(unheard=st.booleans())
    def lose_the_answers(self, unheard: bool) -> None:
        """The controller has decided; the leader learns it by an image, now or when it hears again."""
        cluster = self.cluster
        asked = cluster.controller.asked
        cluster.controller.asked = [(request, lambda _: None) for request, _ in asked]
        if unheard and cluster.now.leader != NO_LEADER:
            cluster.deaf.add(cluster.now.leader)
        cluster.decide()
        for _, answer in asked:
            answer(None)

    @rule(slow=st.sampled_from([0, *NODES]))
    def commit(self, slow: int) -> None:
        """One record, and a few rounds in which all goes well but for one broker."""
        leader = self.cluster.now.leader
        self.write(leader)
        for _ in range(3):
            for node in NODES:
                if node != slow:
                    self.flush(node)
                    self.fetch(node)
                    self.flush(node)

    @rule(node=nodes)
    def cut_off(self, node: int) -> None:
        """It may go on as a zombie."""
        self.cluster.deaf.add(node)

    @rule(node=nodes)
    def heal(self, node: int) -> None:
        self.cluster.hear(node)

    @rule(node=nodes, power=st.booleans(), after=st.integers(0, 2))
    def crash(self, node: int, power: bool, after: int) -> None:
        """It leads nothing before the controller has registered it anew."""
        self.cluster.hear(node)
        if self.cluster.now.leader == node:
            self.cluster.change("t", leader=NO_LEADER)
        self.cluster.restart(node, power_failure=power)
        self.marks[node] = 0
        if self.cluster.now.leader == NO_LEADER:
            self.elect(after)

    @rule()
    def power_failure(self) -> None:
        """Of the whole room."""
        for node in NODES:
            self.crash(node, True, 0)

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        """Whoever may be elected now has all of it."""
        for node in self.cluster.now.isr:
            data = self.cluster.values("t", node)
            missing = [value for value in self.acknowledged.values() if value not in data]
            assert not missing, f"{missing} acknowledged, and not on {node}"

    @invariant()
    def marks_do_not_go_back(self) -> None:
        """Of one incarnation; and nobody's is beyond its log."""
        for node in NODES:
            partition = self.cluster.partition("t", node)
            assert self.marks[node] <= partition.high_watermark <= partition.log_end_offset
            self.marks[node] = partition.high_watermark

    def teardown(self) -> None:
        """Once all is well again, all replicas are equal, and it goes on."""
        cluster = self.cluster
        for node in NODES:
            cluster.hear(node)
        for _ in range(4):
            cluster.decide()
            cluster.replicate()
            for bench in cluster.nodes.values():
                bench.replicas.tick()
        assert set(cluster.now.isr) == set(NODES)
        before = len(self.acknowledged)
        self.write(cluster.now.leader)
        cluster.replicate()
        assert len(self.acknowledged) == before + 1
        assert len({cluster.values("t", node) for node in NODES}) == 1
        self.nothing_acknowledged_is_lost()


TestReplication = Replication.TestCase
TestReplication.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_nothing_acknowledged_is_lost_in_long_histories(first: int) -> None:
    """The same rules, those that commit and those that lose drawn in a proportion that makes them meet."""
    acknowledged = 0
    for seed in range(first, first + 50):
        rng, machine = Random(seed), Replication()
        machine.begin(seed)
        for _ in range(80):
            _step(machine, rng)
            machine.nothing_acknowledged_is_lost()
            machine.marks_do_not_go_back()
        machine.teardown()
        acknowledged += len(machine.acknowledged)
    assert acknowledged > 50 * 3


_WEIGHTS = {
    "write": 6,
    "fetch": 10,
    "flush": 8,
    "commit": 6,
    "elect": 2,
    "wait": 2,
    "grant": 3,
    "lose_the_answers": 2,
    "cut_off": 1,
    "heal": 3,
    "crash": 2,
    "power_failure": 1,
}


def _step(machine: Replication, rng: Random) -> None:
    name = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    node, small = rng.choice(NODES), rng.randrange(3)
    arguments: dict[str, tuple[object, ...]] = {
        "commit": (rng.choice((0, *NODES)),),
        "elect": (small,),
        "wait": (rng.choice((100, 6_000, 10_001)),),
        "lose_the_answers": (rng.random() < 0.5,),
        "crash": (node, rng.random() < 0.5, small),
        "grant": (),
        "power_failure": (),
    }
    getattr(machine, name)(*arguments.get(name, (node,)))
