"""The live status of `moldau up` on a terminal: drawn from snapshots, never asking a broker itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from moldau_operator.local.instance import LocalInstance
from moldau_operator.local.snapshot import EventLine, GroupLine, NodeLine, Snapshot, TopicLine

REFRESH_S: Final = 1.0
"""Redrawn this often at least, for the clock; every change redraws at once."""

EVENTS_MIN: Final = 4
_FIXED_LINES: Final = 15
"""Heading, table headings, rules, blank lines and the help line."""

GOOD, WARN, BAD, FAINT = "green", "yellow", "red", "bright_black"
STATE_STYLES: Final = {
    "ready": GOOD,
    "serving": GOOD,
    "Stable": GOOD,
    "Empty": FAINT,
    "Dead": FAINT,
    "unmanaged": FAINT,
    "stopped": FAINT,
    "down": BAD,
    "stalled": BAD,
}
"""Everything else is on its way to something, and yellow."""

STATE_WORDS: Final = {"Dead": "not used yet"}
"""Kafka's word for a group that nobody knows says too much."""


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
        with suppress(asyncio.CancelledError):
            await self._task
        self._live.stop()

    async def _run(self) -> None:
        while True:
            self._instance.changed.clear()
            snapshot = self._instance.snapshot()
            rates = self._rates.update(snapshot.topics, time.monotonic())
            self._live.update(draw(snapshot, rates, self._console.height, time.time()), refresh=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._instance.changed.wait()


def draw(snapshot: Snapshot, rates: dict[str, float], height: int, now: float) -> RenderableType:
    """The whole view, cut to `height` lines. `now` is wall time in seconds."""
    left = max(height - _FIXED_LINES - len(snapshot.nodes) - EVENTS_MIN - len(snapshot.problems), 4)
    groups = snapshot.groups[: max(left // 3, 2)]
    topics = snapshot.topics[: max(left - len(groups), 2)]
    events = snapshot.events[-max(left - len(groups) - len(topics) + EVENTS_MIN, EVENTS_MIN) :]
    parts: list[RenderableType] = [
        _heading(snapshot, now),
        Text(),
        _nodes(snapshot.nodes),
        Text(),
        _topics(topics, rates),
        _more(len(snapshot.topics) - len(topics), "topics", "moldau topic list"),
        _groups(groups),
        _more(len(snapshot.groups) - len(groups), "groups", "moldau group list"),
    ]
    parts += [Text(f"! {problem}", style=BAD) for problem in snapshot.problems]
    parts += [_event(event) for event in events]
    parts += [Text(), _help(snapshot)]
    return Group(*parts)


def _heading(snapshot: Snapshot, now: float) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
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


def _nodes(nodes: Sequence[NodeLine]) -> Table:
    table = _table("NODE", "STATE", "KAFKA", "HTTP", "PID", ">RESTARTS", "")
    for node in nodes:
        table.add_row(
            str(node.id),
            _state(node.state),
            node.kafka,
            Text(node.http, style=FAINT),
            "-" if node.pid is None else str(node.pid),
            Text(str(node.restarts), style=WARN if node.restarts else FAINT),
            Text(node.message, style=WARN),
        )
    return table


def _topics(topics: Sequence[TopicLine], rates: dict[str, float]) -> Table:
    table = _table("TOPIC", ">PARTITIONS", ">REPLICAS", ">RECORDS", ">PER SECOND", "STATE", "")
    for topic in topics:
        rate = rates.get(topic.name, 0.0)
        table.add_row(
            topic.name,
            str(topic.partitions),
            str(topic.replicas),
            "-" if topic.records is None else f"{topic.records:,}",
            Text(f"{rate:,.0f}" if rate else "-", style="" if rate else FAINT),
            _state(topic.state),
            Text(topic.message, style=WARN),
        )
    return table


def _groups(groups: Sequence[GroupLine]) -> Table:
    table = _table("GROUP", "STATE", ">MEMBERS", ">LAG", ">ALLOWED", "")
    for group in groups:
        over = group.lag is not None and group.budget is not None and group.lag > group.budget
        table.add_row(
            group.id,
            _state(group.state),
            str(group.members),
            Text("-" if group.lag is None else f"{group.lag:,}", style=BAD if over else ""),
            Text("-" if group.budget is None else f"{group.budget:,}", style=FAINT),
            Text(group.message, style=WARN),
        )
    return table


def _table(*columns: str) -> Table:
    """An open table; a column that begins with > is right-aligned, an unnamed one takes the rest."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style=FAINT, border_style=FAINT
    )
    for name in columns:
        table.add_column(
            name.lstrip(">"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if name else 1,
        )
    return table


def _state(state: str) -> Text:
    style = STATE_STYLES.get(state, WARN)
    return Text.assemble(("● ", style), (STATE_WORDS.get(state, state), style))


def _more(count: int, what: str, command: str) -> Text:
    return Text(f"... and {count} more {what}; see: {command}\n" if count > 0 else "", style=FAINT)


def _event(event: EventLine) -> Text:
    clock = f"{datetime.fromtimestamp(event.at_ms / 1000).astimezone():%H:%M:%S}"
    return Text.assemble(
        (clock, FAINT), "  ", (event.text, WARN if event.warning else ""), overflow="ellipsis", no_wrap=True
    )


def _help(snapshot: Snapshot) -> Text:
    if snapshot.state == "stopping":
        return Text("stopping in good order; Ctrl-C again stops at once", style=WARN)
    topic = snapshot.topics[0].name if snapshot.topics else "TOPIC"
    return Text(
        f"Ctrl-C stops  ·  elsewhere: moldau produce {topic}  ·  moldau consume {topic}  ·  moldau status",
        style=FAINT,
    )


def duration(seconds: int) -> str:
    """5 s, 3 min 20 s, 4 h 10 min, 2 d 3 h."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"
