"""Lines that a page shares with the one before it. Pure.

Of what partitions show, most does not change between two scrapes: where they begin, who leads, how many replicas are
in sync. Rows that are shown together make a block; a metric's lines of a block are written anew only where one of its
values is another one than on the last page. What a page leaves out is forgotten with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from moldau_broker.telemetry.exposition import Column

P = TypeVar("P")
"""What says which row it is."""

ROWS_AT_ONCE: Final = 50
"""Rows of a block: few enough that one busy partition makes little anew, many enough that a block costs nothing."""

ROWS_MAX: Final = 100_000
"""Rows whose lines are kept: some 2 KB each. Those beyond are written every time."""


class Block(Generic[P]):
    """Some rows, and the lines of the metrics that show them."""

    __slots__ = ("_known", "labels", "places")

    def __init__(self, places: Sequence[P], labels: Sequence[str]) -> None:
        """`places` say which rows these are; `labels` are their labels as text, one for each."""
        self.places = places
        self.labels = labels
        self._known: dict[str, tuple[Sequence[float | None], str]] = {}

    def put(self, column: Column, values: Sequence[float | None]) -> None:
        """One value for each row; None shows nothing. `values` must not be changed afterwards."""
        known = self._known.get(column.name)
        if known is None or known[0] != values:
            known = self._known[column.name] = values, column.lines(self.labels, values)
        if known[1]:
            column.put_lines(known[1])


class Blocks(Generic[P]):
    """The blocks of one emitter."""

    __slots__ = ("_before", "_now", "_rows", "_rows_max")

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._before: dict[Hashable, Block[P]] = {}
        self._now: dict[Hashable, Block[P]] = {}
        self._rows = 0
        self._rows_max = rows_max

    def begin(self) -> None:
        """A new page: blocks that the last one did not have are forgotten."""
        self._before, self._now, self._rows = self._now, {}, 0

    def of(self, key: Hashable, places: Sequence[P], label: Callable[[P], str]) -> Block[P]:
        """The block of that name with exactly these rows; `label` makes a row's text where it is a new one."""
        block = self._before.get(key)
        if block is None or block.places != places:
            block = Block(places, [label(place) for place in places])
        self._rows += len(places)
        if self._rows <= self._rows_max:
            self._now[key] = block
        return block
