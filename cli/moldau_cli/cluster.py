"""`moldau cluster`: the metadata quorum, elections, moves of replicas."""

from __future__ import annotations

from typing import Any

import click

from moldau_broker.base.ids import NULL_UUID, format_uuid
from moldau_broker.client.admin import elections, quorum, reassignments, topics
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_broker.client.partitions import TopicPartition
from moldau_cli.context import Target, cluster_options, output_option, report, with_cluster
from moldau_cli.metadata_damage import NodeDamage, ask_nodes
from moldau_cli.output import GOOD, OutputFormat, Styled, Table, human_time, plural, show, show_facts, warn


@click.group()
def cluster() -> None:
    """Show the metadata quorum and moves of replicas; elect leaders."""


@cluster.command(name="quorum")
@output_option()
@cluster_options
def quorum_(target: Target, output: OutputFormat) -> None:
    """Show who leads the metadata quorum, who votes, how far everybody is, and damage in their files."""

    async def work(connected: Cluster) -> tuple[quorum.QuorumDescription, NodeDamage]:
        return await quorum.describe_quorum(connected), await ask_nodes(connected)

    found, damaged = with_cluster(target, work)
    table = Table(["NODE", "ROLE", "LOG END", "BEHIND", "CAUGHT UP AT", "ADDRESS"])
    members: list[dict[str, Any]] = []
    for role, replicas in (("voter", found.voters), ("observer", found.observers)):
        for one in replicas:
            leads = one.id == found.leader_id
            address = next(
                (f"{host}:{port}" for host, port in found.endpoints.get(one.id, {}).values()), None
            )
            table.add(
                str(one.id),
                Styled("leader", GOOD) if leads else role,
                one.log_end_offset,
                found.lag(one),
                human_time(one.last_caught_up_ms),
                address,
            )
            members.append(
                {
                    "id": one.id,
                    "role": "leader" if leads else role,
                    "directory_id": format_uuid(one.directory_id) if one.directory_id != NULL_UUID else None,
                    "log_end_offset": one.log_end_offset,
                    "lag": found.lag(one),
                    "last_caught_up_ms": one.last_caught_up_ms,
                    "address": address,
                    "damage": [
                        {"file": each.file, "reason": each.reason, "advice": each.advice}
                        for each in damaged.get(one.id, ())
                    ],
                }
            )
    data = {
        "leader": found.leader_id,
        "epoch": found.leader_epoch,
        "high_watermark": found.high_watermark,
        "replicas": members,
    }
    if output == "table":
        show_facts(
            ("leader", str(found.leader_id)),
            ("epoch", found.leader_epoch),
            ("committed", f"up to offset {found.high_watermark:,}"),
        )
        click.echo()
    show(output, data, table)
    if output == "table":
        for node, files in sorted(damaged.items()):
            for each in files:
                warn(f"the metadata log of node {node} is damaged: {each.reason}. {each.advice}")


@cluster.command()
@click.argument("names", nargs=-1, metavar="[TOPIC...]")
@click.option("--unclean", is_flag=True, help="Elect any replica that lives where nobody else can lead.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before an unclean election.")
@cluster_options
def elect(target: Target, names: tuple[str, ...], unclean: bool, yes: bool) -> None:
    """Give leadership back to preferred brokers, of these topics or of all.

    An unclean election gives up records that were acknowledged: the last way out when every replica that had
    them is lost for good.
    """
    if unclean and not yes:
        click.confirm("Acknowledged records may be lost for good. Elect uncleanly?", abort=True, err=True)
    kind = elections.ElectionType.UNCLEAN if unclean else elections.ElectionType.PREFERRED

    async def work(connected: Cluster) -> dict[TopicPartition, bool | ClientError]:
        wanted = None
        if names:
            found = settle(await topics.describe_topics(connected, names))
            wanted = [
                TopicPartition(name, p.partition) for name, topic in found.items() for p in topic.partitions
            ]
        return await elections.elect_leaders(connected, wanted, kind)

    outcomes = with_cluster(target, work)
    elected = sum(one is True for one in outcomes.values())
    click.echo(f"{plural(elected, 'partition')} with a new leader" if elected else "nothing to elect")
    failed = {str(place): one for place, one in outcomes.items() if isinstance(one, ClientError)}
    report(failed, str)


@cluster.command()
@output_option()
@cluster_options
def moves(target: Target, output: OutputFormat) -> None:
    """List partitions whose replicas are being moved."""
    found = with_cluster(target, reassignments.list_reassignments)
    table = Table(["PARTITION", "FROM", "TO", "COPIED TO", "LEAVES"])
    data = []
    for place, move in sorted(found.items()):
        before = [node for node in move.replicas if node not in move.adding]
        table.add(
            str(place),
            *(",".join(map(str, ids)) or None for ids in (before, move.target)),
            *(",".join(map(str, ids)) or None for ids in (move.adding, move.removing)),
        )
        data.append(
            {
                "topic": place.topic,
                "partition": place.partition,
                "from": before,
                "to": list(move.target),
                "adding": list(move.adding),
                "removing": list(move.removing),
            }
        )
    show(output, data, table, empty="nothing is being moved")
