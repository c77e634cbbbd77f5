"""Consumer groups coordinated here, and their lag in records and seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from moldau_broker.telemetry.blocks import ROWS_AT_ONCE, Blocks
from moldau_broker.telemetry.exposition import label_text

if TYPE_CHECKING:
    from moldau_broker.base.clock import Clock
    from moldau_broker.coordinator.runtime import GroupCoordinator
    from moldau_broker.server.metrics.lag_rows import GroupRows, TopicRows
    from moldau_broker.server.metrics.lag_watch import LagWatch
    from moldau_broker.server.metrics.ownership import Ownership
    from moldau_broker.telemetry.exposition import Exposition
    from moldau_broker.telemetry.registry import Emitter


def emit_groups(
    groups: GroupCoordinator, watch: LagWatch, ownership: Ownership, clock: Clock, cluster_name: str
) -> Emitter:
    """What the watch has found, of groups that are coordinated here at this moment."""
    cluster = label_text(("cluster_name",), (cluster_name,))
    blocks: Blocks[int] = Blocks()

    def emit(exposition: Exposition) -> Iterator[None]:
        blocks.begin()
        watch.want(clock.monotonic_ms())
        exposition.add("moldau_groups_loading", groups.loading)
        assert watch.known_since_ms is not None, "somebody asks"
        exposition.add("moldau_lag_refresh_seconds", watch.took_seconds)
        exposition.add("moldau_lag_age_seconds", (clock.monotonic_ms() - watch.known_since_ms) / 1000)
        columns = _Columns(exposition)
        ours: dict[int, bool] = {}
        for group in watch.groups:
            is_ours = ours.get(group.shard)
            if is_ours is None:
                is_ours = ours[group.shard] = ownership.coordinates(group.shard)
            if is_ours:
                yield from _emit_group(columns, cluster, blocks, group, clock.wall_ms())

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


def _emit_group(
    columns: _Columns, cluster: str, blocks: Blocks[int], group: GroupRows, now_ms: int
) -> Iterator[None]:
    named = label_text(("consumergroup",), (group.group_id,))
    columns.members.put(named, group.members)
    columns.state.put(f"{named},{label_text(('state',), (group.state,))}", 1)
    for topic in group.topics:
        yield from _emit_topic(columns, cluster, blocks, group.group_id, topic, now_ms)
    named = f"{cluster},{label_text(('group',), (group.group_id,))}"
    records, most, longest = group.lag, group.max_lag, group.max_seconds(now_ms)
    if records is not None:
        columns.sum_lag.put(named, records)
    if most is not None:
        columns.max_lag.put(named, most)
    if longest is not None:
        columns.max_seconds.put(named, longest)
    yield


def _emit_topic(
    columns: _Columns, cluster: str, blocks: Blocks[int], group_id: str, topic: TopicRows, now_ms: int
) -> Iterator[None]:
    names = (group_id, topic.topic)
    exporter = label_text(("consumergroup", "topic"), names)
    lag_exporter = f"{cluster},{label_text(('group', 'topic'), names)}"
    for first in range(0, len(topic.indexes), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        indexes, records = topic.indexes[some], topic.records[some]
        block = blocks.of((*names, first), indexes, lambda index: f'{exporter},partition="{index}"')
        block.put(columns.offset, topic.offsets[some])
        block.put(columns.lag, records)
        block = blocks.of((*names, -first - 1), indexes, lambda index: f'{lag_exporter},partition="{index}"')
        block.put(columns.group_lag, records)
        block.put(
            columns.group_seconds,
            [topic.seconds(at, now_ms) for at in range(*some.indices(len(topic.indexes)))],
        )
        yield
    named = label_text(("consumergroup", "topic"), (group_id, topic.topic))
    columns.offset_sum.put(named, sum(topic.offsets))
    lag = topic.lag
    if lag is not None:
        columns.lag_sum.put(named, lag)
        named = label_text(("group", "topic"), (group_id, topic.topic))
        columns.topic_sum_lag.put(f"{cluster},{named}", lag)
