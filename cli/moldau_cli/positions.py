"""Positions as people name them to offsets, with as few questions to the cluster as it takes."""

from __future__ import annotations

from collections.abc import Mapping

from moldau_broker.client.admin.offsets import list_offsets
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.partitions import EARLIEST, LATEST, TopicPartition
from moldau_cli.parsing import Position


async def find_positions(
    cluster: Cluster, wanted: Mapping[TopicPartition, Position], *, clamp: bool
) -> dict[TopicPartition, int]:
    """The offset of each position.

    Args:
        cluster: whom to ask.
        wanted: the positions. A time after the last record, like `latest`, is the end of the log.
        clamp: move offsets outside the log to its nearer end.

    Raises:
        ClientError: a partition does not exist, or its leader cannot be asked.
    """
    starts: dict[TopicPartition, int] = {}
    ends: dict[TopicPartition, int] = {}
    kinds = {position.kind for position in wanted.values()}
    if clamp or kinds & {"earliest", "back"}:
        starts = await _ask(cluster, dict.fromkeys(wanted, EARLIEST))
    if clamp or kinds & {"latest", "back", "timestamp"}:
        ends = await _ask(cluster, dict.fromkeys(wanted, LATEST))
    times = {p: position.value for p, position in wanted.items() if position.kind == "timestamp"}
    by_time = await _ask(cluster, times) if times else {}
    found: dict[TopicPartition, int] = {}
    for partition, position in wanted.items():
        match position.kind:
            case "earliest":
                offset = starts[partition]
            case "latest":
                offset = ends[partition]
            case "back":
                offset = max(ends[partition] - position.value, starts[partition])
            case "timestamp":
                offset = by_time[partition] if by_time[partition] >= 0 else ends[partition]
            case "offset":
                offset = position.value
        found[partition] = min(max(offset, starts[partition]), ends[partition]) if clamp else offset
    return found


async def _ask(cluster: Cluster, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    found = settle(await list_offsets(cluster, times))
    return {partition: listed.offset for partition, listed in found.items()}
