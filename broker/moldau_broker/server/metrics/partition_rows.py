"""What the page shows of one partition, as numbers in the order of the metrics' names. Asks and changes nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from moldau_broker.metadata.image import PartitionImage
    from moldau_broker.replication.partition import Partition

Row: TypeAlias = "tuple[float, ...]"
"""One value for each metric."""

REPLICA_METRICS: Final = (
    "moldau_log_start_offset",
    "moldau_log_end_offset",
    "moldau_log_durable_offset",
    "moldau_partition_high_watermark",
    "moldau_log_size_bytes",
    "moldau_log_segments",
)
LEADER_METRICS: Final = (
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
LAG_METRICS: Final = ("kafka_partition_latest_offset", "kafka_partition_earliest_offset")
"""The first two of the leader's under kafka-lag-exporter's names."""


class Replication(NamedTuple):
    """How many replicas a partition has: in sync, altogether, and as many as writes with acks=all need."""

    in_sync: int
    wanted: int
    enough: int


def replication(partition: Partition, known: PartitionImage) -> Replication:
    """By its leader; `known` is the partition in the image."""
    wanted = len(known.replicas)
    return Replication(len(partition.isr), wanted, min(partition.log.config.min_insync_replicas, wanted))


def replica_row(partition: Partition) -> Row:
    """`REPLICA_METRICS` of a replica here."""
    log = partition.log
    return (
        log.log_start_offset,
        log.log_end_offset,
        log.durable_offset,
        partition.high_watermark,
        log.size_bytes,
        len(log.segments),
    )


def leader_row(partition: Partition, known: PartitionImage, state: Replication, node_id: int) -> Row:
    """`LEADER_METRICS` of a partition led here."""
    log, lacks = partition.log, int(state.in_sync < state.wanted)
    return (
        partition.high_watermark,
        log.log_start_offset,
        state.in_sync,
        node_id,
        int(known.replicas[0] == node_id),
        state.wanted,
        lacks,
        partition.leader_epoch,
        int(state.in_sync < state.enough),
        int(state.in_sync == state.enough),
        state.wanted,
        state.in_sync,
        lacks,
        log.size_bytes,
        log.log_end_offset,
        log.log_start_offset,
    )
