"""Dashboards, alerts and runbooks say the same, and only what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.__main__ import DASHBOARDS, generated
from dashboards.grafana import Panel

from moldau_broker.telemetry.table import METRICS as BROKER_METRICS
from moldau_operator.telemetry.table import METRICS as OPERATOR_METRICS

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks.md"
GROUPS = ("brokers", "groups", "operator")
PANELS = [pytest.param(panel, id=f"{d.uid}: {panel.title}") for d in DASHBOARDS for panel in d.panels()]

_NAME = re.compile(r"\b(?:moldau|kafka|process|python|up|kminion)(?:_[a-z0-9_]+)?\b(?=\s*[{\[(),\s]|$)")
_EVENT = re.compile(
    r"`((?:broker|log|isr|partition|group|raft|snapshot|metadata|event_loop|process|lease|pass|recovery)\.[a-z_]+)`"
)
_LABELS = {"kafka_cluster"}


def _rules(name: str) -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "alerts" / f"{name}.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for name in GROUPS for rule in _rules(name)}


def _unknown(expression: str) -> set[str]:
    """Names in an expression that nobody emits; label matchers and strings do not count."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    names = set(_NAME.findall(bare)) - _LABELS - {"up"}
    known = {*BROKER_METRICS, *OPERATOR_METRICS}
    return {
        name for name in names if name not in known and re.sub("_(bucket|sum|count)$", "", name) not in known
    }


def test_generated_files_are_what_the_builder_makes() -> None:
    """`make dashboards` after a change; the chart has the same files."""
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)}: run make dashboards"
    made = {path for path in generated() if path.suffix == ".json"}
    there = {*ROOT.glob("dashboards/*.json"), *ROOT.glob("charts/moldau/files/**/*.json")}
    assert there == made, "a dashboard that nothing makes"


@pytest.mark.parametrize("panel", PANELS)
def test_panel_queries_what_is_emitted(panel: Panel) -> None:
    """Every metric is in a table; several lines are told apart by a legend; no zero is made up."""
    assert panel.queries
    for query in panel.queries:
        assert not _unknown(query.expr), query.expr
        assert "vector(0)" not in query.expr
        if panel.kind == "timeseries":
            assert query.legend, "a legend says whose line it is"
    assert panel.unit in {"short", "s", "ms", "bytes", "Bps", "cps", "reqps", "percentunit"}
    if panel.kind == "stat":
        assert panel.help, "a number alone does not say what to do"


def test_dashboards_have_their_own_names() -> None:
    """uid, title and the panels' titles within a dashboard are unique; panels do not overlap."""
    assert len({d.uid for d in DASHBOARDS}) == len({d.title for d in DASHBOARDS}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        titles = [panel.title for panel in dashboard.panels()]
        assert len(titles) == len(set(titles)), dashboard.uid


def test_names_of_metrics_are_found_in_expressions() -> None:
    """The check above would see a misspelt name, and does not take labels or words of PromQL for one."""
    assert _unknown('rate(moldau_typo_total{kafka_cluster="x"}[5m])') == {"moldau_typo_total"}
    assert _unknown("histogram_quantile(0.9, sum by (le) (rate(moldau_fsync_seconds_bucket[5m])))") == set()
    assert _unknown('up == 0 and on (instance) moldau_build_info{a="kafka_nothing"}') == set()


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_a_runbook_and_a_test(alert: str) -> None:
    """A paragraph of its own that its annotation leads to, words for people, and a promtool test."""
    rule = ALERTS[alert]
    assert not _unknown(rule["expr"]), rule["expr"]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{alert.lower()}"
    paragraph = re.search(
        rf"^### {alert}\n(.+?)(?=\n###? |\Z)", RUNBOOKS.read_text(), re.MULTILINE | re.DOTALL
    )
    assert paragraph is not None, f"docs/runbooks.md has no paragraph on {alert}"
    assert len(paragraph[1].split()) > 30
    tests = [
        case["name"]
        for name in GROUPS
        for case in yaml.safe_load((ROOT / "alerts" / "tests" / f"{name}.yaml").read_text())["tests"]
    ]
    assert tests.count(alert) == 1


def test_runbooks_name_alerts_and_events_that_exist() -> None:
    """No paragraph outlives its alert, and a search for an event it names finds something."""
    text = RUNBOOKS.read_text()
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == list(ALERTS)
    assert set(re.findall(r"`(Moldau\w+)`", text)) <= set(ALERTS)
    sources = "".join(
        path.read_text() for room in ("broker", "operator") for path in (ROOT / room).rglob("*.py")
    )
    events = set(_EVENT.findall(text))
    assert events
    assert {event for event in events if f'"{event}"' not in sources} == set()


def test_recording_rules_read_what_is_emitted() -> None:
    """kminion's names are made of ours."""
    for rule in _rules("kminion-names"):
        assert rule["record"].startswith("kminion_kafka_")
        assert not _unknown(rule["expr"])
