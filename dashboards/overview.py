"""Is everything well, and if not where to look: one screen."""

from __future__ import annotations

from dashboards.grafana import Dashboard, Row, series, stat
from dashboards.promql import ALL_TOPICS, CLUSTER, NAMESPACE, by, of, of_brokers, quantile, rate, top, total

_LED = "kafka_server_replicamanager_"
_TRAFFIC = "kafka_server_brokertopicmetrics_"
_CONTROLLER = "kafka_controller_kafkacontroller_"
_ACTIVE = by("namespace, kafka_cluster", of(_CONTROLLER + "activecontrollercount"))

OVERVIEW = Dashboard(
    uid="moldau-overview",
    title="moldau / Overview",
    help="Is everything well, and if not, which of the other dashboards says more.",
    variables=(NAMESPACE, CLUSTER),
    rows=(
        Row(
            "Health",
            (
                stat(
                    "Brokers serving",
                    f"max({of('kafka_brokers')})",
                    "Registered and not fenced.",
                    width=3,
                ),
                stat(
                    "Brokers fenced",
                    f"max({of(_CONTROLLER + 'fencedbrokercount')})",
                    "Registered and not there: down, cut off, or not ready yet. Cluster shows which one.",
                    width=3,
                    bad=1,
                ),
                stat(
                    "Controllers missing or too many",
                    f"sum(abs({_ACTIVE} - 1))",
                    "Each cluster has exactly one active controller. None: the quorum has no majority.",
                    width=3,
                    bad=1,
                ),
                stat(
                    "Offline partitions",
                    f"max({of(_CONTROLLER + 'offlinepartitionscount')})",
                    "Without a leader: neither readable nor writable until a broker with the last replica is back.",
                    width=3,
                    bad=1,
                ),
                stat(
                    "Under min ISR",
                    f"sum({of(_LED + 'underminisrpartitioncount')})",
                    "Writers with acks=all are refused there; readers go on.",
                    width=3,
                    bad=1,
                ),
                stat(
                    "Under-replicated",
                    f"sum({of(_LED + 'underreplicatedpartitions')})",
                    "Some replica is not in sync: a broker is down or cannot keep up.",
                    width=3,
                    warn=1,
                ),
                stat(
                    "Longest lag",
                    f"max({of('kafka_consumergroup_group_max_lag_seconds')})",
                    "Age of the oldest record that any group has not consumed.",
                    width=3,
                    unit="s",
                    warn=60,
                    bad=600,
                ),
                stat(
                    "Least free disk",
                    f"min({of('moldau_disk_free_bytes')} / {of('moldau_disk_size_bytes')})",
                    "Of the fullest volume. At 0 % that broker refuses writes and falls out of sync.",
                    width=3,
                    unit="percentunit",
                    warn=0.15,
                    bad=0.05,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                series(
                    "Bytes",
                    "What clients write and read, and what replication adds, over all brokers.",
                    (total(_TRAFFIC + "bytesin_total", ALL_TOPICS), "written"),
                    (total(_TRAFFIC + "bytesout_total", ALL_TOPICS), "read"),
                    (total(_TRAFFIC + "replicationbytesin_total", ALL_TOPICS), "replicated"),
                    unit="Bps",
                ),
                series(
                    "Records written",
                    "By clients, over all brokers.",
                    (total(_TRAFFIC + "messagesin_total", ALL_TOPICS), "records"),
                    unit="cps",
                ),
                series(
                    "Groups furthest behind",
                    "A line that rises by a second each second: nobody consumes. Groups and lag says who.",
                    (
                        top(5, by("group", of("kafka_consumergroup_group_max_lag_seconds"), "max")),
                        "{{group}}",
                    ),
                    unit="s",
                    warn=60,
                    bad=600,
                ),
            ),
        ),
        Row(
            "Speed",
            (
                series(
                    "Requests, 99th percentile",
                    "From a whole request to its answer. Produce includes replication and the flush to the disk.",
                    (
                        quantile(
                            0.99, "moldau_request_seconds", "api", 'api=~"Produce|OffsetCommit|Metadata"'
                        ),
                        "{{api}}",
                    ),
                    unit="s",
                    warn=0.5,
                    bad=2,
                ),
                series(
                    "Event loop lag, 99th percentile",
                    "What every request waits besides its own work. Above 0.1 s: too much load, or a call that blocks.",
                    (
                        of_brokers(quantile(0.99, "moldau_event_loop_lag_seconds", "instance, job")),
                        "{{instance}}",
                    ),
                    unit="s",
                    warn=0.1,
                    bad=1,
                ),
                series(
                    "Changes of in-sync replicas",
                    "Shrinks without expands: a replica went and did not come back.",
                    (total(_LED + "isrshrinks_total"), "shrinks"),
                    (total(_LED + "isrexpands_total"), "expands"),
                    unit="cps",
                ),
            ),
        ),
        Row(
            "Room",
            (
                series(
                    "Free disk",
                    "Share of the data directory's volume.",
                    (f"{of('moldau_disk_free_bytes')} / {of('moldau_disk_size_bytes')}", "{{instance}}"),
                    unit="percentunit",
                    warn=0.15,
                    bad=0.05,
                ),
                series(
                    "CPU",
                    "In cores. One thread does a broker's own work; disk and compression add some.",
                    (of_brokers(rate("process_cpu_seconds_total")), "{{instance}}"),
                    unit="short",
                    warn=0.9,
                    decimals=2,
                ),
                series(
                    "Warnings and errors in the logs",
                    "Lines a second; the lines themselves say what.",
                    (
                        by("level", of_brokers(rate("moldau_log_lines_total", 'level=~"warn|error|fatal"'))),
                        "{{level}}",
                    ),
                    unit="cps",
                ),
            ),
        ),
    ),
)
