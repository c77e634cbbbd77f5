"""Since when replicas are out of sync, in words and as data."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin_api_answers import OutOfSyncReport, ReplicaOutOfSync
from moldau_broker.client.metadata import PartitionInfo
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.health import partition_troubles
from moldau_cli.out_of_sync import OutOfSync, by_partition, of_topic

NOW = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
TERM = NOW - 3_600_000


def absence(since_ms: int | None, lag: int | None = None, now_ms: int = NOW) -> OutOfSync:
    return OutOfSync(1, TERM, since_ms, now_ms, lag)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            absence(NOW - 253_000, 1_204),
            "out of sync for 4 min (since 22:09:07 UTC), 1,204 records behind",
        ),
        (absence(NOW - 7_400, 1), "out of sync for 7 s (since 22:13:12 UTC), 1 record behind"),
        (absence(NOW - 7_400, 0), "out of sync for 7 s (since 22:13:12 UTC)"),
        (absence(NOW - 7_400), "out of sync for 7 s (since 22:13:12 UTC), 33 records behind"),
        (absence(NOW - 90_000_000, 0), "out of sync for 1 d 1 h (since 2023-11-13 21:13:20 UTC)"),
        (absence(NOW + 60_000, 0), "out of sync for 0 s (since 22:14:20 UTC)"),
        (
            absence(None, 5),
            "out of sync since before 21:13:20 UTC, when broker 1 began to lead, 5 records behind",
        ),
    ],
    ids=["minutes", "seconds", "nothing missing", "lag unknown", "yesterday", "clock set back", "before"],
)
def test_words_say_since_when_and_how_far(found: OutOfSync, words: str) -> None:
    """What the leader does not know of the lag, the replica's own broker may."""
    assert found.words(33) == words


def test_data_has_null_for_what_is_not_known() -> None:
    """A program must not take a term's beginning for the time itself."""
    assert absence(NOW - 7_400, 1).data() == {
        "since": "2023-11-14T22:13:12.600Z",
        "since_before": None,
        "seconds": 7,
        "lag_records": 1,
    }
    assert absence(None).data() == {
        "since": None,
        "since_before": "2023-11-14T21:13:20.000Z",
        "seconds": None,
        "lag_records": None,
    }


def test_troubles_say_since_when_of_those_whose_leader_told() -> None:
    """Each on its own; the others as before."""
    info = PartitionInfo(0, 1, 0, (1, 2, 3, 4, 5), (1,), (), ErrorCode.NONE)
    known = {2: absence(NOW - 60_000, 7), 4: absence(NOW - 60_000, 9)}
    assert partition_troubles(info, {1, 2, 3}, 1, {2: 8, 3: 6}, None, known) == [
        "broker 2 out of sync for 1 min (since 22:12:20 UTC), 7 records behind",
        "broker 3 is behind by 6 records",
        "broker 4 is down, out of sync for 1 min (since 22:12:20 UTC), 9 records behind",
        "broker 5 is down",
    ]


def test_of_two_that_think_they_lead_the_newer_epoch_counts() -> None:
    """Whichever answers first; and other topics' partitions are none of this one's."""

    def report(node: int, epoch: int, broker: int) -> OutOfSyncReport:
        replica = ReplicaOutOfSync(TopicPartition("t", 0), broker, epoch, TERM, None, None)
        other = ReplicaOutOfSync(TopicPartition("u", 1), 9, epoch, TERM, None, None)
        return OutOfSyncReport(node, NOW, (replica, other) if node == 1 else (replica,))

    old, new = report(1, 4, 2), report(2, 5, 3)
    for answers in ([old, new], [new, old]):
        found = of_topic(by_partition(answers), "t")
        assert list(found) == [0]
        assert {broker: one.leader for broker, one in found[0].items()} == {3: 2}
