"""The live status of `moldau up` on a terminal: drawn from snapshots, never asking a broker itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from moldau_cli.drawing import open_table
from moldau_cli.output import BAD, FAINT, WARN, Cell, Styled, duration, plural
from moldau_cli.status import (
    STATE_STYLES,
    STATE_WORDS,
    say_in_sync,
    say_partitions,
    say_trouble,
)
from moldau_operator.local.instance import LocalInstance
from moldau_operator.local.snapshot import EventLine, GroupLine, Snapshot, TopicLine

REFRESH_S: Final = 1.0
"""Redrawn this often at least, for the clock; every change redraws at once."""

EVENTS_MIN: Final = 3
_FIXED_LINES: Final = 13
"""Heading, table headings, rules, blank lines and the help line."""

_ROOMY_LINES: Final = 28
"""From here on there is room for blank lines below the heading and above the help line."""


class Rates:
    """Records per second by topic, from one snapshot to the next."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, float] = {}

    def update(self, topics: Sequence[TopicLine], now: float) -> dict[str, float]:
        """The rates, given the topics' record counts at a (monotonic) time in seconds."""
        for topic in topics:
            if topic.records is None:
                continue
            since, before = self._seen.get(topic.name, (now, topic.records))
            if topic.records != before or now - since >= 3:
                elapsed = now - since
                self._rates[topic.name] = max(topic.records - before, 0) / elapsed if elapsed > 0 else 0.0
                self._seen[topic.name] = (now, topic.records)
            else:
                self._seen.setdefault(topic.name, (now, topic.records))
        return self._rates


