"""Draws a dashboard from the same queries that Grafana would send, so that it can be looked at without Grafana."""

from __future__ import annotations

import re
import time
from datetime import datetime
from math import ceil, log2
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
from dashboards.grafana import GREEN, RED, YELLOW, Dashboard, Panel
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from tests.observability.prometheus import Prometheus
from tests.observability.queries import resolve

LINES_MAX: Final = 8
GAP_S: Final = 5.0
"""Without a sample for so long a line is broken, as Grafana does it."""
_BINARY, _DECIMAL = ("B", "KiB", "MiB", "GiB", "TiB"), ("", " k", " M", " G", " T")


def shown(value: float, unit: str) -> str:
    """A value in Grafana's unit, as Grafana would round it."""
    match unit:
        case "s":
            if value != 0 and abs(value) < 1:
                return f"{value * 1000:.3g} ms"
            if abs(value) < 120:
                return f"{value:.3g} s"
            return f"{value / 60:.3g} min" if abs(value) < 7200 else f"{value / 3600:.3g} h"
        case "ms":
            return f"{value:.3g} ms" if abs(value) < 1000 else f"{value / 1000:.3g} s"
        case "percentunit":
            return f"{value * 100:.3g} %"
        case "bytes" | "Bps":
            return _scaled(value, 1024, _BINARY) + ("/s" if unit == "Bps" else "")
        case "cps" | "reqps":
            return _scaled(value, 1000, _DECIMAL) + "/s"
    return _scaled(value, 1000, _DECIMAL)


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    for unit in units:
        if abs(value) < base or unit == units[-1]:
            return f"{value:.3g} {unit}".strip() if base == 1024 else f"{value:.3g}{unit}"
        value /= base
    raise AssertionError("the loop ends with its last unit")


def draw(dashboard: Dashboard, prometheus: Prometheus, path: Path) -> None:
    """All panels of a dashboard, in Grafana's order and widths, over the whole time that was scraped."""
    rows = _rows(dashboard)
    heights = [max(panel.height for panel in row) for _, row in rows]
    figure = plt.figure(figsize=(17, sum(heights) * 0.42), dpi=80, facecolor="#f7f8fa")
    grid = figure.add_gridspec(len(rows), 24, height_ratios=heights, hspace=0.95, wspace=12)
    for number, (title, row) in enumerate(rows):
        x = 0
        for panel in row:
            axes = figure.add_subplot(grid[number, x : x + panel.width])
            _panel(axes, panel, prometheus)
            if title and x == 0:
                axes.annotate(
                    title, (0, 1), (0, 26), "axes fraction", "offset points", fontsize=12, weight="bold"
                )
            x += panel.width
    figure.suptitle(dashboard.title, x=0.02, y=0.995, ha="left", fontsize=15, weight="bold")
    figure.subplots_adjust(
        left=0.045,
        right=0.985,
        top=1 - 1.1 / figure.get_size_inches()[1],
        bottom=0.9 / figure.get_size_inches()[1],
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, pil_kwargs={"optimize": True})
    plt.close(figure)


def _rows(dashboard: Dashboard) -> list[tuple[str, list[Panel]]]:
    """Lines of panels that fit 24 columns; the first of each row has its heading."""
    lines: list[tuple[str, list[Panel]]] = []
    for row in dashboard.rows:
        line: list[Panel] = []
        title = row.title
        for panel in row.panels:
            if sum(one.width for one in line) + panel.width > 24:
                lines.append((title, line))
                line, title = [], ""
            line.append(panel)
        lines.append((title, line))
    return lines


def _panel(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    axes.set_title(panel.title, fontsize=9, loc="left", pad=6)
    if panel.kind == "stat":
        _stat(axes, panel, prometheus)
    elif panel.kind == "table":
        _table(axes, panel, prometheus)
    else:
        _lines(axes, panel, prometheus)


def _stat(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    value = _value_soon(prometheus, resolve(panel.queries[0].expr))
    axes.set_xticks([])
    axes.set_yticks([])
    words = "no data" if value is None else shown(value, panel.unit)
    axes.set_facecolor("white" if value is None else _colour(value, panel))
    axes.text(0.5, 0.5, words, ha="center", va="center", fontsize=19, transform=axes.transAxes)


def _value_soon(prometheus: Prometheus, expression: str) -> float | None:
    """Where a scrape came too late, or a controller has just begun, there is nothing for some seconds."""
    for _ in range(20):
        value = prometheus.value(expression)
        if value is not None:
            return value
        time.sleep(1)
    return None


def _colour(value: float, panel: Panel) -> str:
    warn, bad = panel.warn, panel.bad
    if warn is None and bad is None:
        return "#c8d9f0"
    if warn is not None and bad is not None and bad < warn:
        return {True: "#f2a2a2"}.get(value < bad, "#f5dc95" if value < warn else "#b5e0b5")
    if bad is not None and value >= bad:
        return "#f2a2a2"
    return "#f5dc95" if warn is not None and value >= warn else "#b5e0b5"


def _lines(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    found: list[tuple[str, list[tuple[float, float]]]] = []
    for query in panel.queries:
        for one in prometheus.history(resolve(query.expr)):
            points = [(float(at), float(value)) for at, value in one["values"]]
            found.append((_legend(query.legend, one["metric"]), points))
    found.sort(key=lambda item: -max(value for _, value in item[1]))
    for name, points in found[:LINES_MAX]:
        times = [dates.date2num(time_of(at)) for at, _ in points]
        gaps = [at for at in range(1, len(points)) if points[at][0] - points[at - 1][0] > GAP_S]
        values = [value for _, value in points]
        for place in reversed(gaps):
            times.insert(place, times[place])
            values.insert(place, float("nan"))
        last = shown(points[-1][1], panel.unit)
        axes.plot(times, values, linewidth=1, label=f"{name}  {last}")
    if len(found) > LINES_MAX:
        axes.plot([], [], " ", label=f"and {len(found) - LINES_MAX} more")
    top = axes.get_ylim()[1]
    for limit, colour in ((panel.warn, YELLOW), (panel.bad, RED)):
        if limit is not None and limit <= top * 1.5:
            axes.axhline(limit, color=colour, linewidth=1, linestyle="--")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.get_ylim()[0] < -0.5 else 0)
    axes.set_xlim(dates.date2num(time_of(prometheus.started)), dates.date2num(time_of(time.time())))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=7))
    highest = axes.get_ylim()[1]
    if panel.unit in {"bytes", "Bps"} and highest > 1:
        step = 2.0 ** ceil(log2(highest / 6))  # round in KiB, not in thousands
        axes.yaxis.set_major_locator(MultipleLocator(step))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, panel.unit)))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if found:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, frameon=False)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", color=GREEN, transform=axes.transAxes)


def time_of(at: float) -> Any:
    """For matplotlib, in local time."""
    return datetime.fromtimestamp(at).astimezone()


def _legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template) or str(labels)


def _table(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    axes.axis("off")
    key = panel.columns[0][0]
    rows: dict[str, dict[str, str]] = {}
    units = {name: unit for name, _, unit in panel.columns}
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        for one in prometheus.query(resolve(query.expr)):
            row = rows.setdefault(one["metric"].get(key, ""), {})
            row.update(one["metric"])
            name = f"Value #{letter}"
            row[name] = shown(float(one["value"][1]), units.get(name, "") or "short")
    cells = [[row.get(name, "-") for name, _, _ in panel.columns] for _, row in sorted(rows.items())]
    table = axes.table(cells, colLabels=[heading for _, heading, _ in panel.columns], loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
