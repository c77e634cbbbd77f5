"""`moldau status`: a local cluster's nodes, topics and groups."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from moldau_cli.output import (
    BAD,
    FAINT,
    GOOD,
    WARN,
    Cell,
    OutputFormat,
    Styled,
    Table,
    duration,
    human_seconds,
    plural,
    show,
    show_facts,
    warn,
)
from moldau_cli.root import Failure, Unreachable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moldau_operator.local.snapshot import (
        GroupLine,
        NodeLine,
        PartitionsLine,
        QuorumLine,
        Snapshot,
        TopicLine,
        VoterLine,
    )

STATE_STYLES: Final = {
    "ready": GOOD,
    "serving": GOOD,
    "Stable": GOOD,
    "Empty": FAINT,
    "Dead": FAINT,
    "unmanaged": FAINT,
    "stopped": FAINT,
    "down": BAD,
    "stalled": BAD,
}
"""Everything else is on its way to something, and a warning."""

STATE_WORDS: Final = {"Dead": "not used yet"}
"""Kafka's word for a group that nobody knows says too much."""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The instance's folder.  [default: the one that runs, or the only one]",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(data_dir: Path | None, output: OutputFormat) -> None:
    """Show nodes, topics and groups of a local cluster, whether it runs or not.

    \b
    Exit codes:
      0  shown, whatever the state of the cluster and its nodes
      1  there is no such instance, or more than one could be meant
      3  the process that runs the instance does not answer
    """
    from moldau_operator.errors import InstanceError, InstanceSilent
    from moldau_operator.local import background
    from moldau_operator.local.state import choose

    try:
        snapshot = asyncio.run(background.look(choose(data_dir)))
    except InstanceSilent as error:
        raise Unreachable(str(error)) from error
    except InstanceError as error:
        raise Failure(str(error)) from error
    if output == "json":
        show(output, snapshot.as_json())
    else:
        _show_tables(snapshot)


def _show_tables(snapshot: Snapshot) -> None:
    facts: list[tuple[str, Cell]] = [("cluster", snapshot.cluster), ("state", _styled(snapshot.state))]
    if snapshot.message:
        facts.append(("", snapshot.message))
    facts += [("bootstrap", snapshot.bootstrap or None), ("folder", snapshot.folder)]
    if snapshot.partitions is not None:
        facts.append(("partitions", say_partitions(snapshot.partitions)))
    if snapshot.quorum is not None:
        facts.append(("quorum", say_quorum(snapshot.quorum)))
    show_facts(*facts)
    click.echo()
    nodes = Table(
        [
            "NODE",
            "STATE",
            "ROLES",
            "QUORUM",
            "LEADS",
            "IN SYNC",
            "KAFKA",
            "HTTP",
            "PID",
            "RESTARTS",
            "MESSAGE",
        ]
    )
    for node in snapshot.nodes:
        quorum = snapshot.quorum.role_of(node.id) if snapshot.quorum is not None else ""
        nodes.add(
            str(node.id),
            _styled(node.state),
            ",".join(node.roles) or None,
            quorum or None,
            node.leaders,
            say_in_sync(node),
            node.kafka,
            node.http,
            None if node.pid is None else str(node.pid),
            node.restarts,
            node.message,
        )
    topics = Table(["TOPIC", "PARTITIONS", "REPLICAS", "RECORDS", "STATE", "MESSAGE"])
    for topic in snapshot.topics:
        topics.add(
            topic.name,
            topic.partitions,
            topic.replicas,
            topic.records,
            _styled(topic.state),
            topic.message or say_trouble(topic),
        )
    groups = Table(["GROUP", "STATE", "MEMBERS", "LAG", "BEHIND", "ALLOWED", "MESSAGE"])
    for group in snapshot.groups:
        groups.add(
            group.id,
            _styled(group.state),
            group.members,
            group.lag,
            human_seconds(group.lag_seconds),
            say_budget(group),
            group.message,
        )
    show("table", None, *(table for table in (nodes, topics, groups) if table.rows))
    for problem in snapshot.problems:
        warn(problem)


def say_budget(group: GroupLine) -> str | None:
    """What a group may be behind, in the units that it has a budget in; None without one."""
    records = None if group.budget is None else plural(group.budget, "record")
    seconds = None if group.budget_seconds is None else duration(group.budget_seconds)
    words = [one for one in (records, seconds) if one is not None]
    return ", ".join(words) or None


def _styled(state: str) -> Styled:
    return Styled(STATE_WORDS.get(state, state), STATE_STYLES.get(state, WARN))


def say_partitions(partitions: PartitionsLine) -> Styled:
    """How all partitions are, in a line."""
    total = plural(partitions.total, "partition")
    troubles = []
    if partitions.offline:
        troubles.append(f"{partitions.offline:,} without a leader")
    if partitions.under_replicated:
        troubles.append(f"{partitions.under_replicated:,} under-replicated")
    if troubles:
        return Styled(f"{total}: {', '.join(troubles)}", BAD if partitions.offline else WARN)
    return Styled(f"{total}, all replicas in sync", GOOD)


def say_quorum(quorum: QuorumLine) -> str:
    """Who leads and who votes, with what they lack."""

    def members(lines: Sequence[VoterLine]) -> str:
        return ", ".join(f"{one.id} ({one.lag:,} behind)" if one.lag else str(one.id) for one in lines)

    leader = f"led by {quorum.leader}" if quorum.leader >= 0 else "without a leader"
    words = f"{leader} in epoch {quorum.epoch}; voters {members(quorum.voters)}"
    return words + (f"; observers {members(quorum.observers)}" if quorum.observers else "")


def say_in_sync(node: NodeLine) -> Cell:
    """Replicas in sync of those a node has."""
    if node.replicas is None or node.in_sync is None:
        return None
    words = f"{node.in_sync:,}/{node.replicas:,}"
    return words if node.in_sync == node.replicas else Styled(words, WARN)


def say_trouble(topic: TopicLine) -> str:
    """What is amiss with a topic's replicas, in words; empty when nothing is."""
    words = []
    if topic.offline:
        words.append(f"{topic.offline} of {topic.partitions} without a leader")
    if topic.under_replicated:
        words.append(f"{topic.under_replicated} of {topic.partitions} under-replicated")
    if words:
        words[-1] += f"; see: moldau topic describe {topic.name}"
    return ", ".join(words)
