"""When a fetch answer has enough: worth sending for a consumer, quick to make for a follower."""

from __future__ import annotations

import pytest

from moldau_broker.base.limits import FETCH_ANSWER_BYTES_ENOUGH
from moldau_broker.server.fetch_budget import REPLICA_ANSWER_MS, FetchBudget

MIB = 1 << 20


@pytest.mark.parametrize(
    ("asked", "waits_for", "given"),
    [
        (50 * MIB, 1, FETCH_ANSWER_BYTES_ENOUGH),
        (50 * MIB, 3 * MIB, 3 * MIB),
        (1_000, 1, 1_000),
        (1_000, 2_000, 1_000),
        (-1, 1, 0),
    ],
)
def test_a_consumer_gets_what_is_worth_sending(asked: int, waits_for: int, given: int) -> None:
    """Or what it waits for, and never more than it takes."""
    assert FetchBudget(asked, waits_for, for_replica=False, now_ms=0).left == given


def test_a_follower_gets_all_it_takes_while_that_is_quick() -> None:
    """Partition after partition; what is left is for the next ones."""
    budget = FetchBudget(10 * MIB, 1, for_replica=True, now_ms=7)
    for taken in range(1, 11):
        budget.take(MIB, 7 + REPLICA_ANSWER_MS - 1)
        assert budget.left == (10 - taken) * MIB


def test_a_follower_is_answered_as_soon_as_it_takes_long() -> None:
    """Small batches are slow to look at; but not with less than is worth sending."""
    budget = FetchBudget(10 * MIB, 1, for_replica=True, now_ms=7)
    budget.take(MIB // 2, 7 + REPLICA_ANSWER_MS)
    assert budget.left == 10 * MIB - MIB // 2
    budget.take(MIB // 2, 7 + REPLICA_ANSWER_MS)
    assert budget.left == 0
