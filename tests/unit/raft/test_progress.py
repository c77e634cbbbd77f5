"""The high watermark: what a majority holds on disk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moldau_broker.base.ids import Uuid
from moldau_broker.raft.progress import Progress
from moldau_broker.raft.quorum import Voter, VoterKey, VoterSet


def voters(size: int) -> VoterSet:
    return VoterSet(Voter(VoterKey(i, Uuid(bytes([i + 1]) * 16)), ()) for i in range(size))


def test_progress_of_one_follows_the_own_disk() -> None:
    """A quorum of one commits what it has flushed, and nothing before."""
    alone = voters(1)
    progress = Progress(alone, epoch_start=5)
    assert progress.high_watermark is None
    assert progress.record(alone.keys[0], 7)
    assert progress.high_watermark == 7
    assert not progress.record(alone.keys[0], 6)
    assert progress.high_watermark == 7


def test_progress_commits_nothing_before_an_entry_of_its_own_epoch() -> None:
    """Old entries on a majority are not committed by counting alone.

    Reference: Raft section 5.4.2, figure 8.
    """
    three = voters(3)
    progress = Progress(three, epoch_start=10)
    for key in three.keys:
        assert not progress.record(key, 10)
    assert progress.high_watermark is None
    assert not progress.record(three.keys[0], 11)
    assert progress.record(three.keys[1], 11)
    assert progress.high_watermark == 11


def test_progress_ignores_those_who_do_not_vote() -> None:
    """An observer's disk commits nothing."""
    three = voters(3)
    observer = VoterKey(9, Uuid(b"o" * 16))
    progress = Progress(three, epoch_start=0)
    progress.record(three.keys[0], 5)
    assert not progress.record(observer, 5)
    assert progress.high_watermark is None


@given(
    size=st.sampled_from([1, 2, 3, 5]),
    reports=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=40),
    epoch_start=st.integers(0, 10),
)
def test_progress_high_watermark_is_the_largest_offset_a_majority_holds(
    size: int, reports: list[tuple[int, int]], epoch_start: int
) -> None:
    """Monotone, and equal to the plain definition after every report."""
    quorum = voters(size)
    progress = Progress(quorum, epoch_start)
    held = dict.fromkeys(quorum.keys, 0)
    best = None
    for index, end in reports:
        key = quorum.keys[index % size]
        progress.record(key, end)
        held[key] = max(held[key], end)
        committed = max(
            (offset for offset in range(32) if sum(e >= offset for e in held.values()) >= quorum.majority),
            default=0,
        )
        if committed > epoch_start:
            best = max(best or 0, committed)
        assert progress.high_watermark == best
