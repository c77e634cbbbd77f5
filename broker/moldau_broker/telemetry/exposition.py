"""Prometheus' text format, written line by line. Pure.

Source: Prometheus, "Exposition formats", text format 0.0.4. Written here rather than by prometheus_client, whose
import costs 5 MiB and whose writer stops the event loop four times as long (docs/adr/0010-telemetry.md); the tests
read this output with its parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from moldau_broker.telemetry.table import METRICS, Metric, MetricType


class Exposition:
    """Samples of one scrape, gathered by metric."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        """One sample of a counter or gauge; `labels` are the values, in the table's order."""
        metric = METRICS[name]
        assert metric.type is not MetricType.HISTOGRAM, f"{name} is a histogram"
        self._of(name).append(f"{name}{_labels(metric, labels)} {_number(value)}\n")

    def add_all(self, values: Mapping[str, float], *labels: str) -> None:
        """One sample of each counter or gauge in `values`, which share their labels: these are written once."""
        shown: str | None = None
        for name, value in values.items():
            metric = METRICS[name]
            assert metric.type is not MetricType.HISTOGRAM, f"{name} is a histogram"
            assert len(metric.labels) == len(labels), f"{name} has the labels {metric.labels}"
            if shown is None:
                shown = _labels(metric, labels)
            self._of(name).append(f"{name}{shown} {_number(value)}\n")

    def add_histogram(
        self, name: str, bounds: Sequence[float], counts: Sequence[int], total: float, *labels: str
    ) -> None:
        """One histogram: `counts[i]` values up to `bounds[i]`; a last count beyond the bounds; their sum."""
        metric = METRICS[name]
        assert metric.type is MetricType.HISTOGRAM, f"{name} is not a histogram"
        assert len(counts) == len(bounds) + 1, "one more count than bounds: those beyond the last"
        lines = self._of(name)
        shown = _labels(metric, labels)
        prefix = f"{shown[:-1]}," if shown else "{"
        running = list(accumulate(counts))
        lines.extend(
            f'{name}_bucket{prefix}le="{_number(bound)}"}} {count}\n'
            for bound, count in zip(bounds, running, strict=False)
        )
        lines.append(
            f'{name}_bucket{prefix}le="+Inf"}} {running[-1]}\n'
            f"{name}_sum{shown} {_number(total)}\n"
            f"{name}_count{shown} {running[-1]}\n"
        )

    def text(self) -> bytes:
        """The whole page, metrics in the table's order."""
        pieces = []
        for name, metric in METRICS.items():
            lines = self._lines.get(name)
            if lines:
                pieces.append(
                    f"# HELP {name} {_escape_help(metric.help)}\n# TYPE {name} {metric.type.value}\n"
                )
                pieces.extend(lines)
        return "".join(pieces).encode("utf-8")

    def _of(self, name: str) -> list[str]:
        return self._lines.setdefault(name, [])


def _labels(metric: Metric, values: Sequence[str]) -> str:
    assert len(values) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
    if not values:
        return ""
    return (
        "{"
        + ",".join(f'{name}="{_escape(value)}"' for name, value in zip(metric.labels, values, strict=True))
        + "}"
    )


def _escape(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return repr(value)
