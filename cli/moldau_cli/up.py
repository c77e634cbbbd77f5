"""`moldau up`: run the Cluster of a YAML file on this machine, or bring the running one to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from moldau_cli.root import EXIT_USAGE, Failure, Unreachable, say_error

if TYPE_CHECKING:
    from moldau_operator.local.instance import Applied, LocalInstance
    from moldau_operator.local.snapshot import EventLine
    from moldau_operator.local.state import Instance
    from moldau_operator.resources.bundle import Bundle

T = TypeVar("T")

LIVE_LOOK_S: Final = 2.0
"""How often the live view asks the brokers for fresh figures."""


class Refused(Failure):
    """The file is wrong; nothing was touched."""

    exit_code = EXIT_USAGE


@click.command()
@click.option(
    "-f", "--file", "file", required=True, metavar="FILE", help="YAML or JSON with one Cluster; - is stdin."
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background; return when everything is there.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The instance's folder.  [default: ~/.local/share/moldau/CLUSTER]",
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    metavar="PORT",
    help="First client port; taken ones are skipped.  [default: 9092, or what the instance had]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="With --detach: how long to wait for everything to be there.",
)
def up(file: str, detach: bool, data_dir: Path | None, port: int | None, timeout: float) -> None:
    """Run the Cluster of a YAML file on this machine, with its Topics and ConsumerGroups.

    Run it again after editing the file: the running cluster is brought to it. Topics that are no longer in the
    file are kept, unless their deletionPolicy says Delete.

    \b
    moldau up -f examples/quickstart.yaml             in the foreground; Ctrl-C stops it
    moldau up -f examples/quickstart.yaml --detach    in the background; moldau down stops it

    \b
    Exit codes:
      0    everything is as declared (in the foreground: and was stopped)
      1    the cluster does not run, or a part of the file cannot be carried out
      2    the file or the command line is wrong; nothing was touched
      3    the process that runs the instance does not answer
      130  interrupted while waiting
    """
    from moldau_operator.errors import InstanceError, InstanceSilent
    from moldau_operator.local.source import FileUnreadable, read_local, read_source
    from moldau_operator.local.state import folder_for, prepare
    from moldau_operator.resources.located import ResourcesInvalid

    try:
        text = read_source(file)
        cluster, bundle = read_local(text, file)
    except FileUnreadable as error:
        raise Refused(str(error)) from error
    except ResourcesInvalid as error:
        *first, last = str(error).splitlines()
        for line in first:
            say_error(line)
        raise Refused(last) from error
    try:
        instance = prepare(folder_for(cluster.metadata.name, data_dir), cluster.metadata.name, port)
        if instance.is_running() or detach:
            source = file if file == "-" else str(Path(file).absolute())
            run(_hand_over(instance, text.decode("utf-8-sig"), source, port, timeout))
        else:
            run(_foreground(instance, bundle))
    except InstanceSilent as error:
        raise Unreachable(str(error)) from error
    except InstanceError as error:
        raise Failure(str(error)) from error


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; Ctrl-C ends it as click expects."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise click.Abort from None


async def _hand_over(instance: Instance, text: str, source: str, port: int | None, timeout_s: float) -> None:
    """Give the resources to the process in the background, which is started if it does not run yet."""
    from moldau_operator.local import background, control

    fresh = not instance.is_running()
    if fresh:
        await background.start_keeper(instance)
    try:
        async with asyncio.timeout(timeout_s):
            applied = await control.apply(instance, text, source, port, _print_event)
    except TimeoutError:
        raise Failure(
            f"not everything is there after {timeout_s:g} s; it goes on in the background, see `moldau status`"
        ) from None
    except asyncio.CancelledError:
        click.echo("it goes on in the background; see `moldau status`, stop it with `moldau down`", err=True)
        raise
    if applied.failed and fresh:
        await background.bring_down(instance, click.echo)
    _judge(instance, applied)
    words = f"{instance.cluster} serves at {instance.bootstrap()}"
    if not fresh and not applied.actions:
        words = f"{words}; nothing to change"
    click.echo(words)


def _judge(instance: Instance, applied: Applied) -> None:
    """Say what went wrong, if anything did.

    Raises:
        Failure: with the last of it.
    """
    if applied.failed:
        raise Failure(f"{applied.failed}; logs are in {instance.folder / 'nodes'}")
    *first, last = applied.stalled or [""]
    for line in first:
        say_error(line)
    if last:
        raise Failure(last)


def _print_event(event: EventLine) -> None:
    mark = click.style("! ", fg="yellow") if event.warning else "  "
    click.echo(f"{datetime.now().astimezone():%H:%M:%S} {mark}{event.text}")


async def _foreground(instance: Instance, bundle: Bundle) -> None:
    """Look after the instance here until a signal or `moldau down`."""
    from moldau_operator.local.keeper import keep

    async with keep(instance) as local:
        if sys.stdout.isatty():
            from moldau_cli.live import LiveView

            async with LiveView(local):
                applied = await local.apply(bundle)
                await _stay(local, applied, live=True)
        else:
            local.listen(_print_event)
            applied = await local.apply(bundle)
            await _stay(local, applied, live=False)
    if applied.failed and not applied.stopped:
        _judge(instance, applied)
    click.echo(f"{instance.cluster} is stopped; its data stays in {instance.folder}")


async def _stay(local: LocalInstance, applied: Applied, *, live: bool) -> None:
    """Until it is asked to stop; not at all if it never ran."""
    if applied.failed:
        return
    if not live:
        for line in applied.stalled:
            say_error(line)
        click.echo(f"{local.instance.cluster} serves at {local.instance.bootstrap()}; Ctrl-C stops it")
    while not local.ended.is_set():
        try:
            async with asyncio.timeout(LIVE_LOOK_S if live else None):
                await local.ended.wait()
        except TimeoutError:
            await local.look()
