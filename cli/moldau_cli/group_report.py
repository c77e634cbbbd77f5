"""What `moldau group describe` knows of a group, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from moldau_broker.client.admin import groups, offsets
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_broker.client.partitions import EARLIEST, LATEST, TopicPartition
from moldau_cli.admin_http import ask_any, http_addresses
from moldau_cli.output import (
    BAD,
    GOOD,
    WARN,
    OutputFormat,
    Styled,
    Table,
    human_seconds,
    plural,
    print_table,
    show_facts,
    show_json,
)


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group, where it stands, and the ends of the logs it reads.

    `start` and `end` lack partitions whose topic is gone or whose leader did not answer. `seconds` is the age of the
    first record not consumed, where the brokers tell it: their HTTP port must be reached.
    """

    about: groups.GroupDescription
    committed: Mapping[TopicPartition, offsets.CommittedOffset] = field(default_factory=dict)
    start: Mapping[TopicPartition, int] = field(default_factory=dict)
    end: Mapping[TopicPartition, int] = field(default_factory=dict)
    seconds: Mapping[TopicPartition, float] = field(default_factory=dict)

    @property
    def partitions(self) -> list[TopicPartition]:
        """Everything committed or assigned."""
        assigned = {partition for member in self.about.members for partition in member.assignment}
        return sorted(assigned | set(self.committed))

    def partition_lag(self, partition: TopicPartition) -> int | None:
        """Records between where the group stands and the end; None where one of the two is not known.

        Never negative: the end was read after the commit, and a log cut below it has nothing left to read.
        """
        if partition not in self.committed or partition not in self.end:
            return None
        return max(self.end[partition] - self.committed[partition].offset, 0)

    @property
    def lag(self) -> int | None:
        """Of all partitions where it is known; None where it is known of none."""
        known = [lag for p in self.partitions if (lag := self.partition_lag(p)) is not None]
        return sum(known) if known else None

    @property
    def lag_seconds(self) -> float | None:
        """Of the partition that is behind the longest; None where it is known of none."""
        return max(self.seconds.values(), default=None)

    def reader(self, partition: TopicPartition) -> groups.GroupMember | None:
        """The member that reads a partition."""
        return next((member for member in self.about.members if partition in member.assignment), None)

    def trouble(self, partition: TopicPartition) -> str | None:
        """What a person should know of one partition."""
        if partition not in self.end:
            return "topic or leader is gone"
        if partition not in self.committed:
            return "nothing committed yet"
        offset = self.committed[partition].offset
        if offset < self.start.get(partition, 0):
            return f"{plural(self.start[partition] - offset, 'record')} deleted before being read"
        if offset > self.end[partition]:
            return "stands beyond the end of the log"
        if self.about.members and self.reader(partition) is None:
            return "no member reads it"
        return None


async def describe_groups(
    cluster: Cluster, names: Sequence[str], *, with_offsets: bool
) -> dict[str, GroupReport | ClientError]:
    """Ask for everything; commits are read before the logs' ends, so that lag is never negative by a race."""
    described = await groups.describe_groups(cluster, dict.fromkeys(names))
    found = {name: about for name, about in described.items() if not isinstance(about, ClientError)}
    committed = await offsets.fetch_offsets(cluster, dict.fromkeys(found)) if with_offsets and found else {}
    reports: dict[str, GroupReport | ClientError] = {}
    for name, about in described.items():
        stands = committed.get(name, {})
        if isinstance(about, ClientError):
            reports[name] = about
        elif isinstance(stands, ClientError):
            reports[name] = stands
        else:
            reports[name] = GroupReport(about, stands)
    if not with_offsets:
        return reports
    partitions = {p for item in reports.values() if isinstance(item, GroupReport) for p in item.partitions}
    start = await _ends(cluster, partitions, EARLIEST)
    end = await _ends(cluster, partitions, LATEST)
    seconds = await _seconds(cluster, list(found))
    return {
        name: item
        if isinstance(item, ClientError)
        else GroupReport(item.about, item.committed, start, end, seconds.get(name, {}))
        for name, item in reports.items()
    }


