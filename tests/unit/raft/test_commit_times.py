"""How long appends take to be committed."""

from moldau_broker.raft.commit_times import WINDOW_MS, CommitTimes


def test_commit_times_average_over_the_last_half_minute():
    """Each append counts from when it was made; what is older than the window is forgotten."""
    times = CommitTimes()
    assert times.average_ms(0) is None
    times.appended(1, 100)
    times.appended(3, 110)
    times.committed(2, 120)
    assert times.average_ms(120) == 20
    times.committed(3, 150)
    assert times.average_ms(150) == 30
    assert times.average_ms(150 + WINDOW_MS + 1) is None


def test_commit_times_forget_what_another_leader_commits():
    """Who resigns does not know what became of its appends."""
    times = CommitTimes()
    times.appended(1, 0)
    times.forget()
    times.committed(1, 500)
    assert times.average_ms(500) is None
