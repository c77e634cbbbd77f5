"""Replication throttles: rates kept over time, whom they hold back, where the settings come from."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.image import ResourceType
from moldau_broker.replication.throttle import UNLIMITED, Throttle
from moldau_broker.testing.replica_cluster import ReplicaCluster

LEADER, FOLLOWER = "leader.replication.throttled.rate", "follower.replication.throttled.rate"


def test_no_rate_holds_nothing_back() -> None:
    """Kafka's default."""
    throttle = Throttle()
    throttle.record(10**12, 0)
    assert throttle.delay_ms(0) == 0


@pytest.mark.parametrize("answer", [100, 1_000, 50_000])
def test_a_rate_is_kept_over_time_whatever_the_size_of_an_answer(answer: int) -> None:
    """Whoever waits as long as told gets what the rate says, and one second's worth at the start."""
    throttle, now, sent = Throttle(), 0, 0
    throttle.change(1_000, now)
    while now < 100_000:
        delay = throttle.delay_ms(now)
        if delay:
            now += delay
        else:
            throttle.record(answer, now)
            sent += answer
    assert 100_000 - answer <= sent <= 101_000 + answer


def test_idle_time_is_not_saved_up() -> None:
    """An hour without traffic allows one second's worth at once, not an hour's."""
    throttle = Throttle()
    throttle.change(1_000, 0)
    throttle.record(1_000, 3_600_000)
    assert throttle.delay_ms(3_600_000) > 0


def test_a_debt_is_bounded() -> None:
    """In-sync traffic is counted and not held back; who moves must not wait for hours afterwards."""
    throttle = Throttle()
    throttle.change(1_000, 0)
    for _ in range(1_000):
        throttle.record(1_000, 0)
    assert throttle.delay_ms(10_001) == 0


def test_a_higher_rate_pays_the_debt_sooner_and_none_at_once() -> None:
    """Raising or dropping the throttle while replicas move has effect."""
    throttle = Throttle()
    throttle.change(100, 0)
    throttle.record(100_000, 0)
    assert throttle.delay_ms(0) == 1_000, "it looks again from time to time"
    throttle.change(100_000_000, 0)
    assert 0 < throttle.delay_ms(0) <= 2
    throttle.change(UNLIMITED, 0)
    assert throttle.delay_ms(0) == 0


def test_rate_zero_stops_the_move() -> None:
    """As in Kafka; and it goes on once the rate is raised."""
    throttle = Throttle()
    throttle.change(0, 0)
    assert throttle.delay_ms(10**9) == 1_000
    throttle.change(10, 10**9)
    assert throttle.delay_ms(10**9 + 1_000) == 0


# --- on brokers -------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> ReplicaCluster:
    """Node 3 has a replica that is out of sync; both sides name it."""
    made = ReplicaCluster()
    made.create_topic(
        "t", leader_replication_throttled_replicas="0:1", follower_replication_throttled_replicas="0:3"
    )
    made.change("t", isr=(1, 2))
    return made


def set_rates(cluster: ReplicaCluster, rate: str, *, node: str = "") -> None:
    key = (int(ResourceType.BROKER), node)
    cluster.publish(configs={**cluster.image.configs, key: {LEADER: rate, FOLLOWER: rate}})


def test_a_leader_holds_back_whom_it_names_and_only_out_of_sync(cluster: ReplicaCluster) -> None:
    """An in-sync follower is never held back: it would leave the ISR. Its bytes count all the same."""
    set_rates(cluster, "1000")
    throttles, partition = cluster.nodes[1].replicas.throttles, cluster.partition("t", 1)
    assert not throttles.holds_back_answer(partition, 3), "nothing was sent yet"
    throttles.answered(partition, 5_000)
    assert throttles.holds_back_answer(partition, 3)
    assert not throttles.holds_back_answer(partition, 2)
    cluster.nodes[1].clock.advance(5_001)
    assert not throttles.holds_back_answer(partition, 3)


def test_a_follower_holds_itself_back_until_it_is_in_sync(cluster: ReplicaCluster) -> None:
    """By its own list, which names other brokers than the leader's."""
    set_rates(cluster, "1000")
    out = cluster.nodes[3].replicas.throttles
    out.fetched(cluster.partition("t", 3), 5_000)
    assert out.fetch_delay_ms(cluster.partition("t", 3)) == 1_000
    in_sync = cluster.nodes[2].replicas.throttles
    in_sync.fetched(cluster.partition("t", 2), 5_000)
    assert in_sync.fetch_delay_ms(cluster.partition("t", 2)) == 0
    cluster.change("t", isr=(1, 2, 3))
    assert out.fetch_delay_ms(cluster.partition("t", 3)) == 0


def test_rates_follow_the_dynamic_settings(cluster: ReplicaCluster) -> None:
    """A broker's own over those of all; gone means no bound."""
    set_rates(cluster, "1000")
    set_rates(cluster, "7", node="3")
    rates = {node_id: bench.replicas.throttles.follower.rate for node_id, bench in cluster.nodes.items()}
    assert rates == {1: 1000, 2: 1000, 3: 7}
    cluster.publish(configs={key: value for key, value in cluster.image.configs.items() if key[0] == 2})
    assert cluster.nodes[3].replicas.throttles.follower.rate == UNLIMITED


def test_a_throttle_is_forgotten_with_its_topic_setting(cluster: ReplicaCluster) -> None:
    """kafka-reassign-partitions --verify takes the lists away."""
    set_rates(cluster, "1000")
    throttles, partition = cluster.nodes[1].replicas.throttles, cluster.partition("t", 1)
    throttles.answered(partition, 5_000)
    assert throttles.holds_back_answer(partition, 3)
    cluster.publish(configs={key: value for key, value in cluster.image.configs.items() if key[0] != 2})
    assert not throttles.holds_back_answer(partition, 3)
    assert cluster.write("t").error is ErrorCode.NONE
