"""Elections that somebody asks for, and leaderships that go home by themselves."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import RECOVERING
from moldau_broker.metadata.operation import ClusterSettings
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions

PREFERRED, UNCLEAN = 0, 1


@pytest.fixture
def cluster() -> ControlBench:
    """Three brokers; 1 died and came back, so 2 leads what names 1 first."""
    bench = ControlBench()
    bench.add_brokers(1, 2, 3)
    bench.create_topic("t", [[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    bench.kill(1)
    bench.restart(1)
    return bench


def elect(cluster: ControlBench, kind: int, *asked: tuple[str, int]) -> list[tuple[str, int, ErrorCode]]:
    topics = [TopicPartitions(topic=name, partitions=[index]) for name, index in asked]
    response = cluster.ask(
        ApiKey.ELECT_LEADERS, ElectLeadersRequest(election_type=kind, topic_partitions=topics or None)
    )
    assert response.error_code == 0
    return [
        (result.topic, one.partition_id, ErrorCode(one.error_code))
        for result in response.replica_election_results
        for one in result.partition_result
    ]


def test_preferred_election_needs_the_replica_in_sync(cluster: ControlBench) -> None:
    """Then the leadership moves, under a new epoch."""
    assert elect(cluster, PREFERRED, ("t", 0)) == [("t", 0, ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE)]
    cluster.alter_isr("t", [2, 3, 1])
    assert elect(cluster, PREFERRED, ("t", 0)) == [("t", 0, ErrorCode.NONE)]
    after = cluster.partition("t")
    assert (after.leader, after.leader_epoch) == (1, 2)
    assert elect(cluster, PREFERRED, ("t", 0)) == [("t", 0, ErrorCode.ELECTION_NOT_NEEDED)]


def test_election_of_everything_names_only_what_it_tried(cluster: ControlBench) -> None:
    """Partitions that are led as preferred are left out (KIP-460)."""
    cluster.alter_isr("t", [2, 3, 1])
    assert elect(cluster, PREFERRED) == [("t", 0, ErrorCode.NONE)]


def test_unclean_election_gives_a_leader_to_who_has_none(cluster: ControlBench) -> None:
    """Whatever the topic's setting: somebody asked for it. It is not needed where somebody leads."""
    assert elect(cluster, UNCLEAN, ("t", 0)) == [("t", 0, ErrorCode.ELECTION_NOT_NEEDED)]
    cluster.kill(2)
    cluster.kill(3)
    assert elect(cluster, UNCLEAN, ("t", 0)) == [("t", 0, ErrorCode.NONE)]
    after = cluster.partition("t")
    assert (after.leader, after.isr, after.leader_recovery_state) == (1, (1,), RECOVERING)
    cluster.kill(1)
    assert elect(cluster, UNCLEAN, ("t", 1)) == [("t", 1, ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE)]


def test_elections_of_what_is_not_there_are_refused(cluster: ControlBench) -> None:
    """Each for itself."""
    answers = elect(cluster, PREFERRED, ("nope", 0), ("t", 7))
    assert [error for *_, error in answers] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] * 2


def test_unknown_election_type_is_refused(cluster: ControlBench) -> None:
    """At the top: nothing was tried."""
    request = ElectLeadersRequest(election_type=7, topic_partitions=None)
    assert cluster.ask(ApiKey.ELECT_LEADERS, request).error_code == ErrorCode.INVALID_REQUEST


def test_leaderships_go_back_by_themselves(cluster: ControlBench) -> None:
    """At the interval, and only those whose preferred replica is in sync."""
    cluster.alter_isr("t", [2, 3, 1])
    cluster.advance(299_000, alive=(1, 2, 3))
    assert cluster.partition("t").leader == 2
    cluster.advance(1_500, alive=(1, 2, 3))
    assert cluster.partition("t").leader == 1


def test_balance_leaves_small_imbalances_and_can_be_switched_off() -> None:
    """Ten of a hundred is not more than ten percent."""
    for settings, moved in (
        (ClusterSettings(imbalance_check_ms=1_000), 0),
        (ClusterSettings(imbalance_check_ms=1_000, imbalance_percent=9), 10),
        (ClusterSettings(imbalance_check_ms=1_000, imbalance_percent=0, leader_rebalance=False), 0),
    ):
        bench = ControlBench()
        bench.settings = bench.settings._replace(cluster=settings)
        bench.add_brokers(1, 2)
        bench.create_topic("t", [[1, 2]] * 10)
        bench.create_topic("u", [[1, 2]] * 90)
        for index in range(10):
            bench.alter_isr("t", [1, 2], index)
        bench.fail_over()
        for broker in (1,):
            bench.kill(broker)
        bench.restart(1)
        for index in range(10):
            bench.alter_isr("t", [2, 1], index)
        for index in range(90):
            bench.alter_isr("u", [2, 1], index)
            elect(bench, PREFERRED, ("u", index))
        bench.advance(1_500, alive=(1, 2))
        assert sum(p.leader == 1 for p in bench.image.topics["t"].partitions) == moved
