"""Consumer groups coordinated here, and their lag in records and seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from moldau_broker.telemetry.exposition import label_text

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.coordinator.runtime import GroupCoordinator
    from moldau_broker.server.metrics.lag_rows import GroupRows, TopicRows
    from moldau_broker.server.metrics.lag_watch import LagWatch
    from moldau_broker.server.metrics.ownership import Ownership
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter

_AT_ONCE: Final = 100
"""Partitions between two looks at the clock."""

_LABELS_MAX: Final = 200_000
"""Labels that are kept as text from one page to the next."""


def emit_groups(
    groups: GroupCoordinator, watch: LagWatch, ownership: Ownership, clock: Clock, cluster_name: str
) -> Emitter:
    """What the watch has found, of groups that are coordinated here at this moment."""
    labels = _Labels(cluster_name)

    def emit(exposition: Exposition) -> Iterator[None]:
        watch.want(clock.monotonic_ms())
        exposition.add("moldau_groups_loading", groups.loading)
        if watch.looked_ms is None:
            return
        exposition.add("moldau_lag_refresh_seconds", watch.took_seconds)
        exposition.add("moldau_lag_age_seconds", (clock.monotonic_ms() - watch.looked_ms) / 1000)
        columns = _Columns(exposition)
        ours: dict[int, bool] = {}
        for group in watch.groups:
            is_ours = ours.get(group.shard)
            if is_ours is None:
                is_ours = ours[group.shard] = ownership.coordinates(group.shard)
            if is_ours:
                yield from _emit_group(columns, labels, group, clock.wall_ms())

    return emit


class _Columns:
    def __init__(self, exposition: Exposition) -> None:
        column = exposition.column
        self.members = column("kafka_consumergroup_members")
        self.state = column("moldau_group_state")
        self.offset = column("kafka_consumergroup_current_offset")
        self.offset_sum = column("kafka_consumergroup_current_offset_sum")
        self.lag = column("kafka_consumergroup_lag")
        self.lag_sum = column("kafka_consumergroup_lag_sum")
        self.group_lag = column("kafka_consumergroup_group_lag")
        self.group_seconds = column("kafka_consumergroup_group_lag_seconds")
        self.max_lag = column("kafka_consumergroup_group_max_lag")
        self.max_seconds = column("kafka_consumergroup_group_max_lag_seconds")
        self.sum_lag = column("kafka_consumergroup_group_sum_lag")
        self.topic_sum_lag = column("kafka_consumergroup_group_topic_sum_lag")


class _Labels:
    """Labels as text: partitions keep theirs, and there are many of them."""

    def __init__(self, cluster_name: str) -> None:
        self.cluster = label_text(("cluster_name",), (cluster_name,))
        self._known: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._size = 0

    def of(self, group_id: str, topic: str, partitions: int) -> list[tuple[str, str]]:
        """(kafka_exporter's, kafka-lag-exporter's) of the first so many partitions, at least."""
        known = self._known.get((group_id, topic))
        if known is None or len(known) < partitions:
            if self._size > _LABELS_MAX:
                self._known.clear()
                self._size = 0
            exporter = label_text(("consumergroup", "topic"), (group_id, topic))
            lag_exporter = f"{self.cluster},{label_text(('group', 'topic'), (group_id, topic))}"
            known = [
                (f'{exporter},partition="{index}"', f'{lag_exporter},partition="{index}"')
                for index in range(partitions)
            ]
            self._known[group_id, topic] = known
            self._size += partitions
        return known


def _emit_group(columns: _Columns, labels: _Labels, group: GroupRows, now_ms: int) -> Iterator[None]:
    named = label_text(("consumergroup",), (group.group_id,))
    columns.members.put(named, group.members)
    columns.state.put(f"{named},{label_text(('state',), (group.state,))}", 1)
    for topic in group.topics:
        yield from _emit_topic(columns, labels, group.group_id, topic, now_ms)
    named = f"{labels.cluster},{label_text(('group',), (group.group_id,))}"
    records, most, longest = group.lag, group.max_lag, group.max_seconds(now_ms)
    if records is not None:
        columns.sum_lag.put(named, records)
    if most is not None:
        columns.max_lag.put(named, most)
    if longest is not None:
        columns.max_seconds.put(named, longest)
    yield


def _emit_topic(
    columns: _Columns, labels: _Labels, group_id: str, topic: TopicRows, now_ms: int
) -> Iterator[None]:
    texts = labels.of(group_id, topic.topic, topic.indexes[-1] + 1)
    put_offset, put_lag = columns.offset.put, columns.lag.put
    put_group_lag, put_seconds = columns.group_lag.put, columns.group_seconds.put
    for at, index in enumerate(topic.indexes):
        exporter, lag_exporter = texts[index]
        put_offset(exporter, topic.offsets[at])
        records = topic.records[at]
        if records is not None:
            put_lag(exporter, records)
            put_group_lag(lag_exporter, records)
            seconds = topic.seconds(at, now_ms)
            if seconds is not None:
                put_seconds(lag_exporter, seconds)
        if at % _AT_ONCE == 0:
            yield
    named = label_text(("consumergroup", "topic"), (group_id, topic.topic))
    columns.offset_sum.put(named, sum(topic.offsets))
    lag = topic.lag
    if lag is not None:
        columns.lag_sum.put(named, lag)
        named = label_text(("group", "topic"), (group_id, topic.topic))
        columns.topic_sum_lag.put(f"{labels.cluster},{named}", lag)
