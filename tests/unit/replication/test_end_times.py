"""Where a leader's log ended when: never later than it was, and in bounded memory."""

from __future__ import annotations

from random import Random

from moldau_broker.replication.end_times import ENTRIES_MAX, STEP_MS, EndTimes


def test_the_latest_time_at_which_it_did_not_end_beyond() -> None:
    """Between two entries the earlier one counts."""
    ends = EndTimes()
    assert not ends
    assert ends.reached(5) is None
    ends.note(10, 1_000)
    ends.note(20, 1_000 + STEP_MS)
    assert ends.reached(9) is None
    assert [ends.reached(end) for end in (10, 19, 20, 99)] == [1_000, 1_000, 1_100, 1_100]
    ends.passed(15, 30)
    assert [ends.reached(end) for end in (10, 20)] == [1_000, 1_100]
    ends.passed(25, 30)
    assert [ends.reached(end) for end in (10, 20)] == [None, 1_100]
    ends.passed(30, 30)
    assert not ends


def test_it_never_says_later_than_it_was() -> None:
    """Ten minutes of load, a follower behind by some seconds, up to nearly ten: at most 4 % of ten too early."""
    rng = Random(1)
    ends, truth, end, behind_ms = EndTimes(), [], 0, 0
    for now in range(0, 600_000, 50):
        end += rng.randrange(1, 1_000)
        ends.note(end, now)
        truth.append((now, end))
        behind_ms = max(0, min(9_500, behind_ms + rng.randrange(-45, 50)))
        at = len(truth) - 1 - behind_ms // 50
        if at >= 0:
            then, reached = truth[at]
            said = ends.reached(reached)
            assert said is not None
            assert then - 400 <= said <= then
            ends.passed(reached, end + 1)
    assert len(ends._entries) <= ENTRIES_MAX
