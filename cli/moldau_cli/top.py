"""`moldau top`: a cluster at work, live on a terminal, once elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import click

from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import ClientError
from moldau_cli.admin_http import PORT_SETTING, http_addresses
from moldau_cli.context import Target, cluster_options, output_option, with_cluster
from moldau_cli.output import OutputFormat, print_table, show_facts, show_json, warn
from moldau_cli.root import Failure
from moldau_cli.top_look import Look, Looker
from moldau_cli.top_report import TopReport, make_report
from moldau_cli.top_view import draw, plain_tables, say_controller, say_health

ROWS_PLAIN: Final = 20
ONCE_S: Final = 1.2
"""Between the two looks of a single shot: a broker makes its metrics page at most once a second."""


@click.command()
@click.option("--once", is_flag=True, help="Print once and end.  [default where there is no terminal]")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@output_option()
@cluster_options
def top(target: Target, once: bool, interval: float, output: OutputFormat) -> None:
    """Watch brokers with their throughput, CPU and memory, the hottest partitions, and groups by lag.

    \b
    moldau top                     the local cluster, live; q quits
    moldau top --once              one table each
    moldau top --once -o json      everything, for programs

    What it shows comes from the brokers' HTTP ports. Bytes are what clients wrote and read; CPU is of one core.
    """
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not once and output == "table"

    async def work(cluster: Cluster) -> TopReport | None:
        addresses = await http_addresses(cluster)
        if not addresses:
            raise Failure(f"no broker answers HTTP; moldau's brokers do where {PORT_SETTING} is set")
        looker = Looker(addresses, time.monotonic)
        try:
            if live:
                await _watch(looker, interval)
                return None
            before = await looker.look()
            await asyncio.sleep(ONCE_S)
            return make_report(before, await looker.look())
        finally:
            await looker.close()

    report = with_cluster(target, work)
    if report is None:
        return
    if output == "json":
        show_json(report.as_json())
    else:
        _print(report)


def _print(report: TopReport) -> None:
    show_facts(
        ("cluster", report.cluster_id), ("quorum", say_controller(report)), ("health", say_health(report))
    )
    for table in plain_tables(report, ROWS_PLAIN):
        if table.rows:
            click.echo()
            print_table(table)
    for problem in report.problems:
        warn(problem)


async def _watch(looker: Looker, interval_s: float) -> None:
    """Look and draw until q or Ctrl-C; a cluster that does not answer is said so, and asked again."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    quitting = asyncio.Event()
    before: Look | None = None
    report: TopReport | None = None
    with _keys(quitting), Live(console=console, screen=True, auto_refresh=False) as screen:
        while not quitting.is_set():
            problem = ""
            try:
                now = await looker.look()
            except ClientError as error:
                problem = str(error)
            else:
                report, before = make_report(before, now), now
            width, height = console.size
            view = (
                Text(f"! {problem}")
                if report is None
                else draw(report, width, height, time.time(), interval_s, problem)
            )
            screen.update(view, refresh=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s if before is not None else 1):
                    await quitting.wait()


@contextmanager
def _keys(quitting: asyncio.Event) -> Iterator[None]:
    """Hear q without Enter, where standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    old = termios.tcgetattr(descriptor)

    def pressed() -> None:
        keys = os.read(descriptor, 64)
        if not keys or b"q" in keys or b"Q" in keys or b"\x03" in keys:
            quitting.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, old)
