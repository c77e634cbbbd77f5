"""The command tree: verbs are loaded when they are used, and every error is one line and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import click

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130

EXIT_CODES: Final = """\
\b
Exit codes:
  0    done
  1    the operation failed
  2    the command line is wrong
  3    the cluster cannot be reached
  130  interrupted with Ctrl-C
"""


class Verb(NamedTuple):
    """Where a verb lives and what `moldau --help` says of it, without importing it."""

    module: str
    attribute: str
    help: str


VERBS: Final[dict[str, Verb]] = {
    "up": Verb("moldau_cli.up", "up", "Run the clusters of a YAML file on this machine."),
    "status": Verb("moldau_cli.status", "status", "Show nodes, topics and groups of a local cluster."),
    "down": Verb("moldau_cli.down", "down", "Stop a local cluster."),
    "cluster": Verb("moldau_cli.cluster", "cluster", "Show the metadata quorum; elect leaders."),
    "balance": Verb("moldau_cli.balance", "balance", "Plan, carry out and show the balance of brokers."),
    "topic": Verb("moldau_cli.topic", "topic", "Create, list, describe, alter and delete topics."),
    "group": Verb("moldau_cli.group", "group", "List, describe, reset and delete consumer groups."),
    "top": Verb("moldau_cli.top", "top", "Watch brokers, the hottest partitions and groups by their lag."),
    "produce": Verb("moldau_cli.produce", "produce", "Write records from standard input to a topic."),
    "consume": Verb("moldau_cli.consume", "consume", "Print the records of a topic."),
    "dump": Verb("moldau_cli.dump", "dump", "Print what is in a log file."),
    "broker": Verb("moldau_cli.root", "broker", "Run one broker in the foreground."),
}


class Failure(click.ClickException):
    """An operation that failed: one line for stderr."""

    exit_code = EXIT_FAILED

    def show(self, file: Any = None) -> None:
        """Print the line."""
        say_error(self.message)


class Unreachable(Failure):
    """The cluster, or a broker of it, cannot be reached."""

    exit_code = EXIT_UNREACHABLE


class Root(click.Group):
    """The group of all verbs; imports a verb's module only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table: a cluster's life first, then its contents."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, imported now."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = getattr(importlib.import_module(verb.module), verb.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs and their help, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, print any error as one line, and exit with a documented code."""
        rest = {"windows_expand_args": windows_expand_args, **extra}
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **rest)
        code: Any = 0
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **rest)
        except click.UsageError as error:
            show_usage_error(error)
            code = EXIT_USAGE
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            code = EXIT_INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def say_error(message: str) -> None:
    """One line on stderr, whatever the message held."""
    line = " ".join(message.split())
    click.echo(click.style("error: ", fg="red", bold=True) + line, err=True)


def show_usage_error(error: click.UsageError) -> None:
    """What is wrong and where the help is, on one line."""
    command = error.ctx.command_path if error.ctx is not None else "moldau"
    if error.ctx is not None and error.message == error.ctx.get_help():
        click.echo(error.message, err=True)  # a group named without a verb: its help is the answer
        return
    say_error(f"{error.format_message().rstrip('.')}; see: {command} --help")


@click.command(
    cls=Root,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
@click.version_option(package_name="moldau", message="moldau %(version)s")
def root() -> None:
    """Run and use moldau clusters, which speak the Apache Kafka protocol."""


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def broker(arguments: tuple[str, ...]) -> None:
    """Run one broker in the foreground (normally reached before click is even imported)."""
    from moldau_cli.broker import become_broker

    become_broker(arguments)
