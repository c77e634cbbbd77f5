"""What every verb that talks to a cluster shares: where it is, how long to wait, and errors in words.

The only place that knows how the local platform is found.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import (
    BrokerUnreachable,
    ClientError,
    ConnectionLost,
    DeliveryFailed,
    RequestFailed,
    RequestTimedOut,
)
from moldau_broker.client.pool import parse_bootstrap
from moldau_cli.output import plural
from moldau_cli.root import Failure, Unreachable

if TYPE_CHECKING:
    from moldau_operator.local.state import Instance

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FALLBACK_BOOTSTRAP: Final = "127.0.0.1:9092"

NEXT_STEPS: Final[dict[ErrorCode, str]] = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "does not exist; see: moldau topic list",
    ErrorCode.TOPIC_ALREADY_EXISTS: "exists already; pass --if-not-exists, or see: moldau topic alter",
    ErrorCode.GROUP_ID_NOT_FOUND: "does not exist; see: moldau group list",
    ErrorCode.NON_EMPTY_GROUP: "still has members; stop its consumers first, see: moldau group describe",
    ErrorCode.UNKNOWN_MEMBER_ID: "has active members; stop its consumers first, see: moldau group describe",
    ErrorCode.LEADER_NOT_AVAILABLE: "has no leader; see: moldau topic describe",
    ErrorCode.NOT_ENOUGH_REPLICAS: "has too few in-sync replicas for acks=all; see: moldau topic describe",
    ErrorCode.KAFKA_STORAGE_ERROR: "is on a disk that is full or failing; see the broker's log",
    ErrorCode.MESSAGE_TOO_LARGE: (
        "refuses a record of this size; raise it with moldau topic alter --set max.message.bytes=BYTES"
    ),
    ErrorCode.OFFSET_OUT_OF_RANGE: "has no such offset; see the first and last with: moldau topic describe",
}


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster a command addresses.

    Attributes:
        bootstrap: host:port[,host:port...].
        timeout_s: for an operation with all its retries.
    """

    bootstrap: str
    timeout_s: float

    @property
    def config(self) -> ClientConfig:
        """The client's patience derived from the timeout."""
        limit_ms = max(int(self.timeout_s * 1000), 1)
        return ClientConfig(
            client_id="moldau-cli",
            deadline_ms=limit_ms,
            request_timeout_ms=limit_ms,
            connect_timeout_ms=min(limit_ms, ClientConfig().connect_timeout_ms),
        )


def default_bootstrap() -> str:
    """The running local cluster's address if there is one, else Kafka's usual port."""
    try:
        from moldau_operator.local.state import default_bootstrap as local_bootstrap
    except ImportError:  # installed without the operator and its local platform
        return FALLBACK_BOOTSTRAP
    return local_bootstrap() or FALLBACK_BOOTSTRAP


def local_instance(target: Target) -> Instance | None:
    """The running local cluster that has one of the target's addresses, if there is one."""
    try:
        from moldau_operator.local.state import instances
    except ImportError:  # installed without the operator and its local platform
        return None
    meant = set(target.bootstrap.split(","))
    return next(
        (one for one in instances() if meant & set(one.bootstrap().split(",")) and one.is_running()), None
    )


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --bootstrap-server and --timeout; the command receives both as `target`."""

    @click.option(
        "-b",
        "--bootstrap-server",
        envvar="MOLDAU_BOOTSTRAP_SERVER",
        metavar="HOST:PORT",
        help="Any broker of the cluster.  [default: the local cluster]",
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=15.0,
        show_default=True,
        metavar="SECONDS",
        help="Give up an operation after this long.",
    )
    @functools.wraps(command)
    def with_target(*, bootstrap_server: str | None, timeout: float, **options: Any) -> None:
        bootstrap = bootstrap_server or default_bootstrap()
        try:
            parse_bootstrap(bootstrap)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--bootstrap-server") from error
        command(target=Target(bootstrap, timeout), **options)

    return with_target


def output_option(*formats: str) -> Callable[[F], F]:
    """Add -o/--output; the first format is the default."""
    choices = formats or ("table", "json")
    return click.option(
        "-o",
        "--output",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="How to print the answer.",
    )


def with_cluster(target: Target, work: Callable[[Cluster], Awaitable[T]]) -> T:
    """Connect, run `work(cluster)`, disconnect; operating errors end as a `Failure` in words.

    Raises:
        Failure: in place of any `ClientError`.
        click.Abort: SIGINT or SIGTERM came; `work` was cancelled and has cleaned up.
    """

    async def session() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with Cluster(target.bootstrap, target.config) as cluster:
            try:
                await cluster.connect()
            except BrokerUnreachable as error:
                raise Unreachable(
                    f"{error}; start a local cluster with moldau up, or name yours with --bootstrap-server"
                ) from error
            return await work(cluster)

    try:
        return asyncio.run(session())
    except ClientError as error:
        raise failure(error) from error
    except asyncio.CancelledError:
        raise click.Abort from None


def failure(error: ClientError) -> Failure:
    """The error as one line that says what to do next."""
    match error:
        case BrokerUnreachable():
            # Somebody answered at the bootstrap address, so what fails is what the cluster says of itself.
            hint = "is that broker up, and is the address it advertises right for this machine?"
            return Unreachable(f"{error}; {hint}")
        case RequestTimedOut() | ConnectionLost():
            return Unreachable(f"{error}; try again, or allow more with --timeout")
        case DeliveryFailed():
            lost = plural(error.count, "record")
            return Failure(f"{lost} not acknowledged: {failure(error.first).message}")
        case RequestFailed():
            return Failure(explain(error))
    return Failure(str(error))


def report(outcomes: Mapping[str, object], done: Callable[[str], str]) -> None:
    """A line for each thing that was done; then one line for each that failed, and a failing exit.

    `outcomes` hold a `ClientError` where something failed, else anything.
    """
    failed = {name: value for name, value in outcomes.items() if isinstance(value, ClientError)}
    for name in outcomes:
        if name not in failed:
            click.echo(done(name))
    for position, error in enumerate(failed.values(), start=1):
        problem = failure(error)
        if position == len(failed):
            raise problem
        problem.show()


def explain(error: RequestFailed) -> str:
    """What the code means here and what to do, with the broker's own words where it sent some."""
    words = NEXT_STEPS.get(error.code)
    if error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and error.what.startswith("partition"):
        words = "does not exist; see: moldau topic describe"
    if words is not None:
        return f"{error.what} {words}"
    reason = error.code.name.replace("_", " ").lower()
    return f"{error.what}: {error.detail.rstrip('.') if error.detail else reason} ({error.code.name})"


def parse_settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """`--set name=value` options as a mapping."""
    settings: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{pair!r} is not name=value", param_hint="--set")
        settings[name.strip()] = value
    return settings
