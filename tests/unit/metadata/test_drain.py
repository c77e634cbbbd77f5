"""Brokers are emptied, and internal topics grow with the cluster."""

from __future__ import annotations

from moldau_broker.base.broker_config import GroupSettings
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.metadata.auto_topics import auto_create_topics
from moldau_broker.metadata.drain import Drain, Move, drain_broker
from moldau_broker.metadata.operation import ControllerSettings
from moldau_broker.testing.control import ControlBench


def drain(cluster: ControlBench, broker_id: int) -> Drain:
    return cluster.run(lambda view: drain_broker(view, broker_id))


def complete(cluster: ControlBench) -> None:
    """Every replica catches up."""
    for topic in cluster.image.topics.values():
        for index, partition in enumerate(topic.partitions):
            if partition.adding:
                cluster.alter_isr(topic.name, partition.replicas, index)


def test_drain_moves_everything_to_the_emptiest_brokers() -> None:
    """In the place the drained broker had in each list; asked again, it waits, and then it is done."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3, 4)
    bench.create_topic("t", [[1, 2], [2, 1], [2, 3], [1, 3]])
    outcome = drain(bench, 1)
    assert outcome.begun == (Move("t", 0, (4, 2)), Move("t", 1, (2, 4)), Move("t", 3, (4, 3)))
    assert drain(bench, 1) == Drain(under_way=3)
    complete(bench)
    assert drain(bench, 1) == Drain()
    assert drain(bench, 1).done
    assert all(1 not in partition.replicas for partition in bench.image.topics["t"].partitions)


def test_drain_is_refused_where_too_few_brokers_are_left() -> None:
    """Nothing moves then; a broker that is down does not count."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3, 4)
    bench.create_topic("a", [[1, 2]])
    bench.create_topic("t", [[1, 2, 3]])
    bench.kill(4)
    outcome = drain(bench, 1)
    assert outcome.refused == (
        "partition t-0 cannot leave it: it has 3 replicas, and without broker 1 only 2 brokers are active"
    )
    assert (outcome.begun, bench.written) == ((), ())


def test_drain_keeps_replicas_in_as_many_racks() -> None:
    """The emptiest broker is passed over for one of a rack that is missing; without one it is refused."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3, 4, racks={1: "a", 2: "b", 3: "b", 4: "a"})
    bench.create_topic("t", [[1, 2], [4, 2]])
    assert [move.replicas for move in drain(bench, 1).begun] == [(4, 2)]
    complete(bench)
    outcome = drain(bench, 4)
    assert [move.replicas for move in outcome.begun] == [(1, 2), (1, 2)]
    complete(bench)
    bench.kill(4)
    refused = drain(bench, 1).refused
    assert refused is not None
    assert "its 2 replicas are in 2 racks" in refused


def test_drain_respects_capacity() -> None:
    """A full broker takes nothing more."""
    bench = ControlBench()
    bench.settings = bench.settings._replace(topics=type(bench.settings.topics)(partitions_per_broker_max=1))
    bench.add_brokers(1, 2)
    bench.create_topic("t", [[1], [2]])
    assert "max.partitions.per.broker" in (drain(bench, 1).refused or "")


def test_drain_of_an_unknown_broker_is_refused() -> None:
    """It might be a typing error."""
    assert drain(ControlBench(), 9).refused == "broker 9 is not registered"


def test_internal_topics_grow_when_brokers_come() -> None:
    """Once the brokers stopped coming for a while; leaderships spread over all of them."""
    groups = GroupSettings(offsets_partitions=6)
    bench = ControlBench(ControllerSettings(100, groups=groups))
    bench.add_brokers(1)
    bench.run(lambda view: auto_create_topics(view, [CONSUMER_OFFSETS]))
    bench.create_topic("mine", [[1]])
    bench.advance(4_000, alive=(1,))
    assert len(bench.partition(CONSUMER_OFFSETS).replicas) == 1
    bench.add_brokers(2)
    bench.tick()
    bench.advance(1_000, alive=(1, 2))
    bench.add_brokers(3)
    bench.tick()
    bench.advance(2_500, alive=(1, 2, 3))
    assert len(bench.partition(CONSUMER_OFFSETS).replicas) == 1
    bench.advance(1_000, alive=(1, 2, 3))
    partitions = bench.image.topics[CONSUMER_OFFSETS].partitions
    assert {len(partition.replicas) for partition in partitions} == {3}
    assert sorted(partition.replicas[0] for partition in partitions) == [1, 1, 2, 2, 3, 3]
    assert all(set(partition.adding) == {2, 3} and partition.leader == 1 for partition in partitions)
    assert len(bench.partition("mine").replicas) == 1
    complete(bench)
    bench.advance(10_000, alive=(1, 2, 3))
    partitions = bench.image.topics[CONSUMER_OFFSETS].partitions
    assert not any(partition.adding for partition in partitions)
    assert [partition.leader for partition in partitions] == [
        partition.replicas[0] for partition in partitions
    ], "coordinators spread at once, not minutes later"
    assert bench.core.next_deadline_ms is not None


def test_internal_topics_prefer_new_racks() -> None:
    """One replica in each, as far as racks go."""
    groups = GroupSettings(offsets_partitions=1, offsets_replication_factor=2)
    bench = ControlBench(ControllerSettings(100, groups=groups))
    bench.add_brokers(1, racks={1: "a"})
    bench.run(lambda view: auto_create_topics(view, [CONSUMER_OFFSETS]))
    bench.add_brokers(2, 3, racks={2: "a", 3: "b"})
    bench.tick()
    bench.advance(4_000, alive=(1, 2, 3))
    assert set(bench.partition(CONSUMER_OFFSETS).replicas) == {1, 3}
