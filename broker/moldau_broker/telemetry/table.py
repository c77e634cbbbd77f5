"""Every metric the broker has, in one table. Pure.

A metric that is not here cannot be emitted, and one that is here names who emits it; dashboards and alerts are
checked against this table. Names follow Prometheus' rules: base units, `_total` on counters, and the process'
own metrics under the names every Prometheus client uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class MetricType(Enum):
    """What a value does over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `emitter` is the module whose numbers it shows."""

    name: str
    type: MetricType
    labels: tuple[str, ...]
    unit: str
    help: str
    emitter: str


_COUNTER, _GAUGE, _HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM
_PARTITION: Final = ("topic", "partition")

_TABLE: Final = (
    # process
    Metric(
        "process_cpu_seconds_total", _COUNTER, (), "seconds", "User and system CPU time.", "telemetry.process"
    ),
    Metric(
        "process_max_fds", _GAUGE, (), "files", "Most files the process may hold open.", "telemetry.process"
    ),
    Metric("process_open_fds", _GAUGE, (), "files", "Files and sockets held open.", "telemetry.process"),
    Metric("process_resident_memory_bytes", _GAUGE, (), "bytes", "Memory in RAM.", "telemetry.process"),
    Metric(
        "process_start_time_seconds",
        _GAUGE,
        (),
        "seconds",
        "Start, in seconds since 1970.",
        "telemetry.process",
    ),
    Metric("process_threads", _GAUGE, (), "threads", "Threads of the process.", "telemetry.process"),
    Metric("process_virtual_memory_bytes", _GAUGE, (), "bytes", "Address space.", "telemetry.process"),
    # event loop and logs
    Metric(
        "moldau_event_loop_lag_seconds",
        _HISTOGRAM,
        (),
        "seconds",
        "How late a timer of the event loop fired: what every request waits besides its own work.",
        "telemetry.loop_lag",
    ),
    Metric("moldau_log_lines_total", _COUNTER, ("level",), "lines", "Log lines by level.", "telemetry.logs"),
    Metric(
        "moldau_log_lines_suppressed_total",
        _COUNTER,
        (),
        "lines",
        "Log lines not written, as repeats of others.",
        "telemetry.logs",
    ),
    # the node
    Metric(
        "moldau_build_info", _GAUGE, ("version", "python"), "", "Always 1; what is running.", "server.metrics"
    ),
    Metric(
        "moldau_state",
        _GAUGE,
        ("state",),
        "",
        "1 for the state the node is in, 0 for the others.",
        "server.metrics",
    ),
    # requests and connections
    Metric(
        "moldau_request_seconds",
        _HISTOGRAM,
        ("api",),
        "seconds",
        "From a whole frame to its answer, waiting included.",
        "server.request_stats",
    ),
    Metric(
        "moldau_connections", _GAUGE, ("listener",), "connections", "Open connections.", "server.listeners"
    ),
    Metric(
        "moldau_connections_accepted_total",
        _COUNTER,
        (),
        "connections",
        "Connections accepted since start.",
        "server.listeners",
    ),
    Metric(
        "moldau_connections_closed_total",
        _COUNTER,
        ("reason",),
        "connections",
        "Connections the broker ended, by reason.",
        "server.request_stats",
    ),
    Metric(
        "moldau_requests_with_trailing_bytes_total",
        _COUNTER,
        (),
        "requests",
        "Requests with bytes behind their body, which were ignored.",
        "server.request_stats",
    ),
    Metric(
        "moldau_received_bytes_total",
        _COUNTER,
        (),
        "bytes",
        "Bytes received from clients.",
        "server.listeners",
    ),
    Metric("moldau_sent_bytes_total", _COUNTER, (), "bytes", "Bytes sent to clients.", "server.listeners"),
    Metric(
        "moldau_in_flight_request_bytes",
        _GAUGE,
        (),
        "bytes",
        "Held by incomplete request frames.",
        "server.buffers",
    ),
    Metric("moldau_fetch_sessions", _GAUGE, (), "sessions", "Fetch sessions kept.", "server.fetch_sessions"),
    Metric(
        "moldau_fetch_session_evictions_total",
        _COUNTER,
        (),
        "sessions",
        "Fetch sessions given up for newer ones.",
        "server.fetch_sessions",
    ),
    # logs
    Metric("moldau_topics", _GAUGE, (), "topics", "Topics of the cluster.", "metadata.image"),
    Metric("moldau_partitions", _GAUGE, (), "partitions", "Partitions hosted here.", "replication.manager"),
    Metric(
        "moldau_partition_failures",
        _GAUGE,
        (),
        "partitions",
        "Partitions out of service here.",
        "replication.manager",
    ),
    Metric("moldau_log_start_offset", _GAUGE, _PARTITION, "records", "First offset kept.", "storage.log"),
    Metric(
        "moldau_log_end_offset", _GAUGE, _PARTITION, "records", "Offset of the next record.", "storage.log"
    ),
    Metric(
        "moldau_log_durable_offset", _GAUGE, _PARTITION, "records", "All below it is on disk.", "storage.log"
    ),
    Metric(
        "moldau_partition_high_watermark",
        _GAUGE,
        _PARTITION,
        "records",
        "All below it is visible to consumers.",
        "replication.partition",
    ),
    Metric("moldau_log_size_bytes", _GAUGE, _PARTITION, "bytes", "Bytes of records kept.", "storage.log"),
    Metric("moldau_log_segments", _GAUGE, _PARTITION, "files", "Segments kept.", "storage.log"),
)

METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _TABLE}
"""By name, in the order in which they are shown."""
