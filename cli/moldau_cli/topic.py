"""`moldau topic`: create, list, describe, alter, delete."""

from __future__ import annotations

from typing import Any

import click

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import format_uuid
from moldau_broker.client.admin import configs, reassignments, topics
from moldau_broker.client.admin.outcomes import settle
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError, RequestFailed
from moldau_cli.confirm import confirm_deletion
from moldau_cli.context import Target, cluster_options, output_option, parse_settings, report, with_cluster
from moldau_cli.health import replication_factor, topic_state
from moldau_cli.output import GOOD, WARN, OutputFormat, Styled, Table, plural, show
from moldau_cli.topic_report import describe_topics, setting_rows, show_topics


@click.group()
def topic() -> None:
    """Create, list, describe, alter and delete topics."""


@topic.command()
@click.argument("names", nargs=-1, required=True, metavar="TOPIC...")
@click.option("-p", "--partitions", type=click.IntRange(min=1), help="[default: the broker's num.partitions]")
@click.option(
    "-r",
    "--replicas",
    "--replication-factor",
    "replication_factor",
    type=click.IntRange(min=1),
    help="[default: the broker's default.replication.factor]",
)
@click.option("--set", "--config", "settings", multiple=True, metavar="NAME=VALUE", help="A topic setting.")
@click.option("--if-not-exists", is_flag=True, help="Accept topics that exist already, as they are.")
@click.option("--dry-run", is_flag=True, help="Only check that they could be created.")
@cluster_options
def create(
    target: Target,
    names: tuple[str, ...],
    partitions: int | None,
    replication_factor: int | None,
    settings: tuple[str, ...],
    if_not_exists: bool,
    dry_run: bool,
) -> None:
    """Create topics.

    \b
    moldau topic create orders --partitions 6 --set retention.ms=604800000
    """
    config = parse_settings(settings)
    wanted = [
        topics.NewTopic(
            name=name,
            partitions=partitions or topics.USE_BROKER_DEFAULT,
            replication_factor=replication_factor or topics.USE_BROKER_DEFAULT,
            config=config,
        )
        for name in dict.fromkeys(names)
    ]

    async def work(cluster: Cluster) -> dict[str, topics.CreatedTopic | ClientError]:
        return await topics.create_topics(cluster, wanted, validate_only=dry_run)

    outcomes = with_cluster(target, work)
    existing = {name for name, outcome in outcomes.items() if if_not_exists and _exists_already(outcome)}

    def words(name: str) -> str:
        made = outcomes[name]
        if name in existing:
            return f"topic {name} exists"
        assert isinstance(made, topics.CreatedTopic)
        verb = "could be created" if dry_run else "created"
        size = f"{plural(made.partitions, 'partition')}, replication factor {made.replication_factor}"
        return f"topic {name} {verb}" + (f": {size}" if made.partitions > 0 else "")

    report({name: None if name in existing else outcome for name, outcome in outcomes.items()}, words)


def _exists_already(outcome: object) -> bool:
    return isinstance(outcome, RequestFailed) and outcome.code is ErrorCode.TOPIC_ALREADY_EXISTS


@topic.command(name="list")
@click.option("--internal", is_flag=True, help="Also topics that Kafka keeps for itself.")
@output_option()
@cluster_options
def list_(target: Target, internal: bool, output: OutputFormat) -> None:
    """List topics and how they are."""
    found = [t for t in with_cluster(target, topics.list_topics) if internal or not t.internal]
    table = Table(["TOPIC", "PARTITIONS", "REPLICATION", "STATE"])
    data: list[dict[str, Any]] = []
    for item in found:
        state, replicas = topic_state(item), replication_factor(item)
        table.add(item.name, len(item.partitions), replicas, Styled(state, GOOD if state == "ok" else WARN))
        data.append(
            {
                "name": item.name,
                "topic_id": format_uuid(item.topic_id),
                "internal": item.internal,
                "partitions": len(item.partitions),
                "replication_factor": replicas,
                "state": state,
            }
        )
    show(output, data, table, empty="no topics; create one with: moldau topic create NAME")


