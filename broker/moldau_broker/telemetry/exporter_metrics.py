"""The names of kafka_exporter and of kafka-lag-exporter, as existing dashboards query them. Pure; part of `table`.

What differs on purpose: a group that has committed nothing in a partition has no series there (kafka_exporter says -1,
or makes a lag up), and while a partition's leader is not known its lag is absent.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.telemetry.metric import Metric, MetricType, Teller

_GAUGE = MetricType.GAUGE
_CONTROLLER, _PARTITIONS, _GROUPS = (
    "server.metrics.controller",
    "server.metrics.partition_rows",
    "server.metrics.groups",
)
_TOPIC: Final = ("topic", "partition")
_GROUP: Final = ("consumergroup", "topic", "partition")
_LAG_PARTITION: Final = ("cluster_name", "topic", "partition")
_LAG_GROUP: Final = ("cluster_name", "group")
_LAG: Final = ("cluster_name", "group", "topic", "partition")


def _of_cluster(name: str, labels: tuple[str, ...], unit: str, text: str) -> Metric:
    return Metric(name, _GAUGE, labels, unit, text, _CONTROLLER, Teller.CONTROLLER)


def _of_partition(name: str, labels: tuple[str, ...], unit: str, text: str) -> Metric:
    return Metric(name, _GAUGE, labels, unit, text, _PARTITIONS, Teller.LEADER)


def _of_group(name: str, labels: tuple[str, ...], unit: str, text: str) -> Metric:
    return Metric(name, _GAUGE, labels, unit, text, _GROUPS, Teller.COORDINATOR)


EXPORTER_METRICS: Final = (
    # kafka_exporter: cluster and topics
    _of_cluster("kafka_brokers", (), "brokers", "Brokers that are not fenced."),
    _of_cluster("kafka_broker_info", ("id", "address"), "", "Always 1; a broker that is not fenced."),
    _of_cluster("kafka_topic_partitions", ("topic",), "partitions", "Partitions of the topic."),
    _of_partition(
        "kafka_topic_partition_current_offset", _TOPIC, "records", "High watermark: what consumers can reach."
    ),
    _of_partition("kafka_topic_partition_oldest_offset", _TOPIC, "records", "First offset that can be read."),
    _of_partition("kafka_topic_partition_in_sync_replica", _TOPIC, "replicas", "Replicas in sync."),
    _of_partition("kafka_topic_partition_leader", _TOPIC, "", "Id of the broker that leads the partition."),
    _of_partition(
        "kafka_topic_partition_leader_is_preferred", _TOPIC, "", "1 where the first replica leads, else 0."
    ),
    _of_partition("kafka_topic_partition_replicas", _TOPIC, "replicas", "Replicas of the partition."),
    _of_partition(
        "kafka_topic_partition_under_replicated_partition",
        _TOPIC,
        "",
        "1 where fewer replicas are in sync than there are, else 0.",
    ),
    # kafka_exporter: groups
    _of_group("kafka_consumergroup_members", ("consumergroup",), "members", "Members of the group, also 0."),
    _of_group(
        "kafka_consumergroup_current_offset", _GROUP, "records", "Committed offset; absent without a commit."
    ),
    _of_group(
        "kafka_consumergroup_current_offset_sum",
        ("consumergroup", "topic"),
        "records",
        "Committed offsets of the topic's partitions together.",
    ),
    _of_group(
        "kafka_consumergroup_lag",
        _GROUP,
        "records",
        "Records between the commit and the high watermark; absent while the partition's leader is not known.",
    ),
    _of_group(
        "kafka_consumergroup_lag_sum",
        ("consumergroup", "topic"),
        "records",
        "Lag over the topic's committed partitions; absent while one of them is not known.",
    ),
    # kafka-lag-exporter
    _of_partition("kafka_partition_latest_offset", _LAG_PARTITION, "records", "High watermark."),
    _of_partition(
        "kafka_partition_earliest_offset", _LAG_PARTITION, "records", "First offset that can be read."
    ),
    _of_group("kafka_consumergroup_group_lag", _LAG, "records", "As kafka_consumergroup_lag."),
    _of_group(
        "kafka_consumergroup_group_lag_seconds",
        _LAG,
        "seconds",
        "Age of the first record that is not consumed, by the record's timestamp; 0 without lag.",
    ),
    _of_group("kafka_consumergroup_group_max_lag", _LAG_GROUP, "records", "The largest of the group's lags."),
    _of_group(
        "kafka_consumergroup_group_max_lag_seconds",
        _LAG_GROUP,
        "seconds",
        "The longest of the group's lags; absent while one of them is not known.",
    ),
    _of_group("kafka_consumergroup_group_sum_lag", _LAG_GROUP, "records", "Lag over everything committed."),
    _of_group(
        "kafka_consumergroup_group_topic_sum_lag",
        ("cluster_name", "group", "topic"),
        "records",
        "As kafka_consumergroup_lag_sum.",
    ),
)
