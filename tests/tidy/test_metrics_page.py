"""docs/metrics.md says what the code says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from metrics_page import PAGE, table, written

from moldau_broker.base.broker_config import BROKER_SETTINGS
from moldau_broker.base.name_filter import NameFilter
from moldau_broker.telemetry.table import METRICS
from moldau_operator.telemetry.table import METRICS as OPERATOR_METRICS

sys.path.pop(0)


def test_metrics_page_has_the_table_of_the_code() -> None:
    """`make metrics-doc` would change nothing."""
    page = PAGE.read_text()
    assert page == written(page)


def test_metrics_page_has_every_metric_once() -> None:
    """Each has one row."""
    named = re.findall(r"^\| `(\w+)` \|", table(), re.MULTILINE)
    assert sorted(named) == sorted({*METRICS, *OPERATOR_METRICS})


def test_metrics_page_speaks_of_nothing_else() -> None:
    """Whatever the prose calls a metric or a setting is one."""
    prose = PAGE.read_text().partition("<!-- the table")[0]
    named = set(re.findall(r"\b(?:kafka|moldau|process)_[a-z_]+[a-z]", prose)) - {"kafka_exporter"}
    bases = {name.rpartition("_")[0] for name in METRICS}
    assert {name for name in named if name not in METRICS and name not in bases} == set()
    settings = set(re.findall(r"`(metrics\.[a-z.]+)`", prose))
    assert settings == {name for name in BROKER_SETTINGS if name.startswith("metrics.")}


def test_examples_of_filters_do_what_the_page_says() -> None:
    """Each example names a setting, its patterns, and what they show and hide."""
    rows = re.findall(
        r"^\| `metrics\.(\w+)\.(allow|deny)=([^`]+)` \| ([^|]+) \| ([^|]+) \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert len(rows) >= 3
    for _, what, patterns, shown, hidden in rows:
        listed = tuple(patterns.split(","))
        names = NameFilter(listed, ()) if what == "allow" else NameFilter(("*",), listed)
        assert all(names.admits(name) for name in re.findall(r"`([^`]+)`", shown)), shown
        assert not any(names.admits(name) for name in re.findall(r"`([^`]+)`", hidden)), hidden
