"""Which topic carries what, and what it keeps."""

from __future__ import annotations

from dashboards.grafana import Dashboard, Panel, Query, Row, series
from dashboards.promql import CLUSTER, EACH_TOPIC, NAMESPACE, TOPIC, by, of, rate, top

_TRAFFIC = "kafka_server_brokertopicmetrics_"
_PARTITION = "kafka_topic_partition"
_NAMED = 'topic=~"$topic"'
_LEGEND = "{{topic}}"

TOPICS = Dashboard(
    uid="moldau-topics",
    title="moldau / Topics",
    help="Which topic carries what, and what it keeps.",
    variables=(NAMESPACE, CLUSTER, TOPIC),
    rows=(
        Row(
            "Traffic",
            (
                series(
                    "Records written",
                    "The ten busiest topics.",
                    (top(10, by("topic", rate(_TRAFFIC + "messagesin_total", EACH_TOPIC))), _LEGEND),
                    unit="cps",
                ),
                series(
                    "Bytes written",
                    "",
                    (top(10, by("topic", rate(_TRAFFIC + "bytesin_total", EACH_TOPIC))), _LEGEND),
                    unit="Bps",
                ),
                series(
                    "Bytes read",
                    "More than written: several groups, or one that reads old records again.",
                    (top(10, by("topic", rate(_TRAFFIC + "bytesout_total", EACH_TOPIC))), _LEGEND),
                    unit="Bps",
                ),
                series(
                    "Busiest partitions",
                    "Records a second. One far above its topic's others: a hot key.",
                    (
                        top(10, f"rate({of(_PARTITION + '_current_offset', _NAMED)}[$__rate_interval])"),
                        "{{topic}}-{{partition}}",
                    ),
                    unit="cps",
                ),
                series(
                    "Batches written",
                    "Many small ones cost more than few large ones: look at linger.ms and batch.size of the producers.",
                    (
                        top(10, by("topic", rate(_TRAFFIC + "totalproducerequests_total", EACH_TOPIC))),
                        _LEGEND,
                    ),
                    unit="cps",
                ),
                series(
                    "Refused batches",
                    "",
                    (
                        top(10, by("topic", rate(_TRAFFIC + "failedproducerequests_total", EACH_TOPIC))),
                        _LEGEND,
                    ),
                    unit="cps",
                    warn=1,
                ),
            ),
        ),
        Row(
            "What is kept",
            (
                series(
                    "Bytes",
                    "Of the leaders' logs; replicas multiply it.",
                    (top(10, by("topic", of("kafka_log_log_size", _NAMED))), _LEGEND),
                    unit="bytes",
                    stacked=True,
                ),
                series(
                    "Records that can be read",
                    "Offsets between the first and the last; compacted topics have fewer records than that.",
                    (
                        top(
                            10,
                            by(
                                "topic",
                                f"{of(_PARTITION + '_current_offset', _NAMED)}"
                                f" - {of(_PARTITION + '_oldest_offset', _NAMED)}",
                            ),
                        ),
                        _LEGEND,
                    ),
                ),
                series(
                    "Segments",
                    "Files over all replicas. Thousands: segment.bytes or segment.ms is small.",
                    (top(10, by("topic", of("moldau_log_segments", _NAMED))), _LEGEND),
                ),
            ),
        ),
        Row(
            "Replication",
            (
                Panel(
                    "Topics",
                    (
                        Query(by("topic", of("kafka_topic_partitions", _NAMED), "max"), instant=True),
                        Query(
                            by("topic", of(_PARTITION + "_under_replicated_partition", _NAMED)), instant=True
                        ),
                        Query(by("topic", of("kafka_cluster_partition_underminisr", _NAMED)), instant=True),
                        Query(by("topic", of(_PARTITION + "_leader_is_preferred", _NAMED)), instant=True),
                        Query(by("topic", of("kafka_log_log_size", _NAMED)), instant=True),
                    ),
                    "Partitions led by their first replica should be all, where the balance is at rest.",
                    kind="table",
                    width=16,
                    columns=(
                        ("topic", "Topic", ""),
                        ("Value #A", "Partitions", ""),
                        ("Value #B", "Under-replicated", ""),
                        ("Value #C", "Under min ISR", ""),
                        ("Value #D", "Led by first replica", ""),
                        ("Value #E", "Bytes", "bytes"),
                    ),
                ),
                series(
                    "Under-replicated partitions",
                    "",
                    (
                        by("topic", of(_PARTITION + "_under_replicated_partition", _NAMED)),
                        _LEGEND,
                    ),
                    warn=1,
                ),
            ),
        ),
    ),
)
