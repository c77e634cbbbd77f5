"""Metrics under our own names, and those of the process. Pure; part of `table`."""

from __future__ import annotations

from typing import Final

from moldau_broker.telemetry.metric import Metric, MetricType, Teller

_COUNTER, _GAUGE, _HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM
_PROCESS, _NODE = "telemetry.process", "server.metrics.node"
_PARTITIONS, _REQUESTS = "server.metrics.partitions", "server.metrics.requests"
_ROWS: Final = "server.metrics.partition_rows"
_QUORUM, _CONTROLLER, _GROUPS = "server.metrics.quorum", "server.metrics.controller", "server.metrics.groups"
_PARTITION: Final = ("topic", "partition")
_REPLICA: Final = ("topic", "partition", "broker")

OWN_METRICS: Final = (
    # process
    Metric("process_cpu_seconds_total", _COUNTER, (), "seconds", "User and system CPU time.", _PROCESS),
    Metric("process_max_fds", _GAUGE, (), "files", "Most files the process may hold open.", _PROCESS),
    Metric("process_open_fds", _GAUGE, (), "files", "Files and sockets held open.", _PROCESS),
    Metric("process_resident_memory_bytes", _GAUGE, (), "bytes", "Memory in RAM.", _PROCESS),
    Metric("process_start_time_seconds", _GAUGE, (), "seconds", "Start, in seconds since 1970.", _PROCESS),
    Metric("process_threads", _GAUGE, (), "threads", "Threads of the process.", _PROCESS),
    Metric("process_virtual_memory_bytes", _GAUGE, (), "bytes", "Address space.", _PROCESS),
    Metric(
        "python_gc_collections_total",
        _COUNTER,
        ("generation",),
        "collections",
        "Runs of the garbage collector.",
        _PROCESS,
    ),
    # event loop and logs
    Metric(
        "moldau_event_loop_lag_seconds",
        _HISTOGRAM,
        (),
        "seconds",
        "How late a timer of the event loop fired: what every request waits besides its own work.",
        "telemetry.loop_lag",
    ),
    Metric(
        "moldau_event_loop_idle_ratio",
        _GAUGE,
        (),
        "ratio",
        "Share of the last minute in which the event loop's thread used no CPU.",
        "telemetry.loop_lag",
    ),
    Metric(
        "moldau_event_loop_stalls_total",
        _COUNTER,
        (),
        "stalls",
        "Times the event loop did not turn for a second; the log has the stack.",
        "telemetry.watchdog",
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
    Metric("moldau_build_info", _GAUGE, ("version", "python"), "", "Always 1; what is running.", _NODE),
    Metric(
        "moldau_state", _GAUGE, ("state",), "", "1 for the state the node is in, 0 for the others.", _NODE
    ),
    Metric(
        "moldau_metadata_offset",
        _GAUGE,
        (),
        "records",
        "Last offset of the metadata log that this node acts on.",
        _NODE,
    ),
    Metric(
        "moldau_broker_session_age_seconds",
        _GAUGE,
        (),
        "seconds",
        "Since the last heartbeat was sent that the controller answered.",
        _NODE,
    ),
    # requests and connections
    Metric(
        "moldau_request_seconds",
        _HISTOGRAM,
        ("api",),
        "seconds",
        "From a whole frame to its answer, waiting included.",
        _REQUESTS,
    ),
    Metric("moldau_connections", _GAUGE, ("listener",), "connections", "Open connections.", _REQUESTS),
    Metric(
        "moldau_connections_accepted_total",
        _COUNTER,
        (),
        "connections",
        "Connections accepted since start.",
        _REQUESTS,
    ),
    Metric(
        "moldau_connections_delayed_total",
        _COUNTER,
        (),
        "connections",
        "Connections that had to wait, as more came than max.connection.creation.rate allows.",
        _REQUESTS,
    ),
    Metric(
        "moldau_connections_closed_total",
        _COUNTER,
        ("reason",),
        "connections",
        "Connections the broker ended, by reason.",
        _REQUESTS,
    ),
    Metric(
        "moldau_requests_with_trailing_bytes_total",
        _COUNTER,
        (),
        "requests",
        "Requests with bytes behind their body, which were ignored.",
        _REQUESTS,
    ),
    Metric(
        "moldau_received_bytes_total",
        _COUNTER,
        ("listener",),
        "bytes",
        "Bytes received from clients and other nodes.",
        _REQUESTS,
    ),
    Metric(
        "moldau_sent_bytes_total",
        _COUNTER,
        ("listener",),
        "bytes",
        "Bytes sent to clients and other nodes that have connected here.",
        _REQUESTS,
    ),
    Metric(
        "moldau_in_flight_request_bytes",
        _GAUGE,
        (),
        "bytes",
        "Held by incomplete request frames.",
        _REQUESTS,
    ),
    Metric("moldau_waiting_fetches", _GAUGE, (), "requests", "Fetches that wait for records.", _REQUESTS),
    Metric("moldau_fetch_sessions", _GAUGE, (), "sessions", "Fetch sessions kept.", _REQUESTS),
    Metric(
        "moldau_fetch_session_evictions_total",
        _COUNTER,
        (),
        "sessions",
        "Fetch sessions given up for newer ones.",
        _REQUESTS,
    ),
    # disk
    Metric(
        "moldau_fsync_seconds",
        _HISTOGRAM,
        (),
        "seconds",
        "How long each flush of a log to the disk took.",
        _PARTITIONS,
    ),
    Metric(
        "moldau_disk_free_bytes", _GAUGE, (), "bytes", "Free on the data directory's volume.", _PARTITIONS
    ),
    Metric(
        "moldau_disk_size_bytes", _GAUGE, (), "bytes", "Size of the data directory's volume.", _PARTITIONS
    ),
    Metric(
        "moldau_log_scrubbed_bytes_total",
        _COUNTER,
        (),
        "bytes",
        "Bytes of segments and metadata snapshots read in search of damage.",
        "server.scrubber",
    ),
    Metric(
        "moldau_log_damage_found_total",
        _COUNTER,
        (),
        "segments",
        "Segments and metadata snapshots in which that search found damage.",
        "server.scrubber",
    ),
    Metric(
        "moldau_metadata_log_damaged_files",
        _GAUGE,
        (),
        "files",
        "Segments and snapshots of the metadata log that are damaged now, as far as that search knows.",
        "server.metadata_scrub",
    ),
    # logs
    Metric(
        "moldau_topics", _GAUGE, (), "topics", "Topics of the cluster, as this node knows it.", _PARTITIONS
    ),
    Metric("moldau_partitions", _GAUGE, (), "partitions", "Partitions hosted here.", _PARTITIONS),
    Metric(
        "moldau_partition_failures", _GAUGE, (), "partitions", "Partitions out of service here.", _PARTITIONS
    ),
    Metric(
        "moldau_log_start_offset",
        _GAUGE,
        _REPLICA,
        "records",
        "First offset kept.",
        _ROWS,
        Teller.REPLICA,
    ),
    Metric(
        "moldau_log_end_offset",
        _GAUGE,
        _REPLICA,
        "records",
        "Offset of the next record.",
        _ROWS,
        Teller.REPLICA,
    ),
    Metric(
        "moldau_log_durable_offset",
        _GAUGE,
        _REPLICA,
        "records",
        "All below it is on this replica's disk.",
        _ROWS,
        Teller.REPLICA,
    ),
    Metric(
        "moldau_partition_high_watermark",
        _GAUGE,
        _REPLICA,
        "records",
        "All below it is visible to consumers, as far as this replica knows.",
        _ROWS,
        Teller.REPLICA,
    ),
    Metric(
        "moldau_log_size_bytes",
        _GAUGE,
        _REPLICA,
        "bytes",
        "Bytes of records kept.",
        _ROWS,
        Teller.REPLICA,
    ),
    Metric("moldau_log_segments", _GAUGE, _REPLICA, "files", "Segments kept.", _ROWS, Teller.REPLICA),
    Metric(
        "moldau_partition_leader_epoch",
        _GAUGE,
        _PARTITION,
        "elections",
        "Counts the leaders the partition has had.",
        _ROWS,
        Teller.LEADER,
    ),
    # replication throttles (kafka-reassign-partitions --throttle)
    Metric(
        "moldau_replication_throttled_bytes_total",
        _COUNTER,
        ("direction",),
        "bytes",
        "Replication traffic of throttled replicas while a rate was set.",
        _PARTITIONS,
    ),
    Metric(
        "moldau_replication_throttle_bytes_per_second",
        _GAUGE,
        ("direction",),
        "bytes per second",
        "The rate in force; absent where there is none.",
        _PARTITIONS,
    ),
    # groups
    Metric(
        "moldau_group_state",
        _GAUGE,
        ("consumergroup", "state"),
        "",
        "Always 1; the state the group is in.",
        _GROUPS,
        Teller.COORDINATOR,
    ),
    Metric(
        "moldau_groups_loading",
        _GAUGE,
        (),
        "partitions",
        "Partitions of __consumer_offsets led here that are still being read.",
        _GROUPS,
    ),
    Metric(
        "moldau_lag_refresh_seconds",
        _GAUGE,
        (),
        "seconds",
        "How long it took to find the positions behind the groups' lag, the last time.",
        _GROUPS,
    ),
    Metric(
        "moldau_lag_age_seconds",
        _GAUGE,
        (),
        "seconds",
        "Since the groups' positions were read, or since that has been tried in vain.",
        _GROUPS,
    ),
    # elections
    Metric(
        "moldau_leader_elections_total",
        _COUNTER,
        (),
        "elections",
        "Partitions that got another leader while this node was the active controller.",
        _CONTROLLER,
    ),
    Metric(
        "moldau_quorum_voters", _GAUGE, (), "nodes", "Voters of the metadata quorum, as known here.", _QUORUM
    ),
)
