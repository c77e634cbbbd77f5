"""`moldau produce`: lines of standard input or a file become records."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import DeliveryFailed, RequestFailed
from moldau_broker.client.partitioner import RoundRobinPartitioner
from moldau_broker.client.producer import Producer
from moldau_broker.client.producer_config import ACKS_ALL, ACKS_LEADER, ACKS_NONE, ProducerConfig
from moldau_broker.wire.compression import Codec
from moldau_broker.wire.records import Headers
from moldau_cli.context import Target, cluster_options, failure, with_cluster
from moldau_cli.output import note, plural
from moldau_cli.parsing import parse_header, unescape
from moldau_cli.progress import Progress, byte_progress, no_progress
from moldau_cli.record_text import BadLine, Line, from_json, from_text
from moldau_cli.root import Failure
from moldau_cli.stdin import EndlessLine, read_lines

ACKS: Final = {"all": ACKS_ALL, "1": ACKS_LEADER, "0": ACKS_NONE}
CODECS: Final = {codec.name.lower(): codec for codec in Codec}


@click.command()
@click.argument("topic", metavar="TOPIC")
@click.option("-k", "--key", help="The key of every record.")
@click.option(
    "-K",
    "--key-separator",
    metavar="TEXT",
    help="Lines are KEY<TEXT>VALUE; \\t stands for a tab.",
)
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header of every record."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Lines are JSON objects as `moldau consume -o json` prints."
)
@click.option("-p", "--partition", type=click.IntRange(min=0), help="[default: by key, or in turn]")
@click.option("-z", "--compression", type=click.Choice(list(CODECS)), default="none", show_default=True)
@click.option(
    "--acks",
    type=click.Choice(list(ACKS)),
    default="all",
    show_default=True,
    help="Who must have a record before it counts as sent.",
)
@click.option(
    "--idempotence/--no-idempotence",
    default=None,
    help="Whether a retry may store a record twice.  [default: idempotent with acks=all]",
)
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this file.",
)
@click.option("--auto-create", is_flag=True, help="Let the broker create the topic, if it is set to.")
@click.option("-q", "--quiet", is_flag=True, help="No closing summary.")
@cluster_options
def produce(
    target: Target,
    topic: str,
    key: str | None,
    key_separator: str | None,
    headers: tuple[str, ...],
    as_json: bool,
    partition: int | None,
    compression: str,
    acks: str,
    idempotence: bool | None,
    path: Path | None,
    auto_create: bool,
    quiet: bool,
) -> None:
    """Write records to a topic, one per line of standard input.

    \b
    echo 'hello' | moldau produce greetings
    moldau produce orders -K : < orders.txt
    moldau consume old -o json | moldau produce new --json
    """
    if as_json and key_separator is not None:
        raise click.UsageError("--json lines carry their own keys: leave out --key-separator")
    if key is not None and key_separator is not None:
        raise click.UsageError("--key and --key-separator exclude each other")
    try:
        parsed = [parse_header(header) for header in headers]
        config = ProducerConfig(
            acks=ACKS[acks],
            idempotent=acks == "all" if idempotence is None else idempotence,
            compression=CODECS[compression],
            delivery_ms_max=target.config.deadline_ms,
            auto_create=auto_create,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    separator = None if key_separator is None else unescape(key_separator).encode()
    read: Callable[[bytes], Line] = from_json if as_json else lambda line: from_text(line, separator)
    fixed = Line(None if key is None else key.encode(), None, parsed, partition)
    with _open(path) as fd:
        if os.isatty(fd):
            note(f"writing to {topic}: one record per line, Ctrl-D ends")
        with_cluster(target, lambda cluster: _produce(cluster, topic, fd, read, fixed, config, quiet=quiet))


async def _produce(
    cluster: Cluster,
    topic: str,
    fd: int,
    read: Callable[[bytes], Line],
    fixed: Line,
    config: ProducerConfig,
    *,
    quiet: bool,
) -> None:
    started = time.monotonic()
    await _check_topic(cluster, topic, auto_create=config.auto_create)
    producer = Producer(cluster, config, partitioner=RoundRobinPartitioner)
    number = 0
    try:
        with _progress(fd, topic) as progress:
            async for lines, size in read_lines(fd):
                for line in lines:
                    number += 1
                    await _send(producer, topic, _read(read, line, number), fixed)
                progress(size)
                if producer.failed:
                    break
            await producer.close()
    except DeliveryFailed as error:
        problem = failure(error)
        raise Failure(f"{problem.message} ({plural(producer.delivered, 'record')} acknowledged)") from error
    except Failure:
        await producer.close()
        raise
    except EndlessLine as error:
        await producer.close()
        raise Failure(f"line {number + 1}: {error}; the lines before it were written") from error
    except BaseException:
        await producer.close(abandon=True)
        raise
    if not quiet:
        took = time.monotonic() - started
        note(f"{plural(number, 'record')} written to {topic} in {took:.1f} s")


async def _check_topic(cluster: Cluster, topic: str, *, auto_create: bool) -> None:
    """Say that a topic is missing before reading input, and what to do."""
    try:
        await cluster.topic(topic, auto_create=auto_create)
    except RequestFailed as error:
        if error.code is not ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            raise
        create = f"create it with moldau topic create {topic}"
        if auto_create:
            raise Failure(
                f"topic {topic} does not exist and the broker does not make it; {create}"
            ) from error
        raise Failure(f"topic {topic} does not exist; {create}, or pass --auto-create") from error


def _read(read: Callable[[bytes], Line], line: bytes, number: int) -> Line:
    try:
        return read(line)
    except BadLine as error:
        raise Failure(f"line {number}: {error}; the lines before it were written") from error


async def _send(producer: Producer, topic: str, line: Line, fixed: Line) -> None:
    headers: Headers = [*line.headers, *fixed.headers]
    await producer.send(
        topic,
        key=line.key if fixed.key is None else fixed.key,
        value=line.value,
        headers=headers,
        partition=line.partition if fixed.partition is None else fixed.partition,
        timestamp_ms=line.timestamp_ms,
    )


@contextlib.contextmanager
def _open(path: Path | None) -> Iterator[int]:
    if path is None:
        yield sys.stdin.fileno()
        return
    with path.open("rb") as file:
        yield file.fileno()


@contextlib.contextmanager
def _progress(fd: int, topic: str) -> Iterator[Progress]:
    """A bar when the input has a size and somebody watches."""
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size and sys.stderr.isatty():
        with byte_progress(f"writing to {topic}", status.st_size) as advance:
            yield advance
    else:
        yield no_progress
