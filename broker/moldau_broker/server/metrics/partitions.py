"""Partitions and their logs: what is hosted here, what is led here, what was moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from moldau_broker.replication.throttle import UNLIMITED
from moldau_broker.server.metrics.requests import BOUNDS_SECONDS
from moldau_broker.storage.errors import StorageError
from moldau_broker.telemetry.exposition import label_text

if TYPE_CHECKING:
    from moldau_broker.metadata.publisher import MetadataPublisher
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.metrics.filters import Filters
    from moldau_broker.server.metrics.ownership import Ownership
    from moldau_broker.storage.group_commit import GroupCommit
    from moldau_broker.storage.logdir import LogDir
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter

_AT_ONCE: Final = 20
"""Partitions between two looks at the clock."""

_MANAGER: Final = "kafka_server_replicamanager_"
_REPLICA: Final = ("topic", "partition", "broker")
_PARTITION: Final = ("topic", "partition")
_LAG_PARTITION: Final = ("cluster_name", "topic", "partition")

_REPLICA_METRICS: Final = (
    "moldau_log_start_offset",
    "moldau_log_end_offset",
    "moldau_log_durable_offset",
    "moldau_partition_high_watermark",
    "moldau_log_size_bytes",
    "moldau_log_segments",
)
_LEADER_METRICS: Final = (
    "kafka_topic_partition_current_offset",
    "kafka_topic_partition_oldest_offset",
    "kafka_topic_partition_in_sync_replica",
    "kafka_topic_partition_leader",
    "kafka_topic_partition_leader_is_preferred",
    "kafka_topic_partition_replicas",
    "kafka_topic_partition_under_replicated_partition",
    "moldau_partition_leader_epoch",
    "kafka_cluster_partition_underminisr",
    "kafka_cluster_partition_atminisr",
    "kafka_cluster_partition_replicascount",
    "kafka_cluster_partition_insyncreplicascount",
    "kafka_cluster_partition_underreplicated",
    "kafka_log_log_size",
    "kafka_log_log_logendoffset",
    "kafka_log_log_logstartoffset",
)
_LAG_METRICS: Final = ("kafka_partition_latest_offset", "kafka_partition_earliest_offset")
_TRAFFIC: Final = {
    "messagesin": "records_in",
    "bytesin": "bytes_in",
    "bytesout": "bytes_out",
    "replicationbytesin": "replica_bytes_in",
    "replicationbytesout": "replica_bytes_out",
    "totalproducerequests": "produces",
    "totalfetchrequests": "fetches",
    "failedproducerequests": "failed_produces",
    "failedfetchrequests": "failed_fetches",
}
"""Kafka's names for what partitions count."""


