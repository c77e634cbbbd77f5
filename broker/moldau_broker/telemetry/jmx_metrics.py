"""The names that the JMX exporter gives Kafka's own metrics under Strimzi's rules. Pure; part of `table`.

They are what Strimzi's dashboards and alerts query. `jvm_*` has no counterpart: see the process' and the event loop's
metrics instead.
"""

from __future__ import annotations

from typing import Final

from moldau_broker.telemetry.metric import Metric, MetricType, Teller

_COUNTER, _GAUGE, _SUMMARY = MetricType.COUNTER, MetricType.GAUGE, MetricType.SUMMARY
_PARTITIONS, _REQUESTS = "server.metrics.partitions", "server.metrics.requests"
_ROWS: Final = "server.metrics.partition_rows"
_QUORUM, _CONTROLLER = "server.metrics.quorum", "server.metrics.controller"
_PARTITION: Final = ("topic", "partition")


def _traffic(name: str, unit: str, text: str) -> Metric:
    return Metric(
        f"kafka_server_brokertopicmetrics_{name}_total",
        _COUNTER,
        ("topic",),
        unit,
        text,
        _PARTITIONS,
        total=True,
    )


def _replicas(name: str, text: str) -> Metric:
    return Metric(f"kafka_server_replicamanager_{name}", _GAUGE, (), "partitions", text, _PARTITIONS)


def _partition(name: str, unit: str, text: str) -> Metric:
    return Metric(name, _GAUGE, _PARTITION, unit, text, _ROWS, Teller.LEADER)


def _controller(name: str, unit: str, text: str) -> Metric:
    return Metric(
        f"kafka_controller_kafkacontroller_{name}", _GAUGE, (), unit, text, _CONTROLLER, Teller.CONTROLLER
    )