async def _seconds(cluster: Cluster, names: Sequence[str]) -> dict[str, dict[TopicPartition, float]]:
    """Lag in seconds by group, from the brokers' admin API. A cluster without one has no such answer."""
    if not names:
        return {}
    try:
        reports = await ask_any(await http_addresses(cluster), lambda api: api.groups(names))
    except ClientError:
        return {}
    return {
        group.id: {one.partition: one.lag_seconds for one in group.offsets if one.lag_seconds is not None}
        for group in reports.groups
    }


async def _ends(cluster: Cluster, partitions: set[TopicPartition], which: int) -> dict[TopicPartition, int]:
    listed = await offsets.list_offsets(cluster, dict.fromkeys(partitions, which), deadline_ms=0)
    return {p: found.offset for p, found in listed.items() if not isinstance(found, ClientError)}


def show_groups(output: OutputFormat, reports: Sequence[GroupReport]) -> None:
    """Print them all."""
    if output == "json":
        show_json([_as_data(item) for item in reports])
        return
    for position, item in enumerate(reports):
        if position:
            click.echo()
        _show_group(item)


def _show_group(item: GroupReport) -> None:
    about = item.about
    show_facts(
        ("group", about.id),
        ("state", Styled(about.state, GOOD if about.state == "Stable" else WARN)),
        ("members", len(about.members)),
        ("protocol", f"{about.protocol_type or '-'}, {about.protocol or 'no assignor'}"),
        ("coordinator", f"broker {about.coordinator}"),
        ("lag", _say_lag(item)),
    )
    table = Table(["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "MEMBER", "HOST", "STATE"])
    for partition in item.partitions:
        member = item.reader(partition)
        committed = item.committed.get(partition)
        trouble = item.trouble(partition)
        table.add(
            partition.topic,
            str(partition.partition),
            committed.offset if committed else None,
            item.end.get(partition),
            item.partition_lag(partition),
            human_seconds(item.seconds.get(partition)),
            (member.instance_id or member.id) if member else None,
            member.host if member else None,
            Styled(trouble, BAD) if trouble else Styled("ok", GOOD),
        )
    idle = [member for member in about.members if not member.assignment]
    for member in idle:
        words = Styled("member without partitions", WARN)
        table.add(None, None, None, None, None, None, member.instance_id or member.id, member.host, words)
    if table.rows:
        click.echo()
        print_table(table)


def _say_lag(item: GroupReport) -> str | None:
    """Both units, as far as they are known."""
    if item.lag is None:
        return None
    behind = human_seconds(item.lag_seconds)
    return plural(item.lag, "record") + (f", {behind} behind" if behind and item.lag else "")


def _as_data(item: GroupReport) -> dict[str, Any]:
    about = item.about
    return {
        "group": about.id,
        "state": about.state,
        "protocol_type": about.protocol_type,
        "assignor": about.protocol,
        "coordinator": about.coordinator,
        "lag": item.lag,
        "lag_seconds": item.lag_seconds,
        "members": [
            {
                "id": member.id,
                "instance_id": member.instance_id,
                "client_id": member.client_id,
                "host": member.host,
                "partitions": [{"topic": p.topic, "partition": p.partition} for p in member.assignment],
            }
            for member in about.members
        ],
        "offsets": [
            {
                "topic": p.topic,
                "partition": p.partition,
                "committed": item.committed[p].offset if p in item.committed else None,
                "metadata": item.committed[p].metadata if p in item.committed else None,
                "start_offset": item.start.get(p),
                "end_offset": item.end.get(p),
                "lag": item.partition_lag(p),
                "lag_seconds": item.seconds.get(p),
                "member": member.id if (member := item.reader(p)) else None,
                "trouble": item.trouble(p),
            }
            for p in item.partitions
        ],
    }
