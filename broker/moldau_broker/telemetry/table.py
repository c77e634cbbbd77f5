"""Every metric the broker has, in one table. Pure.

A metric that is not here cannot be emitted, and one that is here names who emits it; dashboards, alerts and
docs/metrics.md are checked against this table. Our own names follow Prometheus' rules: base units, `_total` on
counters, and the process' metrics under the names every Prometheus client uses. The names of others are kept as their
dashboards query them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_broker.telemetry.exporter_metrics import EXPORTER_METRICS
from moldau_broker.telemetry.jmx_metrics import JMX_METRICS
from moldau_broker.telemetry.metric import Metric, MetricType, Teller
from moldau_broker.telemetry.own_metrics import OWN_METRICS

__all__ = ["LINT_EXCEPTIONS", "METRICS", "Metric", "MetricType", "Teller"]

METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric for metric in (*OWN_METRICS, *EXPORTER_METRICS, *JMX_METRICS)
}
"""By name, in the order in which they are shown."""

LINT_EXCEPTIONS: Final[Mapping[str, str]] = {
    "kafka_consumergroup_current_offset_sum": "kafka_exporter's name for a gauge; only histograms end in _sum.",
    "kafka_consumergroup_lag_sum": "kafka_exporter's name for a gauge; only histograms end in _sum.",
    "kafka_server_socket_server_metrics_connection_count": (
        "The JMX exporter's name for a gauge; only histograms end in _count."
    ),
}
"""What `promtool check metrics` finds fault with, and why the name is kept: dashboards query it."""
