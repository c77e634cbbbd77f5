"""`moldau consume`: the records of topics, from anywhere, to the end or for ever, alone or as a group."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import click

from moldau_broker.client.cluster import Cluster
from moldau_broker.client.consumer import Consumer, ConsumerConfig, Fetched
from moldau_broker.client.group_consumer import GroupConfig, GroupConsumer
from moldau_broker.client.partitions import EARLIEST, LATEST, TopicPartition
from moldau_broker.wire.records import Record
from moldau_cli.context import Target, cluster_options, output_option, with_cluster
from moldau_cli.parsing import Position, parse_offset, parse_partitions, parse_time, unescape
from moldau_cli.positions import find_positions
from moldau_cli.progress import Progress, no_progress, record_progress
from moldau_cli.record_text import to_columns, to_json, to_text

POLL_MS: Final = 500
"""How long one wait for records lasts: also how fast a group notices that it must rebalance."""
COMMIT_EVERY_S: Final = 1.0

Formatter = Callable[[TopicPartition, Record], bytes]


@dataclass(frozen=True, slots=True)
class Reading:
    """What is to be read, and for how long.

    Attributes:
        topics: the topics.
        partitions: only these of each; None is all.
        start: where to begin.
        follow: go on for ever instead of stopping at what was the end at the beginning.
        limit: stop after so many records.
    """

    topics: tuple[str, ...]
    partitions: list[int] | None
    start: Position
    follow: bool
    limit: int | None


@click.command()
@click.argument("topics", nargs=-1, required=True, metavar="TOPIC...")
@click.option(
    "--from-beginning", is_flag=True, help="Begin with the oldest record.  [default without --follow]"
)
@click.option("--offset", help="Begin at an offset, at earliest or latest, or (-N) N records before the end.")
@click.option(
    "--timestamp", metavar="TIME", help="Begin at a time: 2025-01-31T12:00:00Z, -10m, or milliseconds."
)
@click.option("-p", "--partition", "partitions", metavar="LIST", help="Only these, like 0,2-4.")
@click.option("-f", "--follow", is_flag=True, help="Wait for new records instead of stopping at the end.")
@click.option("-n", "--max-records", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("-g", "--group", help="Read as a member of this group, from where it stands, and commit.")
@output_option("text", "wide", "json")
@click.option("-K", "--key-separator", metavar="TEXT", help="With text: print KEY<TEXT>VALUE.")
@cluster_options
def consume(
    target: Target,
    topics: tuple[str, ...],
    from_beginning: bool,
    offset: str | None,
    timestamp: str | None,
    partitions: str | None,
    follow: bool,
    max_records: int | None,
    group: str | None,
    output: str,
    key_separator: str | None,
) -> None:
    """Print the records of topics.

    \b
    moldau consume orders                         all there is now
    moldau consume orders --follow                what comes from now on; Ctrl-C ends
    moldau consume orders --offset -5 -o wide     the last five of each partition
    moldau consume orders --group billing -f      as a member of a group

    Without --follow it stops at what was the end when it began. A group that has never committed begins
    with the oldest record, or with --follow at the end.
    """
    if sum((from_beginning, offset is not None, timestamp is not None)) > 1:
        raise click.UsageError("--from-beginning, --offset and --timestamp exclude each other")
    if group is not None and (offset is not None or timestamp is not None or partitions is not None):
        raise click.UsageError(
            "a group reads its share from where it stands: leave out --offset, --timestamp and --partition "
            "(to move a group: moldau group reset)"
        )
    if key_separator is not None and output != "text":
        raise click.UsageError("--key-separator is for text output")
    reading = Reading(
        topics=tuple(dict.fromkeys(topics)),
        partitions=_parsed(parse_partitions, partitions),
        start=_start(offset, timestamp, from_beginning, follow),
        follow=follow,
        limit=max_records,
    )
    write = _formatter(output, key_separator)
    with _quiet_when_unread():
        with_cluster(target, lambda cluster: _consume(cluster, reading, group, write))


def _parsed(parse: Callable[[str], list[int]], text: str | None) -> list[int] | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _start(offset: str | None, timestamp: str | None, from_beginning: bool, follow: bool) -> Position:
    try:
        if offset is not None:
            return parse_offset(offset)
        if timestamp is not None:
            return Position("timestamp", parse_time(timestamp, now_ms=time.time_ns() // 1_000_000))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return Position("latest") if follow and not from_beginning else Position("earliest")


def _formatter(output: str, key_separator: str | None) -> Formatter:
    match output:
        case "json":
            return to_json
        case "wide":
            return to_columns
    separator = None if key_separator is None else unescape(key_separator)
    return lambda _partition, record: to_text(record, separator)


async def _consume(cluster: Cluster, reading: Reading, group: str | None, write: Formatter) -> None:
    if group is None:
        await _consume_alone(cluster, reading, write)
    else:
        await _consume_as_member(cluster, reading, group, write)


async def _consume_alone(cluster: Cluster, reading: Reading, write: Formatter) -> None:
    partitions = [
        TopicPartition(topic, number)
        for topic in reading.topics
        for number in await _numbers(cluster, topic, reading.partitions)
    ]
    clamp = reading.start.kind != "offset"  # an offset that is gone is worth an error
    starts = await find_positions(cluster, dict.fromkeys(partitions, reading.start), clamp=clamp)
    ends = await find_positions(cluster, dict.fromkeys(partitions, Position("latest")), clamp=False)
    consumer = Consumer(cluster, ConsumerConfig(wait_ms_max=POLL_MS))
    consumer.assign(starts)
    printer = Printer(write, reading.limit)
    total = sum(max(ends[p] - starts[p], 0) for p in partitions)
    try:
        with _progress(reading, total) as progress:
            while reading.follow or any(consumer.positions[p] < ends[p] for p in partitions):
                progress(printer.print(await consumer.poll(POLL_MS)))
                if printer.done:
                    break
                if reading.follow and reading.partitions is None:
                    await _add_new_partitions(cluster, consumer, reading.topics)
    finally:
        await consumer.close()


async def _numbers(cluster: Cluster, topic: str, only: list[int] | None) -> list[int]:
    """The topic's partitions; the ones asked for are looked at by whoever uses them."""
    info = await cluster.topic(topic)
    return [p.partition for p in info.partitions] if only is None else only


