"""What live views share: open tables that always fit their terminal. Nothing here asks a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from moldau_cli.output import FAINT

_GAP: Final = 3
_NAME_MIN, _MESSAGE_MIN = 12, 8


def open_table(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> RenderableType:
    """An open table that always fits: the message (last) gives way first, then the name (first).

    A column that begins with > is right-aligned.
    """
    names = [name.lstrip(">") for name in columns]
    widths = [
        max([len(name), *(row[position].cell_len for row in rows)]) for position, name in enumerate(names)
    ]
    for position, least in ((-1, _MESSAGE_MIN), (0, _NAME_MIN)):
        excess = sum(widths) + _GAP * (len(widths) - 1) - width
        widths[position] = max(widths[position] - max(excess, 0), min(least, widths[position]))
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style=FAINT, border_style=FAINT
    )
    for name, column, size in zip(names, columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", width=max(size, 1))
    for row in rows:
        table.add_row(*row)
    return table
