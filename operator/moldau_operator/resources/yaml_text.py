"""YAML or JSON text to located data, with bounds on everything a text can make grow. Pure.

Built on PyYAML's parser events, not on its loaders: no tag can construct anything, every value knows its
line, and nesting, aliases and sizes are bounded while the text is read. Scalars follow YAML 1.2's core
schema, so `on`, `yes` and `1:30` stay text instead of turning into true and 90.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from moldau_operator.resources.located import Entry, Located, Problem, ResourcesInvalid, Scalar, Where

TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
"""2,000 Topics with settings are about 500 KB; what is far above that is not a set of resources."""

VALUES_MAX: Final = 200_000
"""Values a text may hold after its aliases are followed: bounds the work of a ten-line alias bomb."""

DEPTH_MAX: Final = 50
"""A resource nests about ten deep."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,38})", re.ASCII)
_BASED: Final = re.compile(r"0o[0-7]{1,40}|0x[0-9a-fA-F]{1,32}", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?", re.ASCII)
_TAGS: Final = frozenset(
    {
        None,
        "!",
        *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq", "int", "float", "bool", "null")),
    }
)
_STRING_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_documents(text: str | bytes, source: str) -> list[Located]:
    """The documents of a text, empty ones left out.

    Args:
        text: UTF-8 if bytes.
        source: how to name the text in complaints, usually its file.

    Raises:
        ResourcesInvalid: not YAML, or beyond the bounds above.
    """
    size = len(text)
    if size > TEXT_BYTES_MAX:
        raise _invalid(Where(source), f"is {size:,} bytes long; at most {TEXT_BYTES_MAX:,} are read")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise _invalid(Where(source, line, 1), "is not UTF-8 text; save the file as UTF-8") from None
    try:
        return list(_Composer(source).documents(yaml.parse(text, Loader=_Loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = text.rstrip("\n").count("\n") + 1  # libyaml may point behind the end
        where = Where(source, min(mark.line + 1, last), mark.column + 1) if mark else Where(source)
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise _invalid(where, f"is not YAML: {words}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        raise _invalid(Where(source, line, 1), f"is not YAML: {error.reason}") from None
    except yaml.YAMLError as error:
        raise _invalid(Where(source), f"is not YAML: {' '.join(str(error).split())}") from None


def _invalid(where: Where, message: str) -> ResourcesInvalid:
    return ResourcesInvalid((Problem(where, "", "", message),))


class _Composer:
    """Parser events to located data. Recursion is bounded by `DEPTH_MAX`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._values = 0
        self._anchors: dict[str, Located] = {}
        self._sizes: dict[int, int] = {}  # id of an anchored value -> values in it, itself included

    def documents(self, events: Iterator[Any]) -> Iterator[Located]:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                self._sizes = {}
                document = self._value(next(events), events, 1)
                if document.value is not None:
                    yield document

    def _where(self, event: Any) -> Where:
        mark = event.start_mark
        return Where(self._source, mark.line + 1, mark.column + 1)

    def _count(self, values: int, where: Where) -> None:
        self._values += values
        if self._values > VALUES_MAX:
            raise _invalid(where, f"holds more than {VALUES_MAX:,} values (aliases followed); split the file")

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> Located:
        where = self._where(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, where)
        if depth > DEPTH_MAX:
            raise _invalid(where, f"nests more than {DEPTH_MAX} levels deep")
        if event.tag not in _TAGS:
            raise _invalid(where, f"tag {event.tag} has no meaning here; remove it")
        before = self._values
        self._count(1, where)
        if isinstance(event, yaml.ScalarEvent):
            made = self._scalar(event, where)
        elif isinstance(event, yaml.SequenceStartEvent):
            made = Located(tuple(self._items(events, depth)), where)
        else:
            made = Located(self._fields(events, depth), where)
        if event.anchor is not None:
            self._anchors[event.anchor] = made
            self._sizes[id(made)] = self._values - before
        return made

    def _alias(self, anchor: str | None, where: Where) -> Located:
        found = self._anchors.get(anchor or "")
        if found is None:
            raise _invalid(where, f"*{anchor} refers to an anchor that is not complete before this line")
        self._count(self._sizes[id(found)], where)
        return Located(found.value, where, found.text)

    def _items(self, events: Iterator[Any], depth: int) -> Iterator[Located]:
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            yield self._value(event, events, depth + 1)

    def _fields(self, events: Iterator[Any], depth: int) -> dict[str, Entry]:
        fields: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._value(event, events, depth + 1)
            value = self._value(next(events), events, depth + 1)
            if isinstance(key.value, (tuple, dict)):
                raise _invalid(key.where, "a field's name must be text")
            name = key.text if isinstance(event, yaml.ScalarEvent) else str(key.value)
            if name == "<<" and event.implicit[0]:
                self._merge(merged, value)
                continue
            if name in fields:
                raise _invalid(
                    key.where, f"{name} was given already on line {fields[name].where.line}; keep one"
                )
            fields[name] = Entry(key.where, value)
        return {**merged, **fields} if merged else fields

    def _merge(self, into: dict[str, Entry], value: Located) -> None:
        for source in value.value if isinstance(value.value, tuple) else (value,):
            if not isinstance(source.value, dict):
                raise _invalid(source.where, "<<: takes an alias of a mapping")
            for name, entry in source.value.items():
                into.setdefault(name, entry)

    def _scalar(self, event: Any, where: Where) -> Located:
        text: str = event.value
        if not event.implicit[0] and (event.implicit[1] or event.tag in _STRING_TAGS):
            return Located(text, where, text)
        return Located(_plain_scalar(text), where, text)


def _plain_scalar(text: str) -> Scalar:
    """An unquoted scalar's value by YAML 1.2's core schema; a number too long to be one stays text."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").isdigit():
        return float(text)
    return text
