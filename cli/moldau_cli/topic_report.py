"""What `moldau topic describe` knows of a topic, and how it looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from moldau_broker.base.ids import format_uuid
from moldau_broker.client.admin import configs, nodes, offsets, reassignments, topics
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_broker.client.metadata import NO_LEADER, TopicInfo
from moldau_broker.client.partitions import EARLIEST, LATEST, TopicPartition
from moldau_cli.health import advise, partition_troubles, replication_factor
from moldau_cli.out_of_sync import OutOfSync, ask_leaders, of_topic
from moldau_cli.output import (
    BAD,
    FAINT,
    GOOD,
    Cell,
    OutputFormat,
    Styled,
    Table,
    human_bytes,
    plural,
    print_table,
    show_facts,
    show_json,
)

MIN_INSYNC = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A topic with what its brokers say of it.

    Attributes:
        start: first offset of each partition whose leader answered.
        end: the offset after the last.
        size: bytes of the leader's replica, where its broker answered.
        on_disk: bytes of all replicas together.
        settings: by name; empty if they could not be read.
        live: ids of the brokers that are up.
        lags: records that replicas lack, by partition and broker, where their brokers answered.
        moves: of its partitions, under way.
        absences: replicas out of sync since when, by partition and broker, where leaders answered.
    """

    info: TopicInfo
    start: Mapping[int, int]
    end: Mapping[int, int]
    size: Mapping[int, int]
    on_disk: int
    settings: Mapping[str, configs.Setting]
    live: frozenset[int]
    lags: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    moves: Mapping[int, reassignments.Reassignment] = field(default_factory=dict)
    absences: Mapping[int, Mapping[int, OutOfSync]] = field(default_factory=dict)

    @property
    def min_insync(self) -> int:
        """The topic's min.insync.replicas."""
        setting = self.settings.get(MIN_INSYNC)
        return int(setting.value) if setting is not None and setting.value else 1

    def troubles(self, partition: int) -> list[str]:
        """What is wrong with one partition."""
        info = self.info.partitions[partition]
        silent = [f"leader {info.leader} does not answer"] if self.silent(partition) else []
        lags, move = self.lags.get(partition), self.moves.get(partition)
        absences = self.absences.get(partition)
        return silent + partition_troubles(info, self.live, self.min_insync, lags, move, absences)

    def advice(self) -> list[str]:
        """What can be done about it."""
        return advise(self.info, self.live, self.min_insync)

    def silent(self, partition: int) -> bool:
        """Whether the partition has a leader that did not say where its log ends."""
        return self.info.partitions[partition].leader != NO_LEADER and partition not in self.end


async def describe_topics(cluster: Cluster, names: Sequence[str]) -> dict[str, TopicReport | ClientError]:
    """Ask for everything at once; what a broker that is down would know is left out."""
    described = await topics.describe_topics(cluster, dict.fromkeys(names))
    found = {name: info for name, info in described.items() if not isinstance(info, ClientError)}
    partitions = [TopicPartition(name, p.partition) for name, info in found.items() for p in info.partitions]
    starts = await offsets.list_offsets(cluster, dict.fromkeys(partitions, EARLIEST), deadline_ms=0)
    ends = await offsets.list_offsets(cluster, dict.fromkeys(partitions, LATEST), deadline_ms=0)
    settings = await configs.describe_configs(cluster, map(configs.topic_resource, found))
    wanted = {name: [p.partition for p in info.partitions] for name, info in found.items()}
    disks = await nodes.describe_log_dirs(cluster, topics=wanted)
    moves = await _moves(cluster, partitions)
    absences = await ask_leaders(cluster, found.values())
    live = frozenset(cluster.metadata.nodes)
    reports: dict[str, TopicReport | ClientError] = {
        name: outcome for name, outcome in described.items() if isinstance(outcome, ClientError)
    }
    for name, info in found.items():
        config = settings.get(configs.topic_resource(name), {})
        found_replicas = _replicas(disks, name)
        replicas = {place: replica.size_bytes for place, replica in found_replicas.items()}
        lags: dict[int, dict[int, int]] = {}
        for (partition, node), replica in found_replicas.items():
            lags.setdefault(partition, {})[node] = replica.lag
        reports[name] = TopicReport(
            info=info,
            start=_known(starts, name),
            end=_known(ends, name),
            size={
                p.partition: replicas[p.partition, p.leader]
                for p in info.partitions
                if (p.partition, p.leader) in replicas
            },
            on_disk=sum(replicas.values()),
            settings={} if isinstance(config, ClientError) else config,
            live=live,
            lags=lags,
            moves={place.partition: move for place, move in moves.items() if place.topic == name},
            absences=of_topic(absences, name),
        )
    return reports


