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
_CLUSTER: Final = ("namespace", "name")
_P: Final = "moldau_operator_"
_BY, _STATUS = "telemetry.metrics", "telemetry.clusters"

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
        _P + "rollout_active",
        _GAUGE,
        _CLUSTER,
        "rollouts",
        "1 while a change is being rolled over the Cluster's nodes, else 0.",
        _STATUS,
    ),
    Metric(
        _P + "rollout_seconds",
        _GAUGE,
        _CLUSTER,
        "seconds",
        "For how long a rollout has been under way; 0 while none is.",
        _STATUS,
    ),
    Metric(
        _P + "rollout_nodes_left",
        _GAUGE,
        _CLUSTER,
        "nodes",
        "Nodes that do not serve yet what the rollout wants.",
        _STATUS,
    ),
    Metric(
        _P + "rollout_blocked_seconds",
        _GAUGE,
        (*_CLUSTER, "node", "cause"),
        "seconds",
        "For how long a rollout has waited for a node: NodeNotServing, one that is not back; NotSafeYet, one that"
        " may not be stopped now. Absent while it waits for none.",
        _STATUS,
    ),
    Metric(
        _P + "balance_leaders_max",
        _GAUGE,
        _CLUSTER,
        "leaderships",
        "Most leaderships that one broker has.",
        _STATUS,
    ),
    Metric(
        _P + "balance_leaders_optimum",
        _GAUGE,
        _CLUSTER,
        "leaderships",
        "The least that this maximum can be, as proven.",
        _STATUS,
    ),
    Metric(
        _P + "balance_plan_state",
        _GAUGE,
        (*_CLUSTER, "state"),
        "plans",
        "1 for the state of the last plan to move replicas, 0 for the others.",
        _STATUS,
    ),
    Metric(
        _P + "balance_plan_moves", _GAUGE, _CLUSTER, "replicas", "Replicas that the last plan moves.", _STATUS
    ),
    Metric(_P + "balance_plan_moves_done", _GAUGE, _CLUSTER, "replicas", "Those that have arrived.", _STATUS),
    Metric(_P + "balance_plan_bytes", _GAUGE, _CLUSTER, "bytes", "Bytes that the last plan copies.", _STATUS),
    Metric(
        _P + "balance_plan_lower_bound_bytes",
        _GAUGE,
        _CLUSTER,
        "bytes",
        "Bytes that any plan to the same end has to copy; absent where that is not known.",
        _STATUS,
    ),
    Metric(
        _P + "balance_plan_gap_ratio",
        _GAUGE,
        _CLUSTER,
        "ratio",
        "How far the last plan is above that bound; absent where it is not known.",
        _STATUS,
    ),
    Metric(
        _P + "balance_plan_imbalance_ratio",
        _GAUGE,
        (*_CLUSTER, "when"),
        "ratio",
        "The fullest broker against the mean, before and after the last plan: by bytes, or by replicas where there"
        " are no bytes; 1 is even.",
        _STATUS,
    ),
    Metric(
        _P + "balance_moves_in_flight",
        _GAUGE,
        _CLUSTER,
        "replicas",
        "Replicas that are being copied to where the plan wants them.",
        _STATUS,
    ),
    Metric(
        _P + "balance_throttle_bytes_per_second",
        _GAUGE,
        _CLUSTER,
        "bytes per second",
        "What each broker may send, and take, for moves; absent while nothing moves.",
        _STATUS,
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
