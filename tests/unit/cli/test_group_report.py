"""How far a group is behind, and what is wrong with where it stands."""

from __future__ import annotations

from moldau_broker.client.admin.groups import GroupDescription, GroupMember
from moldau_broker.client.admin.offsets import CommittedOffset
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.group_report import GroupReport

P = [TopicPartition("t", number) for number in range(6)]


def group(*assigned: TopicPartition) -> GroupDescription:
    members = (GroupMember("m", None, "c", "h", assigned),) if assigned else ()
    return GroupDescription("g", "Stable" if members else "Empty", "consumer", "range", 1, members)


def test_group_report_adds_up_known_lag() -> None:
    """Partitions without commit or end do not count; lag is never negative."""
    report = GroupReport(
        group(P[0], P[3]),
        committed={P[0]: CommittedOffset(4), P[1]: CommittedOffset(9), P[2]: CommittedOffset(1)},
        start=dict.fromkeys(P, 0),
        end={P[0]: 10, P[1]: 7, P[3]: 5},
    )
    assert [report.partition_lag(p) for p in P[:4]] == [6, 0, None, None]
    assert report.lag == 6
    assert report.partitions == P[:4]


def test_group_report_without_commits_has_no_lag() -> None:
    """Nothing committed is not a lag of zero."""
    assert GroupReport(group(P[0]), end={P[0]: 10}).lag is None


def test_group_report_names_troubles() -> None:
    """Each in words a person can act on."""
    report = GroupReport(
        group(P[0], P[1]),
        committed={p: CommittedOffset(4) for p in (P[0], P[2], P[3], P[4], P[5])},
        start={**dict.fromkeys(P, 0), P[3]: 6},
        end={**dict.fromkeys(P[:5], 10), P[4]: 2},
    )
    assert [report.trouble(p) for p in P] == [
        None,
        "nothing committed yet",
        "no member reads it",
        "2 records deleted before being read",
        "stands beyond the end of the log",
        "topic or leader is gone",
    ]
    empty = GroupReport(group(), report.committed, report.start, report.end)
    assert empty.trouble(P[2]) is None, "an empty group reads nothing, and that is no news"