async def _add_new_partitions(cluster: Cluster, consumer: Consumer, topics: tuple[str, ...]) -> None:
    """A followed topic may grow; its new partitions are read from their beginning."""
    for topic in topics:
        info = await cluster.topic(topic)
        known = {p for p in consumer.positions if p.topic == topic}
        added = [p.partition for p in info.partitions if TopicPartition(topic, p.partition) not in known]
        if added:
            wanted = dict.fromkeys((TopicPartition(topic, p) for p in added), Position("earliest"))
            consumer.assign(consumer.positions | await find_positions(cluster, wanted, clamp=False))


async def _consume_as_member(cluster: Cluster, reading: Reading, group: str, write: Formatter) -> None:
    for topic in reading.topics:
        await cluster.topic(topic)  # a group would wait for ever for a topic that does not exist
    start = LATEST if reading.start.kind == "latest" else EARLIEST
    member = GroupConsumer(
        cluster, group, reading.topics, GroupConfig(start=start), ConsumerConfig(wait_ms_max=POLL_MS)
    )
    printer = Printer(write, reading.limit)
    ends: dict[TopicPartition, int] = {}
    commit_at = time.monotonic() + COMMIT_EVERY_S
    try:
        while True:
            fetched = await member.poll(POLL_MS)
            printer.print(fetched)
            if time.monotonic() >= commit_at or printer.done:
                await _commit(member, printer)
                commit_at = time.monotonic() + COMMIT_EVERY_S
            if printer.done or (not reading.follow and await _at_end(cluster, member, ends)):
                break
    finally:
        # Also when interrupted: the others of the group need not read again what was printed here.
        try:
            if member.assignment:
                await _commit(member, printer)
        finally:
            await member.close()


async def _at_end(cluster: Cluster, member: GroupConsumer, ends: dict[TopicPartition, int]) -> bool:
    """Whether the member's partitions are read up to where they ended when it first had them."""
    unknown = [partition for partition in member.assignment if partition not in ends]
    if unknown:
        ends |= await find_positions(cluster, dict.fromkeys(unknown, Position("latest")), clamp=False)
    return all(member.consumer.positions[partition] >= ends[partition] for partition in member.assignment)


async def _commit(member: GroupConsumer, printer: Printer) -> None:
    """Commit what was printed, which may be less than what was read."""
    await member.commit(member.consumer.positions | printer.unwritten)


class Printer:
    """Writes records to standard output, up to a limit, and knows what it has not written."""

    def __init__(self, write: Formatter, limit: int | None) -> None:
        self.unwritten: dict[TopicPartition, int] = {}
        """Of the last records given: the offset of the first one not written, by partition."""
        self._write = write
        self._left = limit

    @property
    def done(self) -> bool:
        """Whether the limit is reached."""
        return self._left == 0

    def print(self, fetched: list[Fetched]) -> int:
        """Write them and flush; gives how many."""
        self.unwritten = {partition: records[0].offset for partition, records in fetched}
        lines: list[bytes] = []
        beyond: dict[TopicPartition, int] = {}
        for partition, records in fetched:
            taken = records if self._left is None else records[: self._left]
            lines += [self._write(partition, record) for record in taken]
            if len(taken) < len(records):
                beyond[partition] = records[len(taken)].offset
            if self._left is not None:
                self._left -= len(taken)
        if lines:
            out = sys.stdout.buffer
            out.write(b"\n".join(lines) + b"\n")
            out.flush()
        self.unwritten = beyond
        return len(lines)


@contextlib.contextmanager
def _progress(reading: Reading, total: int) -> Iterator[Progress]:
    """A bar when the end is known, the records go elsewhere and somebody watches."""
    if reading.limit is not None:
        total = min(total, reading.limit)
    if not reading.follow and total and sys.stderr.isatty() and not sys.stdout.isatty():
        with record_progress(f"reading {', '.join(reading.topics)}", total) as advance:
            yield advance
    else:
        yield no_progress


@contextlib.contextmanager
def _quiet_when_unread() -> Iterator[None]:
    """The reader of our output may have enough (`moldau consume t | head`); that is its right, not an error."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's last flush
