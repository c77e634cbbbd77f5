"""Partitions and their logs: what is hosted here, what is led here, what was moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from moldau_broker.replication.throttle import UNLIMITED
from moldau_broker.server.metrics.ownership import tells
from moldau_broker.server.metrics.partition_rows import (
    LAG_METRICS,
    LEADER_METRICS,
    REPLICA_METRICS,
    Row,
    leader_row,
    replica_row,
    replication,
)
from moldau_broker.server.metrics.requests import BOUNDS_SECONDS
from moldau_broker.storage.errors import StorageError
from moldau_broker.telemetry.blocks import ROWS_AT_ONCE, Blocks
from moldau_broker.telemetry.exposition import label_text

if TYPE_CHECKING:
    from moldau_broker.metadata.publisher import MetadataPublisher
    from moldau_broker.replication.manager import ReplicaManager
    from moldau_broker.replication.partition import Partition
    from moldau_broker.server.metrics.filters import Filters
    from moldau_broker.server.metrics.ownership import Ownership
    from moldau_broker.storage.group_commit import GroupCommit
    from moldau_broker.storage.logdir import LogDir
    from moldau_broker.telemetry.blocks import Block
    from moldau_broker.telemetry.exposition import Column, Exposition
    from moldau_broker.telemetry.registry import Emitter

_AT_ONCE: Final = 20
"""Partitions between two looks at the clock."""

_MANAGER: Final = "kafka_server_replicamanager_"
_REPLICA: Final = ("topic", "partition", "broker")
_PARTITION: Final = ("topic", "partition")
_LAG_PARTITION: Final = ("cluster_name", "topic", "partition")

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
    broker = label_text(("broker",), (str(node_id),))
    cluster = label_text(("cluster_name",), (cluster_name,))
    blocks: Blocks[tuple[str, int]] = Blocks()

    def label_partition(place: tuple[str, int]) -> str:
        return label_text(_PARTITION, (place[0], str(place[1])))

    def label_replica(place: tuple[str, int]) -> str:
        return f"{label_partition(place)},{broker}"

    def label_lag(place: tuple[str, int]) -> str:
        return f"{cluster},{label_partition(place)}"

    def emit(exposition: Exposition) -> Iterator[None]:
        image = metadata.image
        counts = dict.fromkeys(
            ("leadercount", "underreplicated", "underminisr", "atminisr", "offline", "reassigning"), 0
        )
        of_replica = exposition.columns(_REPLICA, *REPLICA_METRICS)
        of_leader = exposition.columns(_PARTITION, *LEADER_METRICS)
        for_lag = exposition.columns(_LAG_PARTITION, *LAG_METRICS)
        blocks.begin()
        admits = filters.topics.admits
        all_partitions = list(replicas.partitions())
        for first in range(0, len(all_partitions), ROWS_AT_ONCE):
            settled_ms = ownership.settled_ms()
            shown: list[Partition] = []
            led: list[Row] = []
            led_places: list[tuple[str, int]] = []
            for partition in all_partitions[first : first + ROWS_AT_ONCE]:
                topic, index = partition.topic, partition.index
                counts["offline"] += partition.offline_reason is not None
                is_shown = admits(topic)
                if is_shown:
                    shown.append(partition)
                known = image.partition(topic, index)
                if not partition.is_leader or known is None:
                    continue
                state = replication(partition, known)
                counts["leadercount"] += 1
                counts["underreplicated"] += state.in_sync < state.wanted
                counts["underminisr"] += state.in_sync < state.enough
                counts["atminisr"] += state.in_sync == state.enough
                counts["reassigning"] += bool(known.adding or known.removing)
                if is_shown and tells(partition, settled_ms):
                    led.append(leader_row(partition, known, state, node_id))
                    led_places.append((topic, index))
            places = [(partition.topic, partition.index) for partition in shown]
            rows = [replica_row(partition) for partition in shown]
            _put(blocks.of((of_replica[0].name, first), places, label_replica), of_replica, rows)
            _put(blocks.of((of_leader[0].name, first), led_places, label_partition), of_leader, led)
            _put(blocks.of((for_lag[0].name, first), led_places, label_lag), for_lag, led)
            yield
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


def _put(block: Block[tuple[str, int]], columns: Sequence[Column], rows: Sequence[Row]) -> None:
    for column, values in zip(columns, zip(*rows, strict=True), strict=False):
        block.put(column, values)


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