def emit_partitions(
    replicas: ReplicaManager,
    metadata: MetadataPublisher,
    ownership: Ownership,
    filters: Filters,
    node_id: int,
    cluster_name: str,
) -> Emitter:
    """Every replica here, and of the partitions led here what their leader tells."""

    def emit(exposition: Exposition) -> Iterator[None]:
        image = metadata.image
        counts = dict.fromkeys(
            ("leadercount", "underreplicated", "underminisr", "atminisr", "offline", "reassigning"), 0
        )
        of_replica = exposition.columns(_REPLICA, *_REPLICA_METRICS)
        of_leader = exposition.columns(_PARTITION, *_LEADER_METRICS)
        for_lag = exposition.columns(_LAG_PARTITION, *_LAG_METRICS)
        admits = filters.topics.admits
        broker = label_text(("broker",), (str(node_id),))
        cluster = label_text(("cluster_name",), (cluster_name,))
        for number, partition in enumerate(replicas.partitions(), 1):
            if number % _AT_ONCE == 0:
                yield
            log, topic, index = partition.log, partition.topic, partition.index
            counts["offline"] += partition.offline_reason is not None
            shown = label_text(_PARTITION, (topic, str(index)))
            if admits(topic):
                values = (
                    log.log_start_offset,
                    log.log_end_offset,
                    log.durable_offset,
                    partition.high_watermark,
                    log.size_bytes,
                    len(log.segments),
                )
                labels = f"{shown},{broker}"
                for column, value in zip(of_replica, values, strict=True):
                    column.put(labels, value)
            known = image.partition(topic, index)
            if not partition.is_leader or known is None:
                continue
            in_sync, wanted = len(partition.isr), len(known.replicas)
            enough = min(log.config.min_insync_replicas, wanted)
            counts["leadercount"] += 1
            counts["underreplicated"] += in_sync < wanted
            counts["underminisr"] += in_sync < enough
            counts["atminisr"] += in_sync == enough
            counts["reassigning"] += bool(known.adding or known.removing)
            if not ownership.leads(partition) or not admits(topic):
                continue
            facts = (
                partition.high_watermark,
                log.log_start_offset,
                in_sync,
                node_id,
                int(known.replicas[0] == node_id),
                wanted,
                int(in_sync < wanted),
                partition.leader_epoch,
                int(in_sync < enough),
                int(in_sync == enough),
                wanted,
                in_sync,
                int(in_sync < wanted),
                log.size_bytes,
                log.log_end_offset,
                log.log_start_offset,
            )
            for column, value in zip(of_leader, facts, strict=True):
                column.put(shown, value)
            for column, value in zip(for_lag, facts, strict=False):
                column.put(f"{cluster},{shown}", value)
        exposition.add("moldau_topics", len(image.topics))
        exposition.add("moldau_partitions", len(replicas))
        exposition.add("moldau_partition_failures", len(replicas.failures))
        exposition.add(f"{_MANAGER}partitioncount", len(replicas))
        exposition.add(f"{_MANAGER}leadercount", counts["leadercount"])
        exposition.add(f"{_MANAGER}underreplicatedpartitions", counts["underreplicated"])
        exposition.add(f"{_MANAGER}underminisrpartitioncount", counts["underminisr"])
        exposition.add(f"{_MANAGER}atminisrpartitioncount", counts["atminisr"])
        exposition.add(f"{_MANAGER}offlinereplicacount", counts["offline"] + len(replicas.failures))
        exposition.add(f"{_MANAGER}reassigningpartitions", counts["reassigning"])
        exposition.add(f"{_MANAGER}isrshrinks_total", replicas.isr_changes.shrinks)
        exposition.add(f"{_MANAGER}isrexpands_total", replicas.isr_changes.expansions)

    return emit


def emit_traffic(replicas: ReplicaManager, filters: Filters) -> Emitter:
    """What clients and followers have moved, by topic and together; what throttles have to say."""

    def emit(exposition: Exposition) -> Iterator[None]:
        partitions: list[Partition] = list(replicas.partitions())
        by_topic = replicas.traffic.by_topic(partitions)
        yield
        total = replicas.traffic.total(by_topic.values())
        names = {name: f"kafka_server_brokertopicmetrics_{name}_total" for name in _TRAFFIC}
        for name, attribute in _TRAFFIC.items():
            exposition.add(names[name], getattr(total, attribute))
        columns = exposition.columns(("topic",), *names.values())
        for number, (topic, counts) in enumerate(by_topic.items(), 1):
            if number % _AT_ONCE == 0:
                yield
            if filters.topics.admits(topic):
                labels = label_text(("topic",), (topic,))
                for column, attribute in zip(columns, _TRAFFIC.values(), strict=True):
                    column.put(labels, getattr(counts, attribute))
        throttles = replicas.throttles
        for direction, throttle in (("leader", throttles.leader), ("follower", throttles.follower)):
            exposition.add("moldau_replication_throttled_bytes_total", throttle.counted, direction)
            if throttle.rate != UNLIMITED:
                exposition.add("moldau_replication_throttle_bytes_per_second", throttle.rate, direction)

    return emit


def emit_disk(log_dir: LogDir, commit: GroupCommit, replicas: ReplicaManager) -> Emitter:
    """The data directory: how fast it flushes, how full its volume is, whether logs have failed."""

    def emit(exposition: Exposition) -> None:
        timings = commit.timings
        exposition.add_histogram(
            "moldau_fsync_seconds", BOUNDS_SECONDS, timings.buckets, timings.total_ns * 1e-9
        )
        with suppress(StorageError):
            free, total = log_dir.disk.free_bytes()
            exposition.add("moldau_disk_free_bytes", free)
            exposition.add("moldau_disk_size_bytes", total)
        failed = log_dir.offline or replicas.failures
        exposition.add("kafka_log_logmanager_offlinelogdirectorycount", int(bool(failed)))

    return emit
