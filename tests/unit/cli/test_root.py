"""The command tree: lazy loading, one-line errors, exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.errors import BrokerUnreachable, DeliveryFailed, RequestFailed, RequestTimedOut
from moldau_cli.context import failure, parse_settings
from moldau_cli.root import VERBS, root

NOWHERE = ("--bootstrap-server", "127.0.0.1:1")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(root, arguments, prog_name="moldau")
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_root_loads_every_verb(verb: str) -> None:
    """Each name in the table is a command that has help."""
    command = root.get_command(click.Context(root), verb)
    assert isinstance(command, click.Command)
    assert command.help


def test_root_help_lists_verbs_and_exit_codes_without_loading_them() -> None:
    """Help must be instant: neither rich nor the client is imported for it."""
    script = (
        "import sys; from moldau_cli.root import root\n"
        "try: root(['--help'], prog_name='moldau')\n"
        "except SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('rich', 'asyncio', 'moldau_broker'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    for word in (*VERBS, "130", "cannot be reached"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "No such command 'nonsense'; see: moldau --help"),
        (("topic", "create"), "Missing argument 'TOPIC...'; see: moldau topic create --help"),
        (("topic", "alter", "t"), "nothing to alter: give --partitions, --replicas, --set or --unset"),
        (("topic", "create", "t", "--set", "x"), "'x' is not name=value"),
        (("topic", "list", "-b", "h:x"), "'h:x' is not host:port"),
        (("group", "reset", "g", "--to", "x"), "'x' is not earliest, latest, an offset or a time"),
        (("group", "reset", "g", "--to", "1", "--execute", "--dry-run"), "exclude each other"),
        (("group", "reset", "g", "--to", "1", "--topic", "t:x"), "'x' is not a partition"),
        (("consume", "t", "--from-beginning", "--offset", "1"), "exclude each other"),
        (("consume", "t", "--group", "g", "--offset", "1"), "moldau group reset"),
        (("consume", "t", "-p", "x"), "'x' is not a partition"),
        (("consume", "t", "--offset", "x"), "'x' is not an offset"),
        (("consume", "t", "--timestamp", "x"), "'x' is not a time"),
        (("consume", "t", "-o", "json", "-K", ":"), "--key-separator is for text output"),
        (("produce", "t", "-k", "a", "-K", ":"), "exclude each other"),
        (("produce", "t", "--json", "-K", ":"), "leave out --key-separator"),
        (("produce", "t", "-H", "x"), "'x' is not name=value"),
        (("produce", "t", "--acks", "1", "--idempotence"), "an idempotent producer needs acks=all"),
    ],
)
def test_root_usage_errors_are_one_line_and_exit_2(arguments: tuple[str, ...], words: str) -> None:
    """What is wrong and where the help is."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("error: ")
    assert err.endswith("--help\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("topic", "list"),
        ("topic", "create", "t"),
        ("topic", "describe", "t", "--settings"),
        ("topic", "alter", "t", "-p", "3"),
        ("topic", "delete", "t"),
        ("group", "list"),
        ("group", "describe", "g"),
        ("group", "reset", "g", "--to", "latest"),
        ("group", "delete", "g"),
        ("consume", "t"),
        ("produce", "t", "--file", __file__),
    ],
)
def test_root_unreachable_cluster_exits_3(arguments: tuple[str, ...]) -> None:
    """Every verb says how to get a cluster."""
    code, out, err = run(*arguments, *NOWHERE)
    assert (code, out) == (3, "")
    assert err == (
        "error: cannot reach 127.0.0.1:1: connection refused; "
        "start a local cluster with moldau up, or name yours with --bootstrap-server\n"
    )


def test_root_group_without_verb_shows_its_help() -> None:
    """`moldau topic` is a question."""
    code, _, err = run("topic")
    assert code == 2
    assert "create" in err
    assert "error:" not in err


def test_root_knows_its_version() -> None:
    """As installed."""
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("moldau 0.")


def test_broker_hands_its_arguments_to_the_broker() -> None:
    """The process becomes the broker: same arguments, its own help and exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "moldau_cli", "broker", "--help"], capture_output=True, text=True, check=False
    )
    direct = subprocess.run(
        [sys.executable, "-m", "moldau_broker.server", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (direct.returncode, direct.stdout, direct.stderr)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            RequestFailed(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "topic t"),
            1,
            "topic t does not exist; see: moldau topic list",
        ),
        (
            RequestFailed(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "partition 9 of topic t"),
            1,
            "partition 9 of topic t does not exist; see: moldau topic describe",
        ),
        (
            RequestFailed(ErrorCode.POLICY_VIOLATION, "topic t", "too many."),
            1,
            "topic t: too many (POLICY_VIOLATION)",
        ),
        (
            RequestFailed(ErrorCode.INVALID_REQUEST, "topic t"),
            1,
            "topic t: invalid request (INVALID_REQUEST)",
        ),
        (BrokerUnreachable("broker 2 at h:1", "no route"), 3, "is the address it advertises right"),
        (RequestTimedOut("h:1 did not answer"), 3, "--timeout"),
        (
            DeliveryFailed(2, RequestFailed(ErrorCode.NOT_ENOUGH_REPLICAS, "partition t-0")),
            1,
            "2 records not acknowledged: partition t-0 has too few in-sync replicas",
        ),
    ],
)
def test_failure_says_what_to_do(error: Exception, code: int, words: str) -> None:
    """Each kind of error has its exit code and its next step."""
    problem = failure(error)  # type: ignore[arg-type]
    assert problem.exit_code == code
    assert words in problem.message


def test_parse_settings_splits_at_the_first_equals() -> None:
    """Values may hold equals signs; the last one of a name counts."""
    assert parse_settings(("a=1", "b=x=y", "a=2")) == {"a": "2", "b": "x=y"}
