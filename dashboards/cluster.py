"""Broker by broker: which one is different from the others?"""

from __future__ import annotations

from dashboards.grafana import Dashboard, Row, series
from dashboards.promql import ALL_TOPICS, CLUSTER, NAMESPACE, by, of, of_brokers, quantile, rate, top

_LED = "kafka_server_replicamanager_"
_TRAFFIC = "kafka_server_brokertopicmetrics_"
_BROKER = "{{instance}}"
_REFUSED_BATCHES = by("instance", rate(_TRAFFIC + "failedproducerequests_total", ALL_TOPICS))
_REFUSED_FETCHES = by("instance", rate(_TRAFFIC + "failedfetchrequests_total", ALL_TOPICS))

CLUSTER_DASHBOARD = Dashboard(
    uid="moldau-cluster",
    title="moldau / Cluster",
    help="Broker by broker: which one is different from the others.",
    variables=(NAMESPACE, CLUSTER),
    rows=(
        Row(
            "Replicas",
            (
                series(
                    "State",
                    "3 serves, 2 recovers its logs, 1 starts, 6 shuts down; a line that ends: the process is gone.",
                    (of("kafka_server_kafkaserver_brokerstate"), _BROKER),
                    width=6,
                ),
                series(
                    "Leaders",
                    "Partitions led. One broker at 0: it has just come back, or is being emptied.",
                    (of(_LED + "leadercount"), _BROKER),
                    width=6,
                ),
                series(
                    "Under-replicated, by leader",
                    "The leader counts them; who is missing is another broker.",
                    (of(_LED + "underreplicatedpartitions"), _BROKER),
                    width=6,
                    warn=1,
                ),
                series(
                    "Replicas out of service",
                    "Hosted on a disk that failed. The broker's log says why; see the runbook.",
                    (of(_LED + "offlinereplicacount"), _BROKER),
                    width=6,
                    bad=1,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                series(
                    "Bytes written by clients",
                    "",
                    (rate(_TRAFFIC + "bytesin_total", ALL_TOPICS), _BROKER),
                    unit="Bps",
                    width=6,
                    stacked=True,
                ),
                series(
                    "Bytes read by clients",
                    "",
                    (rate(_TRAFFIC + "bytesout_total", ALL_TOPICS), _BROKER),
                    unit="Bps",
                    width=6,
                    stacked=True,
                ),
                series(
                    "Bytes fetched from leaders",
                    "Replication into each broker. Far above the others: it is catching up.",
                    (rate(_TRAFFIC + "replicationbytesin_total", ALL_TOPICS), _BROKER),
                    unit="Bps",
                    width=6,
                    stacked=True,
                ),
                series(
                    "Connections",
                    "Open, by listener. A sudden fall: clients cannot reach it.",
                    (by("instance, listener", of("moldau_connections")), "{{instance}} {{listener}}"),
                    width=6,
                ),
            ),
        ),
        Row(
            "Requests",
            (
                series(
                    "Requests by API",
                    "The ten most frequent; fetches of consumers and of followers apart.",
                    (
                        top(
                            10,
                            by(
                                "request",
                                rate("kafka_network_requestmetrics_requests_total", 'request!="Fetch"'),
                            ),
                        ),
                        "{{request}}",
                    ),
                    unit="reqps",
                ),
                series(
                    "Produce, 99th percentile",
                    "One broker above the others: its disk, or the follower it waits for.",
                    (
                        quantile(0.99, "moldau_request_seconds", "instance", 'api="Produce"'),
                        _BROKER,
                    ),
                    unit="s",
                    warn=0.5,
                    bad=2,
                ),
                series(
                    "Refused batches and fetches",
                    "Refusals other than those that send a client to another leader.",
                    (
                        _REFUSED_BATCHES,
                        "{{instance}} produce",
                    ),
                    (
                        _REFUSED_FETCHES,
                        "{{instance}} fetch",
                    ),
                    unit="reqps",
                    warn=1,
                ),
            ),
        ),
        Row(
            "Runtime",
            (
                series(
                    "Event loop idle",
                    "Share of a minute without work. Below 20 %: this broker is full, move leaders away.",
                    (of_brokers(of("moldau_event_loop_idle_ratio")), _BROKER),
                    unit="percentunit",
                    warn=0.2,
                    bad=0.05,
                    width=6,
                ),
                series(
                    "Event loop lag, 99th percentile",
                    "What every request waits besides its own work.",
                    (of_brokers(quantile(0.99, "moldau_event_loop_lag_seconds", "instance, job")), _BROKER),
                    unit="s",
                    warn=0.1,
                    bad=1,
                    width=6,
                ),
                series(
                    "Memory",
                    "Resident. Page cache is not in it.",
                    (of_brokers(of("process_resident_memory_bytes")), _BROKER),
                    unit="bytes",
                    width=6,
                ),
                series(
                    "Open files",
                    "Share of the limit; at 100 % connections are refused.",
                    (
                        of_brokers(f"{of('process_open_fds')} / {of('process_max_fds')}"),
                        _BROKER,
                    ),
                    unit="percentunit",
                    warn=0.7,
                    bad=0.9,
                    width=6,
                ),
            ),
        ),
        Row(
            "Disk",
            (
                series(
                    "Flush, 99th percentile",
                    "fdatasync of a log; acks=all waits for it on each replica in sync.",
                    (quantile(0.99, "moldau_fsync_seconds", "instance"), _BROKER),
                    unit="s",
                    warn=0.1,
                    bad=0.5,
                ),
                series(
                    "Free disk",
                    "",
                    (of("moldau_disk_free_bytes"), _BROKER),
                    unit="bytes",
                ),
                series(
                    "Bytes of logs",
                    "All replicas hosted, leaders and followers.",
                    (by("instance", of("moldau_log_size_bytes")), _BROKER),
                    unit="bytes",
                    stacked=True,
                ),
            ),
        ),
    ),
)