def _raft(name: str, unit: str, text: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(f"kafka_server_raftmetrics_{name}", _GAUGE, labels, unit, text, _QUORUM)


def _channel(name: str, unit: str, text: str) -> Metric:
    return Metric(f"kafka_server_raftchannelmetrics_{name}_total", _COUNTER, (), unit, text, _QUORUM)


JMX_METRICS: Final = (
    # throughput
    _traffic("messagesin", "records", "Records that clients had appended here."),
    _traffic("bytesin", "bytes", "Bytes of records that clients had appended here."),
    _traffic("bytesout", "bytes", "Bytes of records sent to consumers."),
    _traffic("replicationbytesin", "bytes", "Bytes of records fetched from leaders."),
    _traffic("replicationbytesout", "bytes", "Bytes of records sent to followers."),
    _traffic("totalproducerequests", "requests", "Batches that clients asked to append, by partition."),
    _traffic("totalfetchrequests", "requests", "Answers to consumers' fetches, by partition."),
    _traffic("failedproducerequests", "requests", "Batches refused, but for those sent to another leader."),
    _traffic("failedfetchrequests", "requests", "Fetches refused, but for those sent to another leader."),
    # replication
    _replicas("partitioncount", "Replicas hosted here."),
    _replicas("leadercount", "Partitions led here."),
    _replicas("underreplicatedpartitions", "Led here, with fewer replicas in sync than there are."),
    _replicas("underminisrpartitioncount", "Led here, with fewer in sync than min.insync.replicas."),
    _replicas("atminisrpartitioncount", "Led here, with as many in sync as min.insync.replicas."),
    _replicas("offlinereplicacount", "Replicas hosted here that are out of service."),
    _replicas("reassigningpartitions", "Led here, with a reassignment under way."),
    Metric(
        "kafka_server_replicamanager_isrshrinks_total",
        _COUNTER,
        (),
        "changes",
        "In-sync replica sets that this leader asked the controller to shrink.",
        _PARTITIONS,
    ),
    Metric(
        "kafka_server_replicamanager_isrexpands_total",
        _COUNTER,
        (),
        "changes",
        "In-sync replica sets that this leader asked the controller to grow.",
        _PARTITIONS,
    ),
    _partition(
        "kafka_cluster_partition_underminisr", "", "1 with fewer in sync than min.insync.replicas, else 0."
    ),
    _partition(
        "kafka_cluster_partition_atminisr", "", "1 with as many in sync as min.insync.replicas, else 0."
    ),
    _partition("kafka_cluster_partition_replicascount", "replicas", "Replicas of the partition."),
    _partition("kafka_cluster_partition_insyncreplicascount", "replicas", "Replicas in sync."),
    _partition("kafka_cluster_partition_underreplicated", "", "1 with fewer in sync than there are, else 0."),
    _partition("kafka_log_log_size", "bytes", "Bytes of records the leader keeps."),
    _partition("kafka_log_log_logendoffset", "records", "Offset of the next record, at the leader."),
    _partition("kafka_log_log_logstartoffset", "records", "First offset that can be read."),
    Metric(
        "kafka_log_logmanager_offlinelogdirectorycount",
        _GAUGE,
        (),
        "directories",
        "1 while a log of the data directory is out of service, else 0.",
        _PARTITIONS,
    ),
    # requests
    Metric(
        "kafka_network_requestmetrics_totaltimems",
        _SUMMARY,
        ("request",),
        "milliseconds",
        "From a whole frame to its answer; quantiles of the last five minutes.",
        _REQUESTS,
    ),
    Metric(
        "kafka_network_requestmetrics_requests_total",
        _COUNTER,
        ("request",),
        "requests",
        "Requests answered.",
        _REQUESTS,
    ),
    Metric(
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        _GAUGE,
        (),
        "ratio",
        "Share of the last minute in which the event loop's thread was idle, 0 to 1.",
        _REQUESTS,
    ),
    Metric(
        "kafka_network_socketserver_networkprocessoravgidle_percent",
        _GAUGE,
        (),
        "ratio",
        "The same: one thread handles the network and the requests.",
        _REQUESTS,
    ),
    Metric(
        "kafka_server_socket_server_metrics_connection_count",
        _GAUGE,
        ("listener",),
        "connections",
        "Open connections.",
        _REQUESTS,
    ),
    # broker and controller
    Metric(
        "kafka_server_kafkaserver_brokerstate",
        _GAUGE,
        (),
        "",
        "0 not running, 1 starting, 2 recovery, 3 running, 6 shutting down.",
        "server.metrics.node",
    ),
    Metric(
        "kafka_controller_kafkacontroller_activecontrollercount",
        _GAUGE,
        (),
        "",
        "1 on the active controller, 0 on every other node.",
        _CONTROLLER,
    ),
    _controller("offlinepartitionscount", "partitions", "Partitions without a leader."),
    _controller("globaltopiccount", "topics", "Topics of the cluster."),
    _controller("globalpartitioncount", "partitions", "Partitions of the cluster."),
    _controller("preferredreplicaimbalancecount", "partitions", "Partitions not led by their first replica."),
    _controller("activebrokercount", "brokers", "Registered brokers that are not fenced."),
    _controller("fencedbrokercount", "brokers", "Registered brokers that are fenced."),
    Metric(
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        _COUNTER,
        (),
        "elections",
        "Leaders that were not in sync, elected while this node was the active controller.",
        _CONTROLLER,
    ),
    # quorum
    _raft("current_leader", "", "Id of the quorum's leader, -1 while none is known."),
    _raft("current_epoch", "elections", "The quorum's epoch."),
    _raft("current_vote", "", "Id of who this node voted for in this epoch, -1 for nobody."),
    _raft("current_state", "", "Always 1; the role this node has in the quorum.", ("current_state",)),
    _raft("high_watermark", "records", "First offset of the metadata log that is not committed."),
    _raft("log_end_offset", "records", "End of this node's metadata log."),
    _raft(
        "commit_latency_avg",
        "milliseconds",
        "From an append to its commit, over half a minute; absent where this node committed nothing.",
    ),
    _raft(
        "append_records_rate", "records per second", "Appended as the quorum's leader, over half a minute."
    ),
    _raft(
        "fetch_records_rate", "records per second", "Fetched from the quorum's leader, over half a minute."
    ),
    _channel("request", "requests", "Requests sent to other nodes of the quorum."),
    _channel("response", "responses", "Answers received from other nodes of the quorum."),
    _channel("incoming_byte", "bytes", "Bytes of those answers."),
    _channel("outgoing_byte", "bytes", "Bytes of those requests."),
)
