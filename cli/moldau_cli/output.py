"""How answers look: tables for people, plain columns for pipes, JSON for programs. No cluster access here.

A command builds its answer once as plain data and once as a `Table`; `show` prints one of the two. On a
terminal the table is drawn with rich (imported only then); elsewhere columns are aligned with spaces
and never cut, so that grep and awk see whole values.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import click

if TYPE_CHECKING:
    from rich.console import Console

OutputFormat = Literal["table", "json"]

BAD: Final = "red"
WARN: Final = "yellow"
GOOD: Final = "green"
FAINT: Final = "bright_black"


GAP: Final = 3
"""Blank columns between two of a table as rich draws it."""


class Styled(NamedTuple):
    """A cell with a colour (one of the names above) on terminals that have colours."""

    text: str
    style: str


Cell = str | int | None | Styled


@dataclass(slots=True)
class Table:
    """Rows under headings. Integers are right-aligned, grouped by thousands on a terminal; None is a dash.

    Ids are text, not integers: nobody wants broker 1,001.
    """

    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    title: str | None = None

    def add(self, *cells: Cell) -> None:
        """Append one row."""
        assert len(cells) == len(self.columns)
        self.rows.append(cells)


def show(output: OutputFormat, data: Any, *tables: Table, empty: str = "nothing to show") -> None:
    """Print `data` as JSON, or the tables; when no table has a row, say so on stderr with `empty`."""
    if output == "json":
        show_json(data)
        return
    if not any(table.rows for table in tables):
        note(empty)
        return
    for position, table in enumerate(tables):
        if position:
            click.echo()
        print_table(table)


def show_json(data: Any) -> None:
    """Print one JSON document, indented, keys as given."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def show_facts(*facts: tuple[str, Cell]) -> None:
    """Print `name  value` lines, names aligned."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        text, style = _text(value)
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {click.style(text, fg=style or None)}")


def note(text: str) -> None:
    """A line for people on stderr, so that stdout stays data."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """A line on stderr that deserves a look."""
    click.echo(click.style("warning: ", fg=WARN) + text, err=True)


def stderr_console() -> Console:
    """A rich console on stderr, for progress."""
    from rich.console import Console

    return Console(stderr=True)


def human_bytes(size: int) -> str:
    """A size with a binary unit and at most one decimal: 512 B, 1.5 KiB, 20 GiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the loop returns at its last unit")


def duration(seconds: int) -> str:
    """5 s, 3 min 20 s, 4 h 10 min, 2 d 3 h."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def human_seconds(seconds: float | None) -> str | None:
    """A span that may be short: 0.4 s, then as `duration`; None, which is not known, stays None."""
    if seconds is None:
        return None
    return f"{seconds:.1f} s" if seconds < 10 else duration(int(seconds))


def human_span(seconds: int) -> str:
    """5 s, 4 min, 4 h 10 min, 2 d 3 h: as exact as one wants to know how long something has been going on."""
    return f"{seconds // 60} min" if 60 <= seconds < 3600 else duration(seconds)


def time_of_day(timestamp_ms: int, now_ms: int) -> str:
    """10:31:07 UTC; with its date where that is another one than today's."""
    moment, now = (datetime.fromtimestamp(at / 1000, UTC) for at in (timestamp_ms, now_ms))
    day = "" if moment.date() == now.date() else f"{moment:%Y-%m-%d} "
    return f"{day}{moment:%H:%M:%S} UTC"


def human_time(timestamp_ms: int) -> str:
    """UTC in ISO 8601 with milliseconds; a dash for the -1 that stands for "no time"."""
    if timestamp_ms < 0:
        return "-"
    try:
        moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp_ms)  # a record may claim any int64
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plural(count: int, noun: str) -> str:
    """1 record, 2 records, 1,000 records."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _text(cell: Cell, *, grouped: bool = True) -> tuple[str, str]:
    if isinstance(cell, Styled):
        return cell.text, cell.style
    if cell is None:
        return "-", ""
    if isinstance(cell, int):
        return (f"{cell:,}" if grouped else str(cell)), ""
    return cell, ""


def _right_aligned(table: Table) -> list[bool]:
    return [
        any(isinstance(row[i], int) for row in table.rows)
        and all(isinstance(row[i], int) or row[i] is None for row in table.rows)
        for i in range(len(table.columns))
    ]


def print_table(table: Table) -> None:
    """Draw one table, or align its columns where there is no terminal."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _print_rich(table)
    else:
        _print_plain(table)


def _print_plain(table: Table) -> None:
    right = _right_aligned(table)
    rows = [[_text(cell, grouped=False)[0] for cell in row] for row in table.rows]
    lines = [list(table.columns), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    if table.title:
        click.echo(table.title)
    for line in lines:
        cells = (
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def _print_rich(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    texts = [[_text(cell)[0] for cell in row] for row in ([*table.columns], *table.rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(table.columns))]
    # Only the last column, which holds words, is broken: half a number helps nobody.
    widths[-1] = max(len(word) for line in texts for word in line[-1].split() or [""])
    right = _right_aligned(table)
    for name, width, is_right in zip(table.columns, widths, right, strict=True):
        drawn.add_column(name, justify="right" if is_right else "left", min_width=width, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(text, style=style) for text, style in map(_text, row)))
    console = Console()
    console.width = max(console.width, sum(widths) + GAP * (len(widths) - 1))  # the terminal wraps the rest
    console.print(drawn)
