"""Panels and rows as values, and Grafana's JSON made of them. Pure.

A panel says what is shown, in which unit, where it turns yellow and red, and in one sentence what a person on call
reads off it. Places on the grid follow from the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 39
"""Of Grafana 10; later versions migrate it when they load it."""

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED, BLUE = "green", "#EAB839", "red", "blue"
_WIDTH: Final = 24

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and the legend of its series; `instant` asks for the newest value only."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        kind: Grafana's name: timeseries, stat, table, bargauge.
        help: what it tells, and what to do about it.
        unit: Grafana's unit id.
        warn, bad: thresholds; where `bad` is below `warn`, low values are the bad ones.
        width, height: in grid units of 24 columns.
        stacked: whether series add up.
        columns: of a table: label or "Value #A" -> heading; what is not named is left out.
    """

    title: str
    queries: tuple[Query, ...]
    help: str
    kind: str = "timeseries"
    unit: str = "short"
    warn: float | None = None
    bad: float | None = None
    width: int = 8
    height: int = 8
    stacked: bool = False
    decimals: int | None = None
    columns: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top, filled from the label's values; "All" is the regular expression `.*`."""

    name: str
    label: str
    query: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; `uid` and the file's name never change, so that links to it stay good."""

    uid: str
    title: str
    help: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = field(default=())

    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for row in self.rows for panel in row.panels]


def stat(title: str, expr: str, help: str, **rest: Any) -> Panel:  # noqa: A002 (what it is)
    """A single number, as it is now."""
    return Panel(title, (Query(expr, instant=True),), help, kind="stat", **{"width": 4, "height": 4, **rest})


def series(title: str, help: str, *queries: tuple[str, str], **rest: Any) -> Panel:  # noqa: A002 (what it is)
    """Lines over time: expressions with their legends."""
    return Panel(title, tuple(Query(*query) for query in queries), help, **rest)


# -- JSON ----------------------------------------------------------------------------------------------------


def as_json(dashboard: Dashboard, links: Sequence[Dashboard]) -> Json:
    """What Grafana imports. `links` are the dashboards that the menu on top leads to."""
    panels: list[Json] = []
    y = 0
    for row in dashboard.rows:
        panels.append(_row(len(panels) + 1, row.title, y))
        y += 1
        x = deepest = 0
        for panel in row.panels:
            if x + panel.width > _WIDTH:
                y, x, deepest = y + deepest, 0, 0
            panels.append(_panel(len(panels) + 1, panel, x, y))
            x += panel.width
            deepest = max(deepest, panel.height)
        y += deepest
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.help,
        "tags": ["moldau"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": one.title,
                "type": "link",
                "url": f"/d/{one.uid}",
                "keepTime": True,
                "includeVars": True,
            }
            for one in links
            if one.uid != dashboard.uid
        ],
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _row(number: int, title: str, y: int) -> Json:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
        "panels": [],
    }


def _panel(number: int, panel: Panel, x: int, y: int) -> Json:
    found: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [
            _target(letter, query, panel) for letter, query in zip("ABCDEFGH", panel.queries, strict=False)
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }
    if panel.kind == "table":
        found["transformations"] = _transformations(panel)
        found["fieldConfig"]["overrides"] = [
            _column(heading, unit) for _, heading, unit in panel.columns if unit
        ]
    return found


def _target(letter: str, query: Query, panel: Panel) -> Json:
    found: Json = {
        "refId": letter,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "range": not query.instant,
        "instant": query.instant,
    }
    if panel.kind == "table":
        found["format"] = "table"
    return found


def _field(panel: Panel) -> Json:
    field_config: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel.warn, panel.bad)},
    }
    if panel.decimals is not None:
        field_config["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        has_limits = panel.warn is not None or panel.bad is not None
        field_config["min"] = 0
        field_config["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if has_limits else "off"},
        }
    return field_config


def _steps(warn: float | None, bad: float | None) -> list[Json]:
    """Grafana's steps go upwards; where low is bad, they begin with red."""
    if warn is None and bad is None:
        return [{"color": BLUE, "value": None}]
    if warn is not None and bad is not None and bad < warn:
        return [
            {"color": RED, "value": None},
            {"color": YELLOW, "value": bad},
            {"color": GREEN, "value": warn},
        ]
    steps: list[Json] = [{"color": GREEN, "value": None}]
    if warn is not None:
        steps.append({"color": YELLOW, "value": warn})
    if bad is not None:
        steps.append({"color": RED, "value": bad})
    return steps


def _options(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "background",
            "graphMode": "none",
            "textMode": "auto",
        }
    return {"showHeader": True, "cellHeight": "sm"}


def _transformations(panel: Panel) -> list[Json]:
    wanted = {name: heading for name, heading, _ in panel.columns}
    order = {name: place for place, name in enumerate(wanted)}
    return [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": list(wanted)}}},
        {"id": "organize", "options": {"renameByName": wanted, "indexByName": order}},
    ]


def _column(heading: str, unit: str) -> Json:
    return {
        "matcher": {"id": "byName", "options": heading},
        "properties": [{"id": "unit", "value": unit}],
    }
