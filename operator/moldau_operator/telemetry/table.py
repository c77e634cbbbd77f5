"""Every metric the operator has, in one table. Pure.

The names have the shape of Strimzi's operator metrics under our prefix, so that dashboards need only that replaced;
what both programs measure of themselves (process, event loop, log lines) has the broker's definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_broker.telemetry.table import METRICS as BROKER_METRICS
from moldau_broker.telemetry.table import Metric, MetricType

_COUNTER, _GAUGE, _HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM
_KIND: Final = ("kind", "namespace")
_P: Final = "moldau_operator_"
_BY: Final = "telemetry.metrics"

_SHARED: Final = ("process_", "python_", "moldau_event_loop_", "moldau_log_lines_")
"""Beginnings of names that any process of ours has."""

_TABLE: Final = (
    Metric(_P + "leader", _GAUGE, (), "", "1 while this process holds the Lease.", _BY),
    Metric(
        _P + "reconciliations_total",
        _COUNTER,
        _KIND,
        "reconciliations",
        "Times the resources of a kind were compared with what is there, once for each cluster and pass.",
        _BY,
    ),
    Metric(
        _P + "reconciliations_successful_total",
        _COUNTER,
        _KIND,
        "reconciliations",
        "Those that came to an end.",
        _BY,
    ),
    Metric(
        _P + "reconciliations_failed_total",
        _COUNTER,
        _KIND,
        "reconciliations",
        "Those that an error ended.",
        _BY,
    ),
    Metric(
        _P + "reconciliations_periodical_total",
        _COUNTER,
        _KIND,
        "reconciliations",
        "Those that the clock began, because no event came.",
        _BY,
    ),
    Metric(
        _P + "reconciliations_duration_seconds",
        _HISTOGRAM,
        _KIND,
        "seconds",
        "How long they took.",
        _BY,
    ),
    Metric(
        _P + "pass_age_seconds",
        _GAUGE,
        (),
        "seconds",
        "Since the last pass over everything was finished.",
        _BY,
    ),
    Metric(
        _P + "queue_depth", _GAUGE, (), "events", "Events heard that no pass has begun to look at yet.", _BY
    ),
    Metric(_P + "events_total", _COUNTER, ("resource",), "events", "Events heard from each watch.", _BY),
    Metric(
        _P + "watch_age_seconds",
        _GAUGE,
        ("resource",),
        "seconds",
        "Since a watch last told something; grows while nothing changes.",
        _BY,
    ),
    Metric(
        _P + "watch_behind_seconds",
        _GAUGE,
        ("resource",),
        "seconds",
        "For how long a watch has been silent about a version that a list has shown; 0 while none is.",
        _BY,
    ),
    Metric(
        _P + "writes_total",
        _COUNTER,
        ("resource", "verb"),
        "requests",
        "Writes to the API server; a settled namespace causes none but the Lease's.",
        "telemetry.counted_api",
    ),
    Metric(
        _P + "api_errors_total",
        _COUNTER,
        ("resource", "code"),
        "requests",
        "Requests that the API server refused, by HTTP status; 0 where no answer came.",
        "telemetry.counted_api",
    ),
    Metric(
        _P + "actions_total", _COUNTER, _KIND, "actions", "Actions planned and carried out since start.", _BY
    ),
    Metric(
        _P + "plan_size", _GAUGE, _KIND, "actions", "Actions of the largest plan within the last minute.", _BY
    ),
    Metric(
        _P + "plan_gap",
        _GAUGE,
        _KIND,
        "resources",
        "Resources whose Ready condition is not True: what is declared and not (yet) so.",
        "telemetry.declared",
    ),
    Metric(_P + "resources", _GAUGE, _KIND, "resources", "Resources there are.", "telemetry.declared"),
    Metric(
        _P + "cluster_unready_seconds",
        _GAUGE,
        ("namespace", "name"),
        "seconds",
        "For how long a Cluster has not been Ready; 0 while it is. A roll that is stuck shows here.",
        "telemetry.declared",
    ),
    Metric(
        _P + "group_budget_records",
        _GAUGE,
        ("namespace", "group"),
        "records",
        "How far a group may be behind, as its ConsumerGroup's spec.maxLag.records says.",
        "telemetry.declared",
    ),
    Metric(
        _P + "group_budget_seconds",
        _GAUGE,
        ("namespace", "group"),
        "seconds",
        "The same in seconds (spec.maxLag.seconds).",
        "telemetry.declared",
    ),
)

METRICS: Final[Mapping[str, Metric]] = {
    **{name: metric for name, metric in BROKER_METRICS.items() if name.startswith(_SHARED)},
    **{metric.name: metric for metric in _TABLE},
}
"""By name, in the order in which they are shown."""
