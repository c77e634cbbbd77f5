"""Brokers are emptied, and internal topics grow with the cluster."""

from __future__ import annotations

import pytest

from moldau_broker.base.broker_config import GroupSettings
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.topics import CONSUMER_OFFSETS
from moldau_broker.metadata.auto_topics import auto_create_topics
from moldau_broker.metadata.drain import Drain, Move, drain_broker
from moldau_broker.metadata.leaders_control import balance_leaders
from moldau_broker.metadata.operation import ControllerSettings, Refusal, Result, View
from moldau_broker.metadata.reassignments import Reassigner
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from moldau_broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from moldau_broker.wire.messages.unregister_broker import UnregisterBrokerRequest


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


# -- cordoned --------------------------------------------------------------------------------------------------


def cordon(bench: ControlBench, broker: int, value: str | None = "*") -> int:
    """As draining does it; the error of the answer."""
    change = AlterableConfig(
        name="cordoned.log.dirs", config_operation=1 if value is None else 0, value=value
    )
    resource = AlterConfigsResource(resource_type=4, resource_name=str(broker), configs=[change])
    request = IncrementalAlterConfigsRequest(resources=[resource])
    response = bench.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, request)
    return int(response.responses[0].error_code)


def created(bench: ControlBench, name: str, partitions: int, factor: int) -> int:
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=factor)
    response = bench.ask(ApiKey.CREATE_TOPICS, CreateTopicsRequest(topics=[topic]))
    return int(response.topics[0].error_code)


@pytest.fixture
def cordoned() -> ControlBench:
    """Four brokers, of which 1 is drained."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3, 4)
    bench.create_topic("t", [[1, 2, 3]])
    assert cordon(bench, 1) == 0
    return bench


def test_a_cordoned_broker_gets_no_new_replicas(cordoned: ControlBench) -> None:
    """Not by placement, not by name, not by a move, not by growing; where only it is left, the topic is refused."""
    assert created(cordoned, "many", 40, 3) == 0
    held = {broker for one in cordoned.image.topics["many"].partitions for broker in one.replicas}
    assert held == {2, 3, 4}
    assert created(cordoned, "all", 1, 4) == ErrorCode.INVALID_REPLICATION_FACTOR
    with pytest.raises(AssertionError, match="it is drained"):
        cordoned.create_topic("named", [[1, 2]])
    topic = cordoned.image.topics["many"]

    def move(view: View) -> Result[Refusal | None]:
        return Result(Reassigner(view).move(topic, 0, (1, 2, 3)))

    refused = cordoned.run(move)
    assert refused is not None
    assert refused.error is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert drain(cordoned, 2).refused is not None  # three replicas, and 1 does not count as a place


def test_a_cordoned_broker_leads_only_what_nobody_else_can(cordoned: ControlBench) -> None:
    """It keeps what it leads; it is elected last, and not given back what would be its by preference."""
    assert cordoned.partition("t").leader == 1
    cordoned.create_topic("other", [[2, 3, 4]])
    cordon(cordoned, 3)
    cordoned.kill(2)
    assert cordoned.partition("other").leader == 4
    cordoned.kill(4)
    assert cordoned.partition("other").leader == 3
    cordoned.restart(4, clean=True)
    cordoned.restart(2, clean=True)
    cordoned.alter_isr("other", [2, 3, 4])
    cordoned.kill(1)
    assert cordoned.partition("t").leader in {2, 3}
    cordoned.restart(1, clean=True)
    cordoned.alter_isr("t", [1, 2, 3])
    leader = cordoned.partition("t").leader
    cordoned.run(balance_leaders)
    assert cordoned.partition("t").leader == leader != 1


def test_a_broker_that_is_not_drained_any_more_gets_replicas_again(cordoned: ControlBench) -> None:
    """And so does another one that comes under the id of one that was drained and unregistered."""
    assert cordon(cordoned, 1, None) == 0
    assert created(cordoned, "four", 1, 4) == 0
    cordon(cordoned, 4)
    cordoned.kill(4)
    cordoned.ask(ApiKey.UNREGISTER_BROKER, UnregisterBrokerRequest(broker_id=4))
    assert not cordoned.image.is_cordoned(4)
    cordoned.add_brokers(4)
    assert created(cordoned, "again", 1, 4) == 0


def test_only_a_broker_of_its_own_is_cordoned() -> None:
    """All at once makes no sense, and there is one directory to name."""
    bench = ControlBench()
    bench.add_brokers(1)
    change = AlterableConfig(name="cordoned.log.dirs", config_operation=0, value="*")
    request = IncrementalAlterConfigsRequest(
        resources=[AlterConfigsResource(resource_type=4, resource_name="", configs=[change])]
    )
    response = bench.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, request)
    assert response.responses[0].error_code == ErrorCode.INVALID_REQUEST
    assert cordon(bench, 1, "/data") == ErrorCode.INVALID_REQUEST
    assert not bench.image.is_cordoned(1)


# -- what new topics get --------------------------------------------------------------------------------------


def test_defaults_of_new_topics_change_while_brokers_run() -> None:
    """For the whole cluster, whoever is the controller; a broker has none of its own."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3)

    def alter(broker: str, name: str, value: str | None) -> int:
        change = AlterableConfig(name=name, config_operation=1 if value is None else 0, value=value)
        resource = AlterConfigsResource(resource_type=4, resource_name=broker, configs=[change])
        response = bench.ask(
            ApiKey.INCREMENTAL_ALTER_CONFIGS, IncrementalAlterConfigsRequest(resources=[resource])
        )
        return int(response.responses[0].error_code)

    def shape(name: str) -> tuple[int, int]:
        assert created(bench, name, -1, -1) == 0
        partitions = bench.image.topics[name].partitions
        return len(partitions), len(partitions[0].replicas)

    assert shape("before") == (1, 1)
    assert alter("", "default.replication.factor", "3") == 0
    assert alter("", "num.partitions", "6") == 0
    assert shape("after") == (6, 3)
    assert alter("", "num.partitions", "0") == ErrorCode.INVALID_REQUEST
    assert alter("1", "num.partitions", "2") == ErrorCode.INVALID_REQUEST
    assert alter("", "num.partitions", None) == 0
    assert shape("again") == (1, 3)
