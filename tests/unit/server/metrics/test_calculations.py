"""Quantiles, rates, elections and lag: what is computed for metrics, without a broker."""

import pytest

from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.base.timings import Timings
from moldau_broker.coordinator.offsets import CommittedOffset
from moldau_broker.metadata.delta import MetadataDelta
from moldau_broker.metadata.image import RECOVERING, MetadataImage, PartitionImage, TopicImage
from moldau_broker.server.metrics.elections import ElectionCounter
from moldau_broker.server.metrics.lag_rows import GroupRows, fill_records, topic_rows
from moldau_broker.server.metrics.quantiles import WINDOW_MS, RecentTimings, quantile_ms
from moldau_broker.server.metrics.rates import LogRates

TOPIC, NAMESAKE = Uuid(b"a" * 16), Uuid(b"b" * 16)


def test_quantile_lies_within_its_bucket():
    """A hundred values of 3 ms and one of a second: the median is near the first, the last percent near the second."""
    timings = Timings()
    for _ in range(100):
        timings.record(3_000_000)
    timings.record(1_000_000_000)
    assert 2.048 <= quantile_ms(timings.buckets, 0.5) <= 4.096
    assert 524 <= quantile_ms(timings.buckets, 0.999) <= 1048.576
    assert quantile_ms([0] * 24, 0.5) is None


def test_quantile_beyond_the_last_bound_is_that_bound():
    """A minute is somewhere above four seconds; the histogram knows no more."""
    timings = Timings()
    timings.record(60_000_000_000)
    assert quantile_ms(timings.buckets, 0.99) == pytest.approx(4194.304)


def test_recent_timings_forget():
    """A bad minute is gone from the quantiles after five; without requests there is nothing recent."""
    recent, timings = RecentTimings(), Timings()
    timings.record(1_000_000_000)
    assert sum(recent.buckets(0, timings)) == 1
    for now in range(30_000, WINDOW_MS + 90_000, 30_000):
        timings.record(1_000)
        buckets = recent.buckets(now, timings)
    assert 9 <= sum(buckets) <= 12
    assert quantile_ms(buckets, 0.999) < 0.01
    for now in range(WINDOW_MS * 2, WINDOW_MS * 4, 30_000):
        buckets = recent.buckets(now, timings)
    assert sum(buckets) == 0


def test_log_rates_belong_to_the_role():
    """What grows the log is the leader's append or the follower's fetch; a truncation is neither."""
    rates = LogRates()
    assert rates.per_second() == (0, 0)
    rates.sample(0, 100, leads=True)
    rates.sample(5_000, 150, leads=True)
    assert rates.per_second() == (10, 0)
    rates.sample(10_000, 140, leads=False)
    rates.sample(15_000, 170, leads=False)
    assert rates.per_second() == (50 / 15, 30 / 15)
    for now in range(20_000, 60_000, 5_000):
        rates.sample(now, 170, leads=False)
    assert rates.per_second() == (0, 0)


def _image(*partitions):
    topic = TopicImage("t", TOPIC, tuple(partitions))
    return MetadataImage("c", topics={"t": topic}, topics_by_id={TOPIC: topic})


def _partition(leader, state=0):
    return PartitionImage((1, 2), (NULL_UUID, NULL_UUID), (1, 2), leader, 1, 1, leader_recovery_state=state)


@pytest.mark.parametrize(
    ("before", "after", "elections", "unclean"),
    [
        (_partition(1), _partition(2), 1, 0),
        (_partition(1), _partition(-1), 0, 0),
        (_partition(-1), _partition(2, RECOVERING), 1, 1),
        (_partition(1), _partition(1)._replace(partition_epoch=2), 0, 0),
    ],
)
def test_election_is_counted_by_the_controller(before, after, elections, unclean):
    """A new leader is one, losing one is none; every other node counts nothing."""
    delta = MetadataDelta(_image(before), _image(after))
    for active in (True, False):
        counter = ElectionCounter(lambda active=active: active)
        counter.follow(delta, delta.after)
        assert (counter.elections, counter.unclean) == ((elections, unclean) if active else (0, 0))


def _commit(offset, topic_id=TOPIC):
    return CommittedOffset(offset, -1, "", 0, topic_id=topic_id)


def test_lag_is_never_negative_and_counts_what_can_be_read():
    """Beyond the end there is none; below the log's start only what is still there counts."""
    rows = topic_rows("t", TOPIC, 4, {0: _commit(50), 1: _commit(3), 2: _commit(9), 3: _commit(0)})
    fill_records(rows, [(0, 40), (10, 15), (0, 9), None])
    assert rows.records == [0, 5, 0, None]
    assert rows.lag is None, "half a sum is no sum"


def test_commits_of_a_deleted_topic_are_not_shown():
    """A namesake made later has another id; a commit of before such ids were kept is taken to be meant."""
    commits = {0: _commit(5, NAMESAKE), 1: _commit(6), 2: _commit(7, NULL_UUID), 9: _commit(8)}
    assert topic_rows("t", TOPIC, 3, commits).indexes == [1, 2]
    assert topic_rows("t", TOPIC, 3, {0: _commit(5, NAMESAKE)}) is None


def test_seconds_are_the_age_of_the_first_record_behind():
    """By its timestamp, zero without lag, unknown without a timestamp, never below zero."""
    rows = topic_rows("t", TOPIC, 4, {index: _commit(5) for index in range(4)})
    fill_records(rows, [(0, 5), (0, 6), (0, 6), (0, 6)])
    rows.stamps = [None, 7_000, None, 99_000]
    assert [rows.seconds(at, 10_000) for at in range(4)] == [0.0, 3.0, None, 0.0]


def test_group_totals_are_known_as_a_whole_or_not_at_all():
    """Sum and maxima over everything committed; one unknown partition makes them unknown, as does no commit."""
    rows = topic_rows("t", TOPIC, 2, {0: _commit(5), 1: _commit(5)})
    fill_records(rows, [(0, 15), (0, 8)])
    rows.stamps = [1_000, 4_000]
    group = GroupRows("g", 0, "Stable", 1, [rows])
    assert (group.lag, group.max_lag, group.max_seconds(5_000)) == (13, 10, 4.0)
    rows.stamps[1] = None
    assert group.max_seconds(5_000) is None
    rows.records[1] = None
    assert (group.lag, group.max_lag) == (None, None)
    assert GroupRows("g", 0, "Empty", 0, []).lag is None
