"""Lag in records and in seconds."""

import pytest

from moldau_broker.server.admin_api.lag import UNKNOWN, Lag, Position, partition_lag, total_lag


@pytest.mark.parametrize(
    ("committed", "position", "lag"),
    [
        (5, Position(0, 15, timestamp_ms=98_500), Lag(10, 1.5)),
        (15, Position(0, 15), Lag(0, 0.0)),
        (16, Position(0, 15), Lag(0, 0.0)),
        (5, Position(10, 15, timestamp_ms=100_000), Lag(5, 0.0)),
        (5, Position(0, 15, timestamp_ms=200_000), Lag(10, 0.0)),
        (5, Position(0, 15), Lag(10, None)),
        (None, Position(0, 15), UNKNOWN),
        (5, None, UNKNOWN),
    ],
    ids=[
        "behind",
        "caught up",
        "beyond the end",
        "before the log start",
        "a record from the future",
        "no timestamp",
        "nothing committed",
        "leader unknown",
    ],
)
def test_partition_lag_counts_what_can_be_read(committed, position, lag):
    """Never negative; what is not known is absent, not zero."""
    assert partition_lag(committed, position, now_ms=100_000) == lag


@pytest.mark.parametrize(
    ("lags", "total"),
    [
        ([Lag(1, 2.0), Lag(3, 0.5)], Lag(4, 2.0)),
        ([Lag(1, 2.0), UNKNOWN], UNKNOWN),
        ([Lag(1, 2.0), Lag(3, None)], Lag(4, None)),
        ([], UNKNOWN),
    ],
)
def test_total_lag_is_the_sum_and_the_oldest(lags, total):
    """Half a sum is no lag, and a group that has committed nothing has none."""
    assert total_lag(lags) == total
