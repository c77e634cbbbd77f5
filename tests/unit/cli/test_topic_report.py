"""What `topic describe` says of partitions whose brokers say nothing."""

from __future__ import annotations

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin.configs import ConfigSource, Setting
from moldau_broker.client.metadata import PartitionInfo, TopicInfo
from moldau_cli.topic_report import TopicReport, setting_rows, show_topics


def report(*, end: dict[int, int], min_insync: str | None = None) -> TopicReport:
    partitions = tuple(
        PartitionInfo(number, leader, 0, (1, 2), isr, (), ErrorCode.NONE)
        for number, (leader, isr) in enumerate([(1, (1, 2)), (2, (1, 2)), (-1, (2,))])
    )
    setting = Setting("min.insync.replicas", min_insync, ConfigSource.TOPIC, False, False, None)
    return TopicReport(
        info=TopicInfo("t", b"\1" * 16, False, partitions, ErrorCode.NONE),
        start=dict.fromkeys(end, 0),
        end=end,
        size=dict.fromkeys(end, 2048),
        on_disk=4096,
        settings={} if min_insync is None else {setting.name: setting},
        live=frozenset({1, 2}),
    )


def test_topic_report_names_a_silent_leader() -> None:
    """The cluster still lists it, but it does not answer."""
    assert report(end={0: 5}).troubles(0) == []
    assert report(end={0: 5}).troubles(1) == ["leader 2 does not answer", "led by 2, preferred is 1"]


def test_topic_report_judges_by_the_topics_own_minimum() -> None:
    """min.insync.replicas comes from the settings."""
    item = report(end={0: 5, 1: 5}, min_insync="3")
    assert item.troubles(0) == ["acks=all refused: 2 in sync, min.insync.replicas is 3"]


def test_topic_report_says_what_its_sums_leave_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A total that lacks partitions says so."""
    show_topics("table", [report(end={0: 1500})])
    out = capsys.readouterr().out
    assert "records     1,500 in the 1 partition that answered\n" in out
    assert "state       2 of 3 partitions need a look\n" in out
    rows = [line.split("  ")[0:1] + line.split()[1:] for line in out.split("\n\n")[1].splitlines()[1:]]
    assert rows[1][:8] == ["1", "2", "1,2", "1,2", "-", "-", "-", "-"]
    assert rows[2][1] == "none"


def test_setting_rows_hide_what_is_sensitive() -> None:
    """Sorted by name; empty values are visible as such."""
    settings = {
        "b": Setting("b", None, ConfigSource.DEFAULT, False, True, None),
        "a": Setting("a", "", ConfigSource.TOPIC, False, False, None),
    }
    rows = [(name, value) for name, value, _ in setting_rows(settings)]
    assert rows == [("a", '""'), ("b", "(hidden)")]