class LiveView:
    """Draws an instance until left. Use as an async context manager."""

    def __init__(self, instance: LocalInstance, console: Console | None = None) -> None:
        self._instance = instance
        self._console = console or Console()
        self._rates = Rates()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError, OSError):  # the terminal may be gone by now
            await self._task
        with suppress(OSError):
            self._live.stop()

    async def _run(self) -> None:
        while True:
            self._instance.changed.clear()
            snapshot = self._instance.snapshot()
            rates = self._rates.update(snapshot.topics, time.monotonic())
            self._live.update(draw(snapshot, rates, *self._console.size, time.time()), refresh=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._instance.changed.wait()


def draw(snapshot: Snapshot, rates: dict[str, float], width: int, height: int, now: float) -> RenderableType:
    """The whole view in `width` columns and `height` lines. `now` is wall time in seconds."""
    roomy = height >= _ROOMY_LINES
    fixed = _FIXED_LINES + (2 if roomy else 0)
    left = max(height - fixed - len(snapshot.nodes) - EVENTS_MIN - len(snapshot.problems), 3)
    groups = snapshot.groups[: max(left // 3, 1)]
    topics = snapshot.topics[: max(left - len(groups), 2)]
    cut = (len(topics) < len(snapshot.topics)) + (len(groups) < len(snapshot.groups))
    used = fixed + len(snapshot.nodes) + len(topics) + len(groups) + len(snapshot.problems) + cut
    events = snapshot.events[-max(height - used, 1) :]
    blank: list[RenderableType] = [Text()] if roomy else []
    parts: list[RenderableType] = [_heading(snapshot, now), _health(snapshot), *blank]
    parts += [_nodes(snapshot, width), Text()]
    parts += [_topics(topics, rates, width), _more(len(snapshot.topics) - len(topics), "topic")]
    parts += [_groups(groups, width), _more(len(snapshot.groups) - len(groups), "group")]
    parts += [
        Text(f"! {problem}", style=BAD, overflow="ellipsis", no_wrap=True) for problem in snapshot.problems
    ]
    parts += [*map(_event, events), *blank, _help(snapshot)]
    return Group(*parts)


def _heading(snapshot: Snapshot, now: float) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_column(no_wrap=True, overflow="ellipsis", justify="right")
    title = Text.assemble(("moldau ", "bold"), (snapshot.cluster, "bold cyan"), "  ", _state(snapshot.state))
    if snapshot.message:
        title.append(f"  {snapshot.message}", style=FAINT if snapshot.state == "ready" else WARN)
    up_s = max(int(now - snapshot.started_ms / 1000), 0)
    grid.add_row(title, Text(f"up {duration(up_s)}", style=FAINT))
    grid.add_row(
        Text.assemble(("bootstrap ", FAINT), (snapshot.bootstrap or "-", "bold")),
        Text(snapshot.folder, style=FAINT),
    )
    return grid


def _health(snapshot: Snapshot) -> RenderableType:
    """Partitions and quorum in one line; who is who in the quorum stands at the nodes."""
    line = Text(overflow="ellipsis", no_wrap=True)
    if snapshot.partitions is None or snapshot.quorum is None:
        return line
    line.append(*say_partitions(snapshot.partitions))
    quorum = snapshot.quorum
    leader = f"led by {quorum.leader}" if quorum.leader >= 0 else "without a leader"
    line.append(f"  ·  quorum of {len(quorum.voters)} {leader}, epoch {quorum.epoch}", style=FAINT)
    return line


def _nodes(snapshot: Snapshot, width: int) -> RenderableType:
    rows = [
        (
            Text(str(node.id)),
            _state(node.state),
            Text(
                (snapshot.quorum.role_of(node.id) if snapshot.quorum is not None else "") or "-", style=FAINT
            ),
            Text("-" if node.leaders is None else f"{node.leaders:,}"),
            _text(say_in_sync(node)),
            Text(node.kafka.rpartition(":")[2]),
            Text("-" if node.pid is None else str(node.pid)),
            Text(
                node.message or (f"{plural(node.restarts, 'restart')}" if node.restarts else ""), style=WARN
            ),
        )
        for node in snapshot.nodes
    ]
    columns = ("NODE", "STATE", "QUORUM", ">LEADS", ">IN SYNC", "PORT", "PID", "")
    return open_table(columns, rows, width)


def _text(cell: Cell) -> Text:
    if isinstance(cell, Styled):
        return Text(cell.text, style=cell.style)
    return Text("-" if cell is None else str(cell))


def _topics(topics: Sequence[TopicLine], rates: dict[str, float], width: int) -> RenderableType:
    rows = []
    for topic in topics:
        rate = rates.get(topic.name, 0.0)
        rows.append(
            (
                Text(topic.name),
                _state(topic.state),
                Text(str(topic.partitions)),
                Text(str(topic.replicas)),
                Text("-" if topic.records is None else f"{topic.records:,}"),
                Text(f"{rate:,.0f}" if rate else "-", style="" if rate else FAINT),
                Text(topic.message or say_trouble(topic), style=WARN),
            )
        )
    return open_table(
        ("TOPIC", "STATE", ">PARTITIONS", ">REPLICAS", ">RECORDS", ">PER SECOND", ""), rows, width
    )


def _groups(groups: Sequence[GroupLine], width: int) -> RenderableType:
    rows = []
    for group in groups:
        over = group.lag is not None and group.budget is not None and group.lag > group.budget
        rows.append(
            (
                Text(group.id),
                _state(group.state),
                Text(str(group.members)),
                Text("-" if group.lag is None else f"{group.lag:,}", style=BAD if over else ""),
                Text("-" if group.budget is None else f"{group.budget:,}", style=FAINT),
                Text(group.message, style=WARN),
            )
        )
    return open_table(("GROUP", "STATE", ">MEMBERS", ">LAG", ">ALLOWED", ""), rows, width)


def _state(state: str) -> Text:
    style = STATE_STYLES.get(state, WARN)
    return Text.assemble(("● ", style), (STATE_WORDS.get(state, state), style))


def _more(count: int, what: str) -> Text:
    """The blank line below a table; it says how many rows did not fit."""
    words = f"... and {plural(count, f'more {what}')}; see: moldau {what} list\n"
    return Text(words if count > 0 else "", style=FAINT, overflow="ellipsis", no_wrap=True)


def _event(event: EventLine) -> Text:
    clock = f"{datetime.fromtimestamp(event.at_ms / 1000).astimezone():%H:%M:%S}"
    return Text.assemble(
        (clock, FAINT), "  ", (event.text, WARN if event.warning else ""), overflow="ellipsis", no_wrap=True
    )


def _help(snapshot: Snapshot) -> Text:
    if snapshot.state == "stopping":
        return Text("stopping in good order; Ctrl-C again stops at once", style=WARN)
    topic = snapshot.topics[0].name if snapshot.topics else "TOPIC"
    words = f"Ctrl-C stops  ·  elsewhere: moldau produce {topic}  ·  moldau consume {topic}  ·  moldau status"
    return Text(words, style=FAINT, overflow="ellipsis", no_wrap=True)
