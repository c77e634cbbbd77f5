"""Java's properties syntax: `server.properties`, and the small files beside Kafka's logs. Pure.

Source: the class documentation of `java.util.Properties.load`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_BLANKS: Final = " \t\f"
_KEY_END: Final = re.compile(r"((?:[^\\:= \t\f]|\\.)*)[ \t\f]*[:=]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LETTERS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class PropertiesSyntaxError(ValueError):
    """A `\\u` escape that is not four hexadecimal digits; the text names the line."""


def parse_properties(text: str) -> dict[str, str]:
    """The keys and values of `text`; of a key that comes twice, the last value (as in Java).

    Raises:
        PropertiesSyntaxError: a broken unicode escape.
    """
    return {key: value for key, value, _ in parse_lines(text)}


def parse_lines(text: str) -> list[tuple[str, str, int]]:
    """Key, value and line number of every entry, in the order they stand there.

    Raises:
        PropertiesSyntaxError: a broken unicode escape.
    """
    entries = []
    for number, line in _logical_lines(text):
        match = _KEY_END.fullmatch(line)
        assert match is not None, "the pattern matches every line"
        key, value = (_unescape(part, number) for part in match.groups())
        entries.append((key, value, number))
    return entries


def format_properties(values: Mapping[str, str]) -> str:
    """`values` as lines `key=value`, escaped so that `parse_properties` gives them back."""
    return "".join(f"{_escape(key, key=True)}={_escape(value, key=False)}\n" for key, value in values.items())


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines with their continuations joined; no blank lines and no comments. Numbers count from 1."""
    logical = []
    lines = re.split(r"\r\n|\n|\r", text)
    index = 0
    while index < len(lines):
        number, line = index + 1, lines[index].lstrip(_BLANKS)
        index += 1
        if not line or line[0] in "#!":
            continue
        while _continues(line):
            rest = lines[index].lstrip(_BLANKS) if index < len(lines) else ""
            line = line[:-1] + rest
            index += 1
        logical.append((number, line))
    return logical


def _continues(line: str) -> bool:
    """Whether the line ends in an odd number of backslashes."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str, line: int) -> str:
    if "\\" not in text:
        return text

    def letter(match: re.Match[str]) -> str:
        escaped = match[1]
        if escaped[0] != "u":
            return _LETTERS.get(escaped, escaped)
        if len(escaped) != 5:
            raise PropertiesSyntaxError(f"line {line}: \\u must be followed by four hexadecimal digits")
        return chr(int(escaped[1:], 16))

    return _ESCAPE.sub(letter, text)


def _escape(text: str, *, key: bool) -> str:
    special = " :=#!\\" if key else "\\"
    escaped = []
    for index, character in enumerate(text):
        if character in special or (character == " " and index == 0):
            escaped.append("\\" + character)
        elif character in "\t\n\r\f":
            escaped.append({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}[character])
        else:
            escaped.append(character)
    return "".join(escaped)
