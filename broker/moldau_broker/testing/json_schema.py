"""As much of JSON Schema (2020-12) as our own schemas use; a keyword it does not know is an error, not a yes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_NOTES: Final = frozenset({"description", "default"})


class SchemaMismatch(AssertionError):
    """A value is not what its schema says; the text says where."""


def check(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], at: str = "$") -> None:
    """Compare `value` with `schema`, whose references are into `document`.

    Raises:
        SchemaMismatch: it is something else.
    """
    for keyword, wanted in schema.items():
        if keyword not in _NOTES:
            _CHECKS[keyword](value, wanted, schema, document, at)


def _want(holds: object, at: str, text: str) -> None:
    if not holds:
        raise SchemaMismatch(f"{at}: {text}")


def resolve(reference: str, document: Mapping[str, Any]) -> Any:
    """What a local reference such as `#/components/schemas/Group` points to."""
    found: Any = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def _reference(value: Any, wanted: str, _: Any, document: Mapping[str, Any], at: str) -> None:
    check(value, resolve(wanted, document), document, at)


def _type(value: Any, wanted: str, _: Any, __: Any, at: str) -> None:
    _want(_TYPES[wanted](value), at, f"{value!r} is no {wanted}")


def _enum(value: Any, wanted: list[Any], _: Any, __: Any, at: str) -> None:
    _want(value in wanted, at, f"{value!r} is none of {wanted}")


def _one_of(value: Any, wanted: list[Any], _: Any, document: Mapping[str, Any], at: str) -> None:
    fitting = 0
    for schema in wanted:
        try:
            check(value, schema, document, at)
            fitting += 1
        except SchemaMismatch:
            pass
    _want(fitting == 1, at, f"{fitting} of {len(wanted)} schemas fit")


def _required(value: Any, wanted: list[str], _: Any, __: Any, at: str) -> None:
    if isinstance(value, dict):
        missing = [name for name in wanted if name not in value]
        _want(not missing, at, f"{missing} missing")


def _properties(value: Any, wanted: Mapping[str, Any], _: Any, document: Mapping[str, Any], at: str) -> None:
    if isinstance(value, dict):
        for name, schema in wanted.items():
            if name in value:
                check(value[name], schema, document, f"{at}.{name}")


def _additional(value: Any, wanted: Any, schema: Any, document: Mapping[str, Any], at: str) -> None:
    if isinstance(value, dict):
        for name in value.keys() - schema.get("properties", {}).keys():
            _want(wanted is not False, at, f"{name!r} is not in the schema")
            check(value[name], wanted, document, f"{at}.{name}")


def _items(value: Any, wanted: Mapping[str, Any], _: Any, document: Mapping[str, Any], at: str) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            check(item, wanted, document, f"{at}[{index}]")


def _unique(value: Any, wanted: bool, _: Any, __: Any, at: str) -> None:
    if wanted and isinstance(value, list):
        _want(len({repr(item) for item in value}) == len(value), at, "an item is there twice")


def _bound(
    kind: type | tuple[type, ...], holds: Callable[[Any, Any], bool], text: str
) -> Callable[..., None]:
    def compare(value: Any, wanted: Any, _: Any, __: Any, at: str) -> None:
        if isinstance(value, kind) and not isinstance(value, bool):
            _want(holds(value, wanted), at, f"{value!r} is not {text} {wanted}")

    return compare


_CHECKS: Final[Mapping[str, Callable[..., None]]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _enum,
    "oneOf": _one_of,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "uniqueItems": _unique,
    "minimum": _bound((int, float), lambda value, least: value >= least, "at least"),
    "maximum": _bound((int, float), lambda value, most: value <= most, "at most"),
    "minLength": _bound(str, lambda value, least: len(value) >= least, "at least as long as"),
    "maxLength": _bound(str, lambda value, most: len(value) <= most, "at most as long as"),
    "minProperties": _bound(dict, lambda value, least: len(value) >= least, "at least as large as"),
    "maxItems": _bound(list, lambda value, most: len(value) <= most, "at most as long as"),
    "pattern": _bound(str, lambda value, pattern: re.search(pattern, value) is not None, "like"),
}
