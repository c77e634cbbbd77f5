"""Progress bars on stderr, for work that is long and somebody watches. rich is imported only then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from moldau_cli.output import stderr_console

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Progress = Callable[[int], None]
"""Called with how much further the work is."""


def no_progress(_advance: int) -> None:
    """Nobody watches."""


@contextlib.contextmanager
def byte_progress(what: str, total: int) -> Iterator[Progress]:
    """A bar over bytes."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _bar(what, total, DownloadColumn(binary_units=True), TransferSpeedColumn()) as advance:
        yield advance


@contextlib.contextmanager
def record_progress(what: str, total: int) -> Iterator[Progress]:
    """A bar over records."""
    from rich.progress import MofNCompleteColumn

    with _bar(what, total, MofNCompleteColumn()) as advance:
        yield advance


@contextlib.contextmanager
def _bar(what: str, total: int, *columns: ProgressColumn) -> Iterator[Progress]:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    shown = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *columns,
        TimeRemainingColumn(),
    )
    with RichProgress(*shown, console=stderr_console(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda advance: progress.advance(task, advance)
