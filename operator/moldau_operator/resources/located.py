"""Plain data that remembers where it was written, so that every complaint can point at it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from moldau_operator.errors import OperatorError

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a text: `source` as the user named it, `line` and `column` from 1; line 0 means unknown."""

    source: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


NOWHERE: Final = Where()

PROBLEMS_SHOWN_MAX: Final = 20
"""More than a person reads at once; the first ones usually cause the rest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a mapping: where its name stands, and its value."""

    where: Where
    value: Located


@dataclass(frozen=True, slots=True)
class Located:
    """A scalar, list or mapping and its place. `text` is a scalar as it was written ("0x10", "1.50")."""

    value: Scalar | tuple[Located, ...] | Mapping[str, Entry]
    where: Where = NOWHERE
    text: str = ""

    @property
    def kind(self) -> str:
        """What it is, in the words a YAML author uses."""
        value = self.value
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return "true or false"
        if isinstance(value, (int, float)):
            return "a number"
        if isinstance(value, str):
            return "text"
        return "a list" if isinstance(value, tuple) else "a mapping"

    def plain(self) -> Any:
        """The data without places: dict, list, scalar."""
        if isinstance(self.value, Mapping):
            return {name: entry.value.plain() for name, entry in self.value.items()}
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        return self.value


def locate(data: Any, where: Where = NOWHERE) -> Located:
    """Plain data (as from the Kubernetes API) as located data, all of it at `where`."""
    if isinstance(data, Mapping):
        return Located({str(name): Entry(where, locate(value, where)) for name, value in data.items()}, where)
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return Located(tuple(locate(item, where) for item in data), where)
    if isinstance(data, bool):
        return Located(data, where, "true" if data else "false")
    if data is None or isinstance(data, (int, float, str)):
        return Located(data, where, "" if data is None else str(data))
    raise TypeError(f"{type(data).__name__} is not data a resource can hold")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a text. `path` is the field ("spec.partitions"), empty for the text itself."""

    where: Where
    subject: str
    path: str
    message: str

    def __str__(self) -> str:
        place = str(self.where)
        about = " ".join(part for part in (self.subject, self.path) if part)
        return ": ".join(part for part in (place, about, self.message) if part)


class ResourcesInvalid(OperatorError):
    """Resources that cannot be used; one problem per line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        assert problems
        self.problems = problems
        lines = [str(problem) for problem in problems[:PROBLEMS_SHOWN_MAX]]
        if len(problems) > PROBLEMS_SHOWN_MAX:
            lines.append(f"... and {len(problems) - PROBLEMS_SHOWN_MAX} more")
        super().__init__("\n".join(lines))
