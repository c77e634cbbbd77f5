"""How `moldau top` looks: on a terminal, and as plain tables. Draws reports, asks nobody."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from moldau_cli.output import (
    BAD,
    FAINT,
    GOOD,
    WARN,
    Cell,
    Styled,
    Table,
    human_bytes,
    human_seconds,
    plural,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from moldau_cli.top_report import BrokerLine, GroupLine, PartitionLine, TopReport

_STYLES: Final = {
    "serving": GOOD,
    "Stable": GOOD,
    "Empty": FAINT,
    "Dead": FAINT,
    "down": BAD,
    "silent": BAD,
}
"""Every other state is on its way to something, and a warning."""

_FIXED_LINES: Final = 13
"""Two of the heading, four blank, two for each of three tables' headings, and the help."""

BROKERS: Final = ("BROKER", "STATE", ">LEADS", ">REPLICAS", ">IN/S", ">OUT/S", ">CPU", ">MEMORY")
PARTITIONS: Final = ("PARTITION", ">LEADER", ">IN/S", ">OUT/S", ">REQUESTS/S", ">SIZE")
GROUPS: Final = ("GROUP", "STATE", ">MEMBERS", ">LAG", ">BEHIND", "")


def say_health(report: TopReport) -> Styled:
    """All partitions in a line."""
    troubles = [
        f"{count:,} {words}"
        for count, words in (
            (report.offline, "without a leader"),
            (report.under_min_isr, "under min.insync.replicas"),
            (report.under_replicated, "under-replicated"),
        )
        if count
    ]
    if troubles:
        return Styled(f"partitions: {', '.join(troubles)}", BAD if report.offline else WARN)
    return Styled("all partitions have all their replicas in sync", GOOD)


def say_controller(report: TopReport) -> Styled:
    """Who leads the metadata quorum."""
    if report.controller is None:
        return Styled("no active controller", BAD)
    return Styled(f"controller {report.controller}, epoch {report.controller_epoch}", FAINT)


def plain_tables(report: TopReport, rows: int) -> list[Table]:
    """For pipes: whole values, `rows` partitions and groups at most (all brokers)."""
    return [
        _plain(BROKERS, [_broker_cells(line) for line in report.brokers]),
        _plain(PARTITIONS, [_partition_cells(line) for line in report.busy_partitions[:rows]]),
        _plain(GROUPS, [_group_cells(line) for line in report.groups[:rows]]),
    ]


def _plain(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    names = [name.lstrip(">") for name in columns]
    if not names[-1]:
        names[-1] = "NOTE"
    return Table(names, list(rows))


def draw(
    report: TopReport, width: int, height: int, now: float, interval_s: float, problem: str = ""
) -> RenderableType:
    """The whole view in `width` columns and `height` lines. `now` is wall time in seconds."""
    from rich.console import Group
    from rich.text import Text

    from moldau_cli.drawing import open_table

    left = max(height - _FIXED_LINES - len(report.brokers) - len(report.problems) - bool(problem), 4)
    busy = report.busy_partitions
    groups = report.groups[: max(left // 3, left - len(busy), 2)]
    partitions = busy[: max(left - len(groups), 2)]
    parts: list[RenderableType] = [_heading(report, now), _line(say_health(report)), Text()]
    parts += [open_table(BROKERS, [_texts(BROKERS, _broker_cells(line)) for line in report.brokers], width)]
    parts += [
        Text(),
        open_table(PARTITIONS, [_texts(PARTITIONS, _partition_cells(line)) for line in partitions], width),
    ]
    parts += [_more(len(busy) - len(partitions), "partition", len(report.partitions) - len(busy))]
    parts += [open_table(GROUPS, [_texts(GROUPS, _group_cells(line)) for line in groups], width)]
    parts += [_more(len(report.groups) - len(groups), "group")]
    parts += [_line(Styled(f"! {words}", BAD)) for words in (*report.problems, problem) if words]
    parts += [
        _line(
            Styled(
                f"q quits  ·  every {interval_s:g} s  ·  partitions: averages of a minute, hottest first",
                FAINT,
            )
        )
    ]
    return Group(*parts)


def _heading(report: TopReport, now: float) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    controller = say_controller(report)
    serving = sum(line.state == "serving" for line in report.brokers)
    all_serve = serving == len(report.brokers)
    grid = Grid.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_column(no_wrap=True, overflow="ellipsis", justify="right")
    title = Text.assemble(
        ("moldau top ", "bold"),
        (report.cluster_id, "bold cyan"),
        "  ",
        (f"{serving} of {plural(len(report.brokers), 'broker')} serving", GOOD if all_serve else BAD),
        "  ",
        (controller.text, controller.style),
    )
    grid.add_row(title, Text(f"{datetime.fromtimestamp(now).astimezone():%H:%M:%S}", style=FAINT))
    return grid


def _broker_cells(line: BrokerLine) -> list[Cell]:
    cpu = line.cpu_percent
    return [
        str(line.broker),
        Styled(line.state, _STYLES.get(line.state, WARN)),
        line.leaders,
        line.replicas,
        _bytes(line.bytes_in),
        _bytes(line.bytes_out),
        None if cpu is None else Styled(f"{cpu:.0f} %", WARN if cpu >= 90 else ""),
        None if line.memory_bytes is None else human_bytes(line.memory_bytes),
    ]


def _partition_cells(line: PartitionLine) -> list[Cell]:
    return [
        f"{line.topic}-{line.partition}",
        str(line.leader),
        _bytes(line.bytes_in),
        _bytes(line.bytes_out),
        f"{line.requests:,.1f}" if line.requests >= 0.05 else None,
        human_bytes(line.size_bytes),
    ]


def _group_cells(line: GroupLine) -> list[Cell]:
    behind = line.lag_seconds or 0
    style = BAD if behind >= 300 else WARN if behind >= 30 else ""
    note = f"lag of {plural(line.unknown, 'partition')} is not known" if line.unknown else ""
    return [
        line.group,
        Styled(line.state, _STYLES.get(line.state, WARN)),
        line.members,
        None if line.lag_records is None else line.lag_records,
        None if line.lag_seconds is None else Styled(human_seconds(line.lag_seconds) or "", style),
        Styled(note, WARN),
    ]


def _bytes(rate: float | None) -> Cell:
    if rate is None:
        return None
    return human_bytes(round(rate)) if rate >= 0.5 else Styled("0 B", FAINT)


def _texts(columns: Sequence[str], cells: Sequence[Cell]) -> list[Text]:
    from rich.text import Text

    found = []
    for name, cell in zip(columns, cells, strict=True):
        if isinstance(cell, Styled):
            dot = "● " if name == "STATE" else ""
            found.append(Text(dot + cell.text, style=cell.style))
        elif cell is None:
            found.append(Text("-", style=FAINT))
        else:
            found.append(Text(f"{cell:,}" if isinstance(cell, int) else cell))
    return found


def _line(words: Styled) -> Text:
    from rich.text import Text

    return Text(words.text, style=words.style, overflow="ellipsis", no_wrap=True)


def _more(count: int, what: str, idle: int = 0) -> Text:
    """The blank line below a table; it says how many rows did not fit, and how many have nothing to show."""
    words = [f"... and {plural(count, f'more {what}')}"] if count > 0 else []
    words += [f"{plural(idle, what)} without traffic in the last minutes"] if idle > 0 else []
    return _line(Styled("; ".join(words), FAINT))
