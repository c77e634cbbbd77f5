"""Reading a mapping field by field, collecting every problem with its place. Pure.

A reader asks for each field it knows, then calls `done()`, which refuses what nobody asked for. Getters
record a problem and return the default, so that one pass reports everything wrong with a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from moldau_operator.names import did_you_mean
from moldau_operator.resources.located import Entry, Located, Problem, Where
from moldau_operator.resources.quantity import Quantity, parse_quantity

E = TypeVar("E", bound=StrEnum)

CONFIG_ENTRIES_MAX: Final = 512
"""Kafka knows 340 broker settings."""

CONFIG_VALUE_CHARS_MAX: Final = 4096
"""The longest sensible value is a list of a few hundred names; objects must fit etcd (1.5 MiB)."""


class Fields:
    """One mapping being read.

    Args:
        node: what stands there; anything but a mapping is a problem and reads as empty.
        subject: the resource in words ("Topic orders").
        path: of this mapping within the resource ("spec").
        problems: where complaints go; shared by all readers of one text.
    """

    def __init__(self, node: Located, subject: str, path: str, problems: list[Problem]) -> None:
        self.where = node.where
        self.subject = subject
        self.path = path
        self._problems = problems
        self._asked: set[str] = set()
        self._entries: Mapping[str, Entry] = {}
        if isinstance(node.value, Mapping):
            self._entries = node.value
        elif node.value is not None:
            self.complain(node.where, "", f"must be a mapping, not {node.kind}")

    def complain(self, where: Where, name: str, message: str) -> None:
        """Record a problem of field `name` (or of the mapping itself, when empty)."""
        self._problems.append(Problem(where, self.subject, self._at(name), message))

    def wrong(self, name: str, message: str) -> None:
        """Record a problem of field `name`, at its place if it is given, else at the mapping's."""
        entry = self._entries.get(name)
        self.complain(entry.where if entry else self.where, name, message)

    def has(self, name: str) -> bool:
        """Whether the field is given with a value."""
        entry = self._entries.get(name)
        return entry is not None and entry.value.value is not None

    def node(self, name: str) -> Located | None:
        """The field as it stands; None when it is absent or null."""
        self._asked.add(name)
        entry = self._entries.get(name)
        return entry.value if entry is not None and entry.value.value is not None else None

    def required(self, name: str, what: str) -> Located | None:
        """The field as it stands; its absence is a problem that says `what` belongs there."""
        node = self.node(name)
        if node is None:
            self.wrong(name, f"is missing; give {what}")
        return node

    def text(self, name: str, problem: Callable[[str], str | None] | None = None) -> str | None:
        """A string. `problem` says what is wrong with it, as the words after its value."""
        node = self.node(name)
        return self._text(name, node, problem) if node is not None else None

    def required_text(self, name: str, what: str, problem: Callable[[str], str | None] | None = None) -> str:
        """A string that must be there; "" after a complaint."""
        node = self.required(name, what)
        return (self._text(name, node, problem) or "") if node is not None else ""

    def _text(self, name: str, node: Located, problem: Callable[[str], str | None] | None) -> str | None:
        if not isinstance(node.value, str):
            hint = f'; put it in quotes: {name}: "{node.text}"' if node.text else ""
            self.complain(node.where, name, f"must be text, not {node.kind}{hint}")
            return None
        words = problem(node.value) if problem else None
        if words:
            self.complain(node.where, name, f"{node.value[:60]!r} {words}")
            return None
        return node.value

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number within `low`..`high`."""
        node = self.node(name)
        return self.whole_node(name, node, low, high) if node is not None else None

    def whole_node(self, name: str, node: Located, low: int, high: int) -> int | None:
        """Like `whole`, for a value that is at hand."""
        value = node.value
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)  # JSON has one kind of number: 1e3 is whole
        if isinstance(value, bool) or not isinstance(value, int):
            shown = f" {node.text[:40]!r}" if isinstance(node.value, str) else ""
            self.complain(node.where, name, f"must be a whole number, not {node.kind}{shown}")
            return None
        if not low <= value <= high:
            bound = f"at least {low:,}" if value < low else f"at most {high:,}"
            self.complain(node.where, name, f"is {node.text[:40]}; it must be {bound}")
            return None
        return value

    def flag(self, name: str) -> bool:
        """True or false; absent is false."""
        node = self.node(name)
        if node is None:
            return False
        if not isinstance(node.value, bool):
            self.complain(node.where, name, f"must be true or false, not {node.text[:40] or node.kind}")
            return False
        return node.value

    def choice(self, name: str, default: E) -> E:
        """One of the members of `default`'s enum, by value."""
        node = self.node(name)
        if node is None:
            return default
        allowed = [member.value for member in type(default)]
        if not isinstance(node.value, str) or node.value not in allowed:
            given = node.text[:40] or node.kind
            hint = did_you_mean(given, allowed)
            self.complain(node.where, name, f"is {given}; it must be one of {', '.join(allowed)}{hint}")
            return default
        return type(default)(node.value)

    def quantity(self, name: str) -> Quantity | None:
        """A Kubernetes quantity above zero."""
        node = self.node(name)
        if node is None:
            return None
        if isinstance(node.value, bool) or not isinstance(node.value, (str, int, float)):
            self.complain(node.where, name, f"must be a quantity such as 1Gi, not {node.kind}")
            return None
        found = parse_quantity(node.text)
        if isinstance(found, str):
            self.complain(node.where, name, found)
            return None
        return found

    def fields(self, name: str) -> Fields | None:
        """A nested mapping, or None when it is absent."""
        node = self.node(name)
        return Fields(node, self.subject, self._at(name), self._problems) if node is not None else None

    def items(self, name: str) -> list[Located]:
        """A list's items; empty when absent."""
        node = self.node(name)
        if node is None:
            return []
        if not isinstance(node.value, tuple):
            self.complain(node.where, name, f"must be a list, not {node.kind}")
            return []
        return list(node.value)

    def list_of_fields(self, name: str) -> list[Fields]:
        """A list of mappings."""
        return [
            Fields(item, self.subject, f"{self._at(name)}[{position}]", self._problems)
            for position, item in enumerate(self.items(name))
        ]

    def settings(self, name: str, problem: Callable[[str, str], str | None]) -> dict[str, str]:
        """Kafka settings: name to text, given as text, numbers or booleans.

        `problem(setting, text)` says what is wrong with one, in whole words.
        """
        node = self.node(name)
        if node is None:
            return {}
        if not isinstance(node.value, Mapping):
            self.complain(node.where, name, f"must be a mapping of settings, not {node.kind}")
            return {}
        if len(node.value) > CONFIG_ENTRIES_MAX:
            self.complain(
                node.where, name, f"has {len(node.value):,} entries; at most {CONFIG_ENTRIES_MAX} are allowed"
            )
            return {}
        settings: dict[str, str] = {}
        for setting, entry in node.value.items():
            text = _setting_text(entry.value)
            if text is None:
                words = f"{setting[:60]} must be text, a number or true/false, not {entry.value.kind}"
            elif len(text) > CONFIG_VALUE_CHARS_MAX:
                words = f"{setting[:60]} is longer than {CONFIG_VALUE_CHARS_MAX:,} characters"
            else:
                words = problem(setting, text) or ""
            if words:
                self.complain(entry.where, name, words)
            elif text is not None:
                settings[setting] = text
        return settings

    def strings(self, name: str) -> dict[str, str]:
        """A mapping of text to text (labels, annotations)."""
        return self.settings(name, lambda _name, _text: None)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Every field, all of them asked for: for mappings whose names are data."""
        self._asked.update(self._entries)
        yield from self._entries.items()

    def ignore(self, *names: str) -> None:
        """Accept these fields without reading them."""
        self._asked.update(names)

    def done(self) -> None:
        """Refuse every field nobody asked for, naming the nearest one that is known."""
        for name, entry in self._entries.items():
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                hint = did_you_mean(name, self._asked) or f"; known here: {known}"
                self.complain(entry.where, "", f"{name[:60]} is not a known field{hint}")

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path and name else self.path or name


def _setting_text(node: Located) -> str | None:
    """A setting's value as Kafka's text form: as written, except that 1000.0 off the API is 1000."""
    value = node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    return node.text if isinstance(value, (float, str)) else None
