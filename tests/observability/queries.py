"""The dashboards' queries as Grafana would send them, and what may stand still in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from dashboards.__main__ import DASHBOARDS

_CHOICES: Final = {"$namespace": ".*", "$cluster": ".*", "$topic": ".*", "$group": ".*"}
RATE_INTERVAL: Final = "10s"

CONSTANT: Final = {
    (
        "moldau-quorum",
        "Voters",
    ): "nobody joins or leaves the quorum in this story; a voter that is away stays one",
    (
        "moldau-operator",
        "Plan above the least possible",
    ): "one number of each plan that goes all the way; there is one such plan in this story",
}
"""Panels whose values do not move, by dashboard and title, and why."""


MOMENTARY: Final = {
    (
        "moldau-groups",
        "Coordinators loading",
    ): "a load takes milliseconds here, and a scrape sees it now and then",
}
"""Panels that move in some runs only, and why."""


class PanelQuery(NamedTuple):
    """One query of one panel."""

    dashboard: str
    panel: str
    expr: str
    legend: str
    unit: str

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel}: {self.expr}"


def resolve(expression: str) -> str:
    """With the choices on "All" and the rate interval that fits scrapes of a second."""
    for name, value in _CHOICES.items():
        expression = expression.replace(name, value)
    return expression.replace("$__rate_interval", RATE_INTERVAL)


def panel_queries() -> Iterator[PanelQuery]:
    """All of them."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels():
            for query in panel.queries:
                yield PanelQuery(dashboard.uid, panel.title, resolve(query.expr), query.legend, panel.unit)


PUBLIC_NAMES: Final = (
    # kafka_exporter: Grafana 7589, Strimzi's exporter dashboard and rules, MSK's documentation
    "kafka_brokers",
    'kafka_broker_info{id!="",address!=""}',
    'kafka_topic_partitions{topic!=""}',
    'kafka_topic_partition_current_offset{partition!=""}',
    "kafka_topic_partition_oldest_offset",
    "kafka_topic_partition_in_sync_replica",
    "kafka_topic_partition_leader",
    "kafka_topic_partition_leader_is_preferred",
    "kafka_topic_partition_replicas",
    "kafka_topic_partition_under_replicated_partition",
    'kafka_consumergroup_current_offset{consumergroup!="",topic!="",partition!=""}',
    'kafka_consumergroup_current_offset_sum{consumergroup!="",topic!=""}',
    'kafka_consumergroup_lag{consumergroup!="",topic!="",partition!=""}',
    'kafka_consumergroup_lag_sum{consumergroup!="",topic!=""}',
    'kafka_consumergroup_members{consumergroup!=""}',
    'sum(rate(kafka_topic_partition_current_offset{topic=~".*"}[10s])) by (topic)',
    'sum(kafka_consumergroup_lag{topic=~".*"}) by (consumergroup, topic)',
    # kafka-lag-exporter
    'kafka_consumergroup_group_lag{cluster_name!="",group!="",topic!="",partition!=""}',
    "kafka_consumergroup_group_lag_seconds",
    "kafka_consumergroup_group_max_lag",
    "kafka_consumergroup_group_max_lag_seconds",
    "kafka_consumergroup_group_sum_lag",
    "kafka_consumergroup_group_topic_sum_lag",
    'kafka_partition_latest_offset{cluster_name!=""}',
    "kafka_partition_earliest_offset",
    # Strimzi's broker dashboards (JMX exporter's names)
    *(
        f'sum(rate(kafka_server_brokertopicmetrics_{name}_total{{topic!=""}}[10s])) by (topic)'
        for name in (
            "messagesin",
            "bytesin",
            "bytesout",
            "totalproducerequests",
            "totalfetchrequests",
            "failedproducerequests",
            "failedfetchrequests",
        )
    ),
    'sum(irate(kafka_server_brokertopicmetrics_messagesin_total{topic!=""}[10s]))',
    "sum(kafka_server_replicamanager_underreplicatedpartitions)",
    "sum(kafka_server_replicamanager_underminisrpartitioncount)",
    "sum(kafka_server_replicamanager_partitioncount)",
    "sum(kafka_server_replicamanager_leadercount)",
    "sum(kafka_cluster_partition_underminisr)",
    "sum(kafka_cluster_partition_atminisr)",
    'kafka_cluster_partition_replicascount{partition="0"}',
    "sum(kafka_log_log_size) by (topic)",
    "sum(kafka_log_logmanager_offlinelogdirectorycount)",
    "sum(kafka_controller_kafkacontroller_activecontrollercount)",
    "sum(kafka_controller_kafkacontroller_offlinepartitionscount)",
    "sum(kafka_controller_controllerstats_uncleanleaderelections_total)",
    "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
    "kafka_network_socketserver_networkprocessoravgidle_percent",
    "sum(kafka_server_socket_server_metrics_connection_count) by (listener)",
    'kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.99"}',
    # Strimzi's KRaft dashboard
    "kafka_server_raftmetrics_current_leader",
    "kafka_server_raftmetrics_current_epoch",
    "kafka_server_raftmetrics_current_vote",
    'count(kafka_server_raftmetrics_current_state{current_state!=""}) by (current_state)',
    "kafka_server_raftmetrics_high_watermark",
    "kafka_server_raftmetrics_log_end_offset",
    "kafka_server_raftmetrics_append_records_rate",
    "kafka_server_raftmetrics_fetch_records_rate",
    "kafka_server_raftmetrics_commit_latency_avg",
    *(
        f"sum(rate(kafka_server_raftchannelmetrics_{name}_total[10s]))"
        for name in ("request", "response", "incoming_byte", "outgoing_byte")
    ),
    "process_open_fds",
    # kminion, by the recording rules
    'kminion_kafka_consumer_group_topic_lag{group_id!="",topic_name!=""}',
    'kminion_kafka_consumer_group_topic_partition_lag{partition_id!=""}',
    "kminion_kafka_topic_partition_high_water_mark",
    "kminion_kafka_broker_log_dir_size_total_bytes",
)
"""What public dashboards and rules query."""
