"""`moldau group`: list, describe, reset, delete."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from moldau_broker.client.admin import groups, offsets, topics
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.confirm import confirm_deletion
from moldau_cli.context import Target, cluster_options, failure, output_option, report, with_cluster
from moldau_cli.group_report import GroupReport, describe_groups, show_groups
from moldau_cli.output import (
    BAD,
    FAINT,
    GOOD,
    WARN,
    Cell,
    OutputFormat,
    Styled,
    Table,
    human_seconds,
    note,
    plural,
    show,
)
from moldau_cli.parsing import Position, parse_reset_target, parse_topic_partitions
from moldau_cli.positions import find_positions
from moldau_cli.root import Failure

EMPTY = ("Empty", "Dead")
"""States in which a group has no members."""
STATE_STYLES = {"Stable": GOOD, "Empty": FAINT, "Dead": FAINT}


@click.group()
def group() -> None:
    """List, describe, reset and delete consumer groups."""


@group.command(name="list")
@click.option("--lag", is_flag=True, help="Also how far each group is behind.")
@output_option()
@cluster_options
def list_(target: Target, lag: bool, output: OutputFormat) -> None:
    """List groups, their state and members."""

    async def work(cluster: Cluster) -> Mapping[str, GroupReport | ClientError]:
        names = [listed.id for listed in await groups.list_groups(cluster)]
        return await describe_groups(cluster, names, with_offsets=lag)

    found = with_cluster(target, work)
    table = Table(["GROUP", "STATE", "MEMBERS", "PROTOCOL", "ASSIGNOR", *(["LAG", "BEHIND"] if lag else [])])
    data: list[dict[str, Any]] = []
    for name, item in found.items():
        if isinstance(item, ClientError):
            table.add(name, Styled(failure(item).message, BAD), *([None] * (len(table.columns) - 2)))
            data.append({"group": name, "error": str(item)})
            continue
        about = item.about
        state = Styled(about.state, STATE_STYLES.get(about.state, WARN))
        cells: list[Cell] = [
            name,
            state,
            len(about.members),
            about.protocol_type or None,
            about.protocol or None,
        ]
        table.add(*cells, *([item.lag, human_seconds(item.lag_seconds)] if lag else []))
        data.append(
            {
                "group": name,
                "state": about.state,
                "members": len(about.members),
                "protocol_type": about.protocol_type,
                "assignor": about.protocol,
                "coordinator": about.coordinator,
                **({"lag": item.lag, "lag_seconds": item.lag_seconds} if lag else {}),
            }
        )
    show(output, data, table, empty="no groups; a consumer makes one when it joins or commits")


@group.command()
@click.argument("names", nargs=-1, required=True, metavar="GROUP...")
@output_option()
@cluster_options
def describe(target: Target, names: tuple[str, ...], output: OutputFormat) -> None:
    """Show where groups stand, how far behind they are, and who reads what."""
    outcomes = with_cluster(target, lambda cluster: describe_groups(cluster, names, with_offsets=True))
    found = [item for item in outcomes.values() if isinstance(item, GroupReport)]
    if found:
        show_groups(output, found)
    report({name: item for name, item in outcomes.items() if isinstance(item, ClientError)}, str)


@group.command()
@click.argument("name", metavar="GROUP")
@click.option(
    "--to",
    "where",
    required=True,
    metavar="WHERE",
    help="earliest, latest, an offset, or a time: 2025-01-31T12:00:00Z, -10m, timestamp:MILLISECONDS.",
)
@click.option(
    "--topic",
    "only",
    multiple=True,
    metavar="TOPIC[:PARTITIONS]",
    help="Only these, like orders or orders:0,2-4.  [default: all the group has committed]",
)
@click.option("--execute", is_flag=True, help="Do it.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.  [default]")
@output_option()
@cluster_options
def reset(
    target: Target,
    name: str,
    where: str,
    only: tuple[str, ...],
    execute: bool,
    dry_run: bool,
    output: OutputFormat,
) -> None:
    """Move a group without members to other offsets, so that its consumers read from there.

    \b
    moldau group reset billing --to earliest
    moldau group reset billing --to 2025-01-31T12:00:00Z --topic orders --execute

    Offsets outside a partition's log are moved to its nearer end.
    """
    if execute and dry_run:
        raise click.UsageError("--execute and --dry-run exclude each other")
    try:
        position = parse_reset_target(where, now_ms=time.time_ns() // 1_000_000)
        chosen = [parse_topic_partitions(text) for text in only]
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    async def work(cluster: Cluster) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        await _refuse_active(cluster, name)
        committed = settle(await offsets.fetch_offsets(cluster, {name: None}))[name]
        before = {partition: offset.offset for partition, offset in committed.items()}
        partitions = await _partitions(cluster, chosen) if chosen else sorted(before)
        if not partitions:
            raise Failure(f"group {name} has committed nothing yet; say where it shall stand with --topic")
        after = await find_positions(cluster, dict.fromkeys(partitions, position), clamp=True)
        if execute and after:
            wanted = {partition: offsets.CommittedOffset(offset) for partition, offset in after.items()}
            settle(await offsets.commit_offsets(cluster, name, wanted))
        return before, after

    before, after = with_cluster(target, work)
    _show_reset(output, name, position, before, after, done=execute)


async def _refuse_active(cluster: Cluster, name: str) -> None:
    """A group with members would commit over the reset; the broker refuses it too, in fewer words."""
    about = (await groups.describe_groups(cluster, [name]))[name]
    if isinstance(about, groups.GroupDescription) and about.state not in EMPTY:
        members = plural(len(about.members), "member")
        raise Failure(
            f"group {name} is {about.state.lower()} with {members}; "
            f"stop its consumers first, see: moldau group describe {name}"
        )


async def _partitions(cluster: Cluster, chosen: list[tuple[str, list[int] | None]]) -> list[TopicPartition]:
    found = settle(await topics.describe_topics(cluster, [topic for topic, _ in chosen]))
    return sorted(
        {
            TopicPartition(topic, number)
            for topic, numbers in chosen
            for number in (range(len(found[topic].partitions)) if numbers is None else numbers)
        }
    )


def _show_reset(
    output: OutputFormat,
    name: str,
    position: Position,
    before: Mapping[TopicPartition, int],
    after: Mapping[TopicPartition, int],
    *,
    done: bool,
) -> None:
    table = Table(["TOPIC", "PARTITION", "FROM", "TO", "MOVES"])
    for partition, offset in after.items():
        old = before.get(partition)
        move = None if old is None else offset - old
        words = "new" if move is None else "stays" if move == 0 else f"{move:+,}"
        table.add(
            partition.topic, str(partition.partition), old, offset, Styled(words, "" if move else FAINT)
        )
    data = {
        "group": name,
        "to": str(position),
        "executed": done,
        "offsets": [
            {"topic": p.topic, "partition": p.partition, "from": before.get(p), "to": offset}
            for p, offset in after.items()
        ],
    }
    show(output, data, table)
    note(f"group {name} was reset" if done else "nothing was changed; to do it, add --execute")


@group.command()
@click.argument("names", nargs=-1, required=True, metavar="GROUP...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@cluster_options
def delete(target: Target, names: tuple[str, ...], yes: bool) -> None:
    """Delete groups without members, with all their committed offsets. Asks first on a terminal."""
    wanted = list(dict.fromkeys(names))
    confirm_deletion([f"group {name}" for name in wanted], yes=yes)
    outcomes = with_cluster(target, lambda cluster: groups.delete_groups(cluster, wanted))
    report(outcomes, lambda name: f"group {name} deleted")
