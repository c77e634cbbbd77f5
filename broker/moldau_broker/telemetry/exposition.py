"""Prometheus' text format, written line by line. Pure.

Source: Prometheus, "Exposition formats", text format 0.0.4. Written here rather than by prometheus_client, whose
import costs 5 MiB and whose writer stops the event loop four times as long (docs/adr/0010-telemetry.md); the tests
read this output with its parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from moldau_broker.telemetry.table import METRICS, Metric, MetricType

_PIECE_CHARACTERS: Final = 150_000
"""Text that becomes one piece of the page within a millisecond."""

_PLAIN: Final = frozenset({MetricType.COUNTER, MetricType.GAUGE})


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """`name="value",...` as it stands between braces."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


class Column:
    """The samples of one counter or gauge, for emitters with many of them: labels come as text made before.

    Attributes:
        name, labels: of the metric.
        put_lines: takes whole lines as text.
    """

    __slots__ = ("labels", "name", "put_lines")

    def __init__(self, metric: Metric, lines: list[str]) -> None:
        self.name = metric.name
        self.put_lines = lines.append
        self.labels = metric.labels

    def put(self, labels: str, value: float) -> None:
        """One sample; `labels` is `label_text` of this metric's labels. The value is finite."""
        self.put_lines(f"{self.name}{{{labels}}} {value!r}\n")

    def lines(self, labels: Sequence[str], values: Sequence[float | None]) -> str:
        """What `put` would write of all of these, those without a value left out; for `put_lines`."""
        before = f"{self.name}{{"
        return "".join(
            [
                f"{before}{text}}} {value!r}\n"
                for text, value in zip(labels, values, strict=True)
                if value is not None
            ]
        )


class Exposition:
    """Samples of one scrape, gathered by metric. `metrics` is the table of those that may be emitted."""

    __slots__ = ("_lines", "_metrics")

    def __init__(self, metrics: Mapping[str, Metric] = METRICS) -> None:
        self._metrics = metrics
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        """One sample of a counter or gauge; `labels` are the values, in the table's order."""
        metric = self._metrics[name]
        assert metric.type in _PLAIN, f"{name} is a {metric.type.value}"
        self._of(name).append(f"{name}{_labels(metric, labels)} {_number(value)}\n")

    def column(self, name: str) -> Column:
        """For many samples of a counter or gauge."""
        metric = self._metrics[name]
        assert metric.type in _PLAIN, f"{name} is a {metric.type.value}"
        return Column(metric, self._of(name))

    def columns(self, labels: Sequence[str], *names: str) -> list[Column]:
        """The same for several metrics with the labels `labels`."""
        columns = [self.column(name) for name in names]
        for name, column in zip(names, columns, strict=True):
            assert column.labels == tuple(labels), f"{name} has the labels {column.labels}"
        return columns

    def add_histogram(
        self, name: str, bounds: Sequence[float], counts: Sequence[int], total: float, *labels: str
    ) -> None:
        """One histogram: `counts[i]` values up to `bounds[i]`; a last count beyond the bounds; their sum."""
        metric = self._metrics[name]
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
        lines.append(f'{name}_bucket{prefix}le="+Inf"}} {running[-1]}\n')
        lines.append(f"{name}_sum{shown} {_number(total)}\n")
        lines.append(f"{name}_count{shown} {running[-1]}\n")

    def add_summary(
        self, name: str, quantiles: Mapping[str, float], total: float, count: int, *labels: str
    ) -> None:
        """One summary: values by quantile ("0.5"), none where there are no recent ones; sum and count since start."""
        metric = self._metrics[name]
        assert metric.type is MetricType.SUMMARY, f"{name} is not a summary"
        lines = self._of(name)
        shown = _labels(metric, labels)
        prefix = f"{shown[:-1]}," if shown else "{"
        lines.extend(
            f'{name}{prefix}quantile="{quantile}"}} {_number(value)}\n'
            for quantile, value in quantiles.items()
        )
        lines.append(f"{name}_sum{shown} {_number(total)}\n")
        lines.append(f"{name}_count{shown} {count}\n")

    def pieces(self) -> Iterator[bytes]:
        """The whole page, metrics in the table's order, in pieces that each take about a millisecond to make."""
        head: list[str] = []
        size = 0
        for name, metric in self._metrics.items():
            lines = self._lines.pop(name, None)
            if not lines:
                continue
            head.append(f"# HELP {name} {_escape_help(metric.help)}\n# TYPE {name} {metric.type.value}\n")
            for text in lines:
                head.append(text)
                size += len(text)
                if size >= _PIECE_CHARACTERS:
                    yield "".join(head).encode("utf-8")
                    head, size = [], 0
        if head:
            yield "".join(head).encode("utf-8")

    def text(self) -> bytes:
        """The whole page at once."""
        return b"".join(self.pieces())

    def _of(self, name: str) -> list[str]:
        return self._lines.setdefault(name, [])


def _labels(metric: Metric, values: Sequence[str]) -> str:
    if not values and (metric.total or not metric.labels):
        return ""
    assert len(values) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
    return f"{{{label_text(metric.labels, values)}}}"


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
