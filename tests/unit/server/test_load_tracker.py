"""Moving averages of what partitions carry."""

from math import exp

import pytest

from moldau_broker.server.load_tracker import LoadTracker, Rates

NOTHING = (0, 0, 0)


def _steady(tracker, *, seconds, rate, at=0, seen=NOTHING):
    for _ in range(0, seconds, 5):
        at, seen = at + 5_000, tuple(count + 5 * step for count, step in zip(seen, rate, strict=True))
        tracker.sample(at, [("p", seen)])
    return at, seen


def test_load_needs_two_looks():
    """Counters alone say nothing about a rate."""
    tracker = LoadTracker()
    tracker.sample(0, [("p", (1_000, 0, 1))])
    assert tracker.load("p") is None
    assert tracker.load("q") is None
    tracker.sample(2_000, [("p", (3_000, 500, 21))])
    assert tracker.load("p").one_minute == Rates(1_000, 250, 10)
    assert tracker.load("p").five_minutes == Rates(1_000, 250, 10)


def test_load_follows_a_change_exponentially():
    """After one minute of silence 1/e of the minute's average is left, and more of the five minutes'."""
    tracker = LoadTracker()
    tracker.sample(0, [("p", (0, 0, 0))])
    at, seen = _steady(tracker, seconds=600, rate=(100, 50, 2))
    _steady(tracker, seconds=60, rate=(0, 0, 0), at=at, seen=seen)
    load = tracker.load("p")
    assert load.one_minute == pytest.approx(Rates(100 / exp(1), 50 / exp(1), 2 / exp(1)))
    assert load.five_minutes.bytes_in == pytest.approx(100 * exp(-1 / 5))


def test_load_does_not_depend_on_how_often_one_looks():
    """A late look weighs as much as the looks that were missed."""
    often, seldom = LoadTracker(), LoadTracker()
    for tracker in (often, seldom):
        tracker.sample(0, [("p", (0, 0, 0))])
        tracker.sample(5_000, [("p", (0, 0, 0))])
    for at in range(10, 70, 5):
        often.sample(at * 1000, [("p", ((at - 5) * 10, 0, 0))])
    seldom.sample(65_000, [("p", (600, 0, 0))])
    assert often.load("p").one_minute.bytes_in == pytest.approx(seldom.load("p").one_minute.bytes_in)


@pytest.mark.parametrize("again", [(0, 0, 0), (2_000, 0, 0)])
def test_load_begins_anew_with_its_replica(again):
    """Led elsewhere meanwhile, or opened anew with counters at zero: old rates are no news."""
    tracker = LoadTracker()
    tracker.sample(0, [("p", (0, 0, 0))])
    tracker.sample(5_000, [("p", (1_000, 0, 0))])
    tracker.sample(10_000, [])
    assert tracker.load("p") is None
    tracker.sample(15_000, [("p", again)])
    assert tracker.load("p") is None


def test_load_forgets_when_counters_fall():
    """A counter that falls belongs to another replica of the same name."""
    tracker = LoadTracker()
    tracker.sample(0, [("p", (1_000, 0, 0))])
    tracker.sample(5_000, [("p", (2_000, 0, 0))])
    tracker.sample(10_000, [("p", (10, 0, 0))])
    assert tracker.load("p") is None


def test_load_survives_two_looks_at_the_same_time():
    """No division by nothing."""
    tracker = LoadTracker()
    tracker.sample(0, [("p", (0, 0, 0))])
    tracker.sample(0, [("p", (10, 0, 0))])
    tracker.sample(1_000, [("p", (20, 0, 0))])
    assert tracker.load("p").one_minute.bytes_in == 20