@topic.command()
@click.argument("names", nargs=-1, required=True, metavar="TOPIC...")
@click.option(
    "--settings", is_flag=True, help="Every setting with its value and source instead of partitions."
)
@output_option()
@cluster_options
def describe(target: Target, names: tuple[str, ...], settings: bool, output: OutputFormat) -> None:
    """Show leaders, replicas, offsets and sizes, and what is wrong.

    Since when a replica is out of sync is what the partition's leader knows: where another broker led when it fell out,
    only that it was before. RECORDS counts offsets between START and END; on compacted topics fewer records are left.
    """
    if settings:
        _describe_settings(target, names, output)
        return
    outcomes = with_cluster(target, lambda cluster: describe_topics(cluster, names))
    found = [item for item in outcomes.values() if not isinstance(item, ClientError)]
    if found:
        show_topics(output, found)
    report({name: item for name, item in outcomes.items() if isinstance(item, ClientError)}, str)


def _describe_settings(target: Target, names: tuple[str, ...], output: OutputFormat) -> None:
    async def work(cluster: Cluster) -> dict[str, dict[str, configs.Setting]]:
        found = settle(await configs.describe_configs(cluster, map(configs.topic_resource, names)))
        return {resource.name: settings for resource, settings in found.items()}

    found = with_cluster(target, work)
    tables = []
    for name, settings in found.items():
        table = Table(["SETTING", "VALUE", "SOURCE"], title=name if len(found) > 1 else None)
        for row in setting_rows(settings):
            table.add(*row)
        tables.append(table)
    data = {
        name: {
            setting.name: {"value": setting.value, "source": setting.source.name}
            for setting in settings.values()
        }
        for name, settings in found.items()
    }
    show(output, data, *tables)


@topic.command()
@click.argument("name", metavar="TOPIC")
@click.option("-p", "--partitions", type=click.IntRange(min=1), help="Grow to this many. They cannot shrink.")
@click.option(
    "-r",
    "--replicas",
    "--replication-factor",
    "replicas",
    type=click.IntRange(min=1),
    help="Give every partition this many replicas.",
)
@click.option("--set", "--config", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting.")
@click.option("--unset", multiple=True, metavar="NAME", help="Return a setting to its default.")
@click.option("--dry-run", is_flag=True, help="Only check that it could be done.")
@cluster_options
def alter(
    target: Target,
    name: str,
    partitions: int | None,
    replicas: int | None,
    settings: tuple[str, ...],
    unset: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Change settings, the number of partitions or of replicas of a topic.

    \b
    moldau topic alter orders --partitions 12 --set retention.ms=86400000 --unset segment.bytes
    moldau topic alter orders --replicas 3

    More partitions send keys elsewhere from then on: records of one key may lie in two of them. More replicas are
    copied in the background; moldau topic describe shows how far that is. A topic that is declared in the file of
    a running moldau up goes back to what is declared there.
    """
    changes: dict[str, str | None] = {**parse_settings(settings), **dict.fromkeys(unset)}
    if not changes and partitions is None and replicas is None:
        raise click.UsageError("nothing to alter: give --partitions, --replicas, --set or --unset")

    verb = "could be altered" if dry_run else "altered"

    async def work(cluster: Cluster) -> None:
        if changes:
            resource = configs.topic_resource(name)
            settle(await configs.alter_configs(cluster, {resource: changes}, validate_only=dry_run))
            words = [
                f"{key}={value}" if value is not None else f"{key} unset" for key, value in changes.items()
            ]
            click.echo(f"topic {name} {verb}: {', '.join(words)}")
        if partitions is not None:
            settle(await topics.create_partitions(cluster, {name: partitions}, validate_only=dry_run))
            click.echo(f"topic {name} {verb}: {plural(partitions, 'partition')}")
        if replicas is not None:
            from moldau_cli.topic_replicas import (
                plan_by_hand,  # the operator need not be installed for the rest
            )

            targets = await plan_by_hand(target, name, replicas)
            if targets and not dry_run:
                settle(await reassignments.alter_reassignments(cluster, targets))
            moving = f": {plural(len(targets), 'partition')} moving" if targets and not dry_run else ""
            click.echo(f"topic {name} {verb}: {plural(replicas, 'replica')}{moving}")

    with_cluster(target, work)


@topic.command()
@click.argument("names", nargs=-1, required=True, metavar="TOPIC...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@cluster_options
def delete(target: Target, names: tuple[str, ...], yes: bool) -> None:
    """Delete topics with all their records. Asks first on a terminal."""
    wanted = list(dict.fromkeys(names))
    confirm_deletion([f"topic {name}" for name in wanted], yes=yes)
    outcomes = with_cluster(target, lambda cluster: topics.delete_topics(cluster, wanted))
    report(outcomes, lambda name: f"topic {name} deleted")
