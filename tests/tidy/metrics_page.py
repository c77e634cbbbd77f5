"""Writes the table of every metric into docs/metrics.md; `make metrics-doc`. The prose around it is ours."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Final

from moldau_broker.telemetry.table import LINT_EXCEPTIONS, METRICS, Metric, Teller
from moldau_operator.telemetry.table import METRICS as OPERATOR_METRICS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN: Final = "<!-- the table: written by `make metrics-doc` -->"
END: Final = "<!-- end of the table -->"

_TELLERS: Final = {
    Teller.NODE: "node",
    Teller.REPLICA: "replica",
    Teller.LEADER: "leader",
    Teller.COORDINATOR: "coordinator",
    Teller.CONTROLLER: "controller",
}
_SECTIONS: Final = {
    "process": "The process",
    "python": "The process",
    "moldau": "Our own names",
    "exporter": "The names of kafka_exporter and kafka-lag-exporter",
    "jmx": "The names of the JMX exporter, as Strimzi's dashboards query them",
}


def table() -> str:
    """What stands between the two marks."""
    lines: list[str] = []
    for section, metrics in groupby(METRICS.values(), _section):
        lines += [f"### {section}", "", "| name | type | labels | unit | told by | what it says |"]
        lines.append("|---|---|---|---|---|---|")
        lines += [_row(metric) for metric in metrics]
        lines.append("")
    lines += [
        "### The operator, on its own page",
        "",
        "Beside these it has `process_*`, `python_*`, `moldau_event_loop_*` and `moldau_log_lines_*` as above.",
        "",
        "| name | type | labels | unit | what it says |",
        "|---|---|---|---|---|",
    ]
    lines += [_operator_row(metric) for name, metric in OPERATOR_METRICS.items() if name not in METRICS]
    lines.append("")
    lines += ["### Names that `promtool check metrics` finds fault with", ""]
    lines += [f"- `{name}`: {reason}" for name, reason in LINT_EXCEPTIONS.items()]
    return "\n".join([*lines, ""])


def _section(metric: Metric) -> str:
    kind = metric.name.partition("_")[0]
    if kind == "kafka":
        kind = "jmx" if metric.name in _jmx_names() else "exporter"
    return _SECTIONS[kind]


def _jmx_names() -> frozenset[str]:
    from moldau_broker.telemetry.jmx_metrics import JMX_METRICS

    return frozenset(metric.name for metric in JMX_METRICS)


def _row(metric: Metric) -> str:
    labels = ", ".join(metric.labels)
    if metric.total:
        labels = f"{labels}; none: all"
    cells = (f"`{metric.name}`", metric.type.value, labels, metric.unit, _TELLERS[metric.teller], metric.help)
    return f"| {' | '.join(cells)} |"


def _operator_row(metric: Metric) -> str:
    cells = (f"`{metric.name}`", metric.type.value, ", ".join(metric.labels), metric.unit, metric.help)
    return f"| {' | '.join(cells)} |"


def written(page: str) -> str:
    """The page with the table as it is now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "docs/metrics.md has lost the mark where its table begins"
    assert end, "docs/metrics.md has lost the mark where its table ends"
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
