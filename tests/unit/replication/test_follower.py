"""What a follower asks, and where it cuts its log: every case of two logs that parted, by their leader epochs."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.replication.follower import Ask, Step, advise, ask, parting
from moldau_broker.storage.epochs import LeaderEpochs

ASKED = Ask(5, 10, 4, 0)


def test_the_epoch_asked_with_is_that_of_the_last_record() -> None:
    """Not the newest known: a leader that wrote nothing in its epoch would part from everybody for ever."""
    epochs = LeaderEpochs([(1, 0), (4, 6), (5, 10)])
    assert ask(6, 10, 0, epochs) == Ask(6, 10, 4, 0)
    assert ask(6, 11, 0, epochs) == Ask(6, 11, 5, 0)
    assert ask(6, 3, 3, epochs).last_epoch == -1, "nothing is in it"


@pytest.mark.parametrize(
    ("ours", "our_end", "epoch", "end", "cut"),
    [
        ([(0, 0)], 10, 0, 7, 7),  # the leader's epoch ended before our log does
        ([(0, 0), (2, 8)], 10, 1, 9, 8),  # it has an epoch we never saw: ours before it ended at 8
        ([(0, 0), (2, 5)], 10, 0, 9, 5),  # our epoch ended before the leader's did
        ([(3, 4)], 10, 1, 4, 4),  # all our epochs are younger
        ([], 10, 0, 4, 4),  # we know of none
        ([(0, 0)], 10, 0, 12, 10),  # never beyond our own end
    ],
)
def test_where_logs_part(ours: list[tuple[int, int]], our_end: int, epoch: int, end: int, cut: int) -> None:
    """The lower of where the leader's epoch ended and where ours did (KIP-279)."""
    assert parting(epoch, end, our_end, LeaderEpochs(ours)) == cut


def test_answers_lead_to_steps() -> None:
    """Append, truncate, begin anew, or ask again later."""
    epochs = LeaderEpochs([(4, 0)])
    assert advise(ASKED, 0, (-1, -1), 0, 10, epochs).step is Step.APPEND
    assert advise(ASKED, 0, (4, 7), 0, 10, epochs)[:2] == (Step.TRUNCATE, 7)
    gone = advise(ASKED, ErrorCode.OFFSET_OUT_OF_RANGE, (-1, -1), 20, 10, epochs)
    assert gone[:2] == (Step.RESTART, 20)
    assert advise(ASKED, ErrorCode.OFFSET_OUT_OF_RANGE, (-1, -1), -1, 10, epochs).step is Step.BACK_OFF
    for error in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH, 9_999):
        assert advise(ASKED, error, (-1, -1), -1, 10, epochs).step is Step.BACK_OFF