async def _moves(
    cluster: Cluster, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, reassignments.Reassignment]:
    """Moves under way; a cluster that cannot tell has none to show."""
    try:
        return await reassignments.list_reassignments(cluster, partitions) if partitions else {}
    except ClientError:
        return {}


def _known(listed: Mapping[TopicPartition, offsets.ListedOffset | ClientError], topic: str) -> dict[int, int]:
    return {
        partition.partition: found.offset
        for partition, found in listed.items()
        if partition.topic == topic and not isinstance(found, ClientError)
    }


def _replicas(
    disks: Mapping[int, list[nodes.LogDirectory] | ClientError], topic: str
) -> dict[tuple[int, int], nodes.ReplicaOnDisk]:
    """Replicas by (partition, broker)."""
    return {
        (partition.partition, node): replica
        for node, directories in disks.items()
        if not isinstance(directories, ClientError)
        for directory in directories
        for partition, replica in directory.replicas.items()
        if partition.topic == topic and not replica.future
    }


def setting_rows(settings: Mapping[str, configs.Setting]) -> Iterable[tuple[Cell, Cell, Cell]]:
    """Name, value and source; defaults are fainter."""
    for setting in sorted(settings.values(), key=lambda s: s.name):
        value = "(hidden)" if setting.sensitive else setting.value if setting.value != "" else '""'
        source = setting.source.name.lower().replace("_", " ")
        style = FAINT if setting.is_default else ""
        yield setting.name, value, Styled(source, style)


def show_topics(output: OutputFormat, reports: Sequence[TopicReport]) -> None:
    """Print them all."""
    if output == "json":
        show_json([_as_data(item) for item in reports])
        return
    for position, item in enumerate(reports):
        if position:
            click.echo()
        _show_topic(item)


def _show_topic(item: TopicReport) -> None:
    info = item.info
    own = [s for s in item.settings.values() if s.source is configs.ConfigSource.TOPIC]
    table = Table(["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END", "RECORDS", "SIZE", "STATE"])
    troubled = 0
    for p in info.partitions:
        start, end, size = item.start.get(p.partition), item.end.get(p.partition), item.size.get(p.partition)
        troubles = item.troubles(p.partition)
        troubled += bool(troubles)
        table.add(
            str(p.partition),
            str(p.leader) if p.leader >= 0 else Styled("none", BAD),
            ",".join(map(str, p.replicas)),
            ",".join(map(str, p.isr)),
            start,
            end,
            end - start if start is not None and end is not None else None,
            human_bytes(size) if size is not None else None,
            Styled("; ".join(troubles), BAD) if troubles else Styled("ok", GOOD),
        )
    records = f"{sum(item.end[p] - item.start[p] for p in item.end if p in item.start):,}"
    if len(item.end) < len(info.partitions):
        records += f" in the {plural(len(item.end), 'partition')} that answered"
    state = Styled("ok", GOOD)
    if troubled:
        state = Styled(f"{troubled} of {len(info.partitions)} partitions need a look", BAD)
    show_facts(
        ("topic", info.name),
        ("id", format_uuid(info.topic_id)),
        ("partitions", f"{len(info.partitions)}, replication factor {replication_factor(info)}"),
        ("records", records),
        ("size", f"{human_bytes(sum(item.size.values()))}, {human_bytes(item.on_disk)} on disk"),
        ("settings", ", ".join(f"{s.name}={s.value}" for s in own) or "defaults"),
        ("state", state),
    )
    click.echo()
    print_table(table)
    advice = item.advice()
    if advice:
        click.echo("\n" + "\n".join(f"-> {line}" for line in advice))


def _as_data(item: TopicReport) -> dict[str, Any]:
    info = item.info
    return {
        "name": info.name,
        "topic_id": format_uuid(info.topic_id),
        "internal": info.internal,
        "replication_factor": replication_factor(info),
        "size_bytes": sum(item.size.values()),
        "on_disk_bytes": item.on_disk,
        "settings": {
            s.name: s.value for s in item.settings.values() if s.source is configs.ConfigSource.TOPIC
        },
        "advice": item.advice(),
        "partitions": [
            {
                "partition": p.partition,
                "leader": p.leader if p.leader >= 0 else None,
                "leader_epoch": p.leader_epoch,
                "replicas": list(p.replicas),
                "in_sync": list(p.isr),
                "lag": {str(node): lag for node, lag in item.lags.get(p.partition, {}).items()},
                "out_of_sync": {
                    str(node): absence.data()
                    for node, absence in item.absences.get(p.partition, {}).items()
                    if node not in p.isr
                },
                "moving_to": list(item.moves[p.partition].target) if p.partition in item.moves else None,
                "offline": list(p.offline),
                "start_offset": item.start.get(p.partition),
                "end_offset": item.end.get(p.partition),
                "size_bytes": item.size.get(p.partition),
                "troubles": item.troubles(p.partition),
            }
            for p in info.partitions
        ],
    }
