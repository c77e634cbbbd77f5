"""What `moldau top` makes of two looks at a cluster, and how it draws that."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from moldau_broker.client.admin_api_answers import (
    BrokerLoad,
    GroupMember,
    GroupOffset,
    GroupReport,
    GroupReports,
    PartitionLoad,
)
from moldau_broker.client.admin_api_cluster import ClusterBroker, ClusterReport, Trouble
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.metrics_page import read_totals
from moldau_cli.top_look import BYTES_IN, CPU, MEMORY, BrokerLook, Look
from moldau_cli.top_report import TopReport, make_report
from moldau_cli.top_view import draw, plain_tables, say_controller, say_health

NONE = Trouble(0, ())


def broker(node: int, *, fenced: bool = False, stopping: bool = False) -> ClusterBroker:
    return ClusterBroker(node, 7, fenced, stopping, None, 6, 2, {})


def cluster(*brokers: ClusterBroker, leader: int | None = 1, under: int = 0) -> ClusterReport:
    return ClusterReport(
        "abc",
        leader,
        4 if leader is not None else None,
        (),
        (),
        brokers,
        Trouble(under, ()),
        NONE,
        NONE,
        NONE,
    )


def load(node: int, *rates: tuple[str, float]) -> BrokerLoad:
    return BrokerLoad(
        node,
        tuple(
            PartitionLoad(TopicPartition(topic, 0), rate, 0, rate * 2, 0, 3.5, 0, 4096)
            for topic, rate in rates
        ),
    )


def offset(partition: int, lag: int | None, seconds: float | None, committed: int | None = 5) -> GroupOffset:
    return GroupOffset(TopicPartition("t", partition), committed, 0, 9, lag, seconds)


def group(name: str, *offsets: GroupOffset) -> GroupReport:
    members = (GroupMember("m", None, "c", "h"),)
    return GroupReport(name, 1, "Stable", "consumer", 1, members, offsets, None, None)


def look(at_s: float, totals: dict[str, float], *groups: GroupReport) -> Look:
    return Look(
        cluster(broker(1), broker(2, fenced=True)),
        GroupReports(groups, {}),
        {1: BrokerLook(load(1, ("cold", 0.2), ("warm", 100.0), ("hot", 9000.0)), totals, at_s)},
        {2: "refused"},
    )


def lines(report: TopReport, width: int = 100, height: int = 40, problem: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(draw(report, width, height, 0.0, 2.0, problem))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_top_counts_rates_between_two_looks() -> None:
    """CPU and traffic are what counters grew by; memory is what it is now."""
    before = look(10.0, {CPU: 5.0, BYTES_IN: 1_000.0, MEMORY: 1.0})
    report = make_report(before, look(12.0, {CPU: 6.0, BYTES_IN: 5_000.0, MEMORY: 64.0}))
    one, two = report.brokers
    assert (one.cpu_percent, one.bytes_in, one.memory_bytes) == (50.0, 2000.0, 64)
    assert (one.state, two.state) == ("serving", "down")
    assert (two.cpu_percent, two.bytes_in, two.memory_bytes) == (None, None, None)


def test_top_does_not_count_across_a_restart() -> None:
    """A counter that fell began anew: the rate is not known, never negative; traffic falls back on averages."""
    before = look(10.0, {CPU: 5.0, BYTES_IN: 9_000.0})
    one = make_report(before, look(12.0, {CPU: 0.1, BYTES_IN: 10.0})).brokers[0]
    assert one.cpu_percent is None
    assert one.bytes_in == pytest.approx(9100.2)


def test_top_shows_the_hottest_partitions_first_and_no_idle_ones() -> None:
    """By bytes in and out together."""
    report = make_report(None, look(1.0, {}))
    assert [line.topic for line in report.partitions] == ["hot", "warm", "cold"]
    assert [line.topic for line in report.busy_partitions] == ["hot", "warm"]
    assert any("1 partition without traffic" in line for line in lines(report))


def test_top_adds_up_known_lag_and_says_what_is_missing() -> None:
    """Furthest behind first; a lag that is not known is not zero."""
    late = group("late", offset(0, 10, 3.0), offset(1, 30, 400.0))
    partly = group("partly", offset(0, 5, 1.0), offset(1, None, None))
    unknown = group("unknown", offset(0, None, None, committed=None))
    report = make_report(None, look(1.0, {}, unknown, partly, late))
    assert [(g.group, g.lag_records, g.lag_seconds, g.unknown) for g in report.groups] == [
        ("late", 40, 400.0, 0),
        ("partly", 5, 1.0, 1),
        ("unknown", None, None, 0),
    ]
    drawn = lines(report)
    assert any("late" in line and "40" in line and "6 min 40 s" in line for line in drawn)
    assert any("partly" in line and "lag of 1 partition is not known" in line for line in drawn)


def test_top_says_how_the_partitions_are() -> None:
    """One line, and red only where somebody must act."""
    fine = make_report(None, look(1.0, {}))
    assert say_health(fine).style == "green"
    bad = replace(fine, under_replicated=3, offline=1, controller=None)
    assert say_health(bad).text == "partitions: 1 without a leader, 3 under-replicated"
    assert say_health(bad).style == "red"
    assert say_controller(bad).text == "no active controller"


@pytest.mark.parametrize("height", [12, 24, 50])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_top_fits_its_terminal(width: int, height: int) -> None:
    """Many partitions and groups are cut, and the cut is told; no line is wider than the terminal."""
    found = look(1.0, {}, *(group(f"g{n:02}", offset(0, n, n / 2)) for n in range(50)))
    busy = tuple((f"a-topic-with-a-long-name-{n:03}", 1000.0 + n) for n in range(80))
    found = replace(found, brokers={1: BrokerLook(load(1, *busy), {}, 1.0)})
    drawn = lines(make_report(None, found), width, height, problem="nobody answers")
    assert max(map(len, drawn)) <= width
    assert len(drawn) <= max(height, 24)
    assert any("more partition" in line for line in drawn)
    assert any("more group" in line for line in drawn)


def test_top_plain_tables_hold_whole_values() -> None:
    """For grep and awk: numbers without signs for thousands, no cut names."""
    report = make_report(None, look(1.0, {}, group("g", offset(0, 12345, 1.0))))
    brokers, partitions, groups = plain_tables(report, rows=1)
    assert [row[0] for row in brokers.rows] == ["1", "2"]
    assert [row[0] for row in partitions.rows] == ["hot-0"]
    assert groups.rows[0][3] == 12345


def test_top_json_holds_everything() -> None:
    """All partitions, idle ones too."""
    data = make_report(None, look(1.0, {})).as_json()
    assert len(data["partitions"]) == 3
    assert data["brokers"][1]["state"] == "down"


def test_silent_broker_is_a_problem_with_its_reason() -> None:
    """Unfenced and not answering HTTP: the reason is told; that a fenced one is silent is no news."""
    found = look(1.0, {})
    found = replace(found, cluster=cluster(broker(1), broker(2)))
    assert make_report(None, found).problems == ("broker 2 tells nothing: refused",)
    assert make_report(None, look(1.0, {})).problems == ()


def test_metrics_page_is_summed_and_topics_are_not_counted_twice() -> None:
    """Kafka's names exist with and without the topic; the one without is the sum."""
    page = (
        "# HELP a_total x\n# TYPE a_total counter\n"
        'a_total 10\na_total{topic="x"} 4\na_total{topic="y z"} 6\n'
        'b_total{listener="A"} 1\nb_total{listener="B"} 2.5\nc 7\nother 9\n'
    )
    assert read_totals(page, {"a_total", "b_total", "c", "absent"}) == {"a_total": 10, "b_total": 3.5, "c": 7}
