"""Reading what a client sent: JSON bodies and query parameters, nothing taken that was not asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NoReturn

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.limits import ADMIN_BODY_BYTES_MAX
from moldau_broker.server.admin_api.answers import Refused

INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1
_SHOWN_CHARS: Final = 60


def invalid(message: str) -> NoReturn:
    """The request makes no sense: 400."""
    raise Refused(ErrorCode.INVALID_REQUEST, message)


def read_json(body: bytes, content_type: str) -> object:
    """The document of a body.

    Raises:
        Refused: it is too large, of another type (which also keeps web pages from posting here), or no JSON.
    """
    if len(body) > ADMIN_BODY_BYTES_MAX:
        raise Refused(ErrorCode.MESSAGE_TOO_LARGE, f"a body has at most {ADMIN_BODY_BYTES_MAX} bytes")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refused(ErrorCode.INVALID_REQUEST, "the body must be application/json", status=415)
    try:
        return json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        invalid(f"the body is not JSON: {error}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class Fields:
    """One JSON object, field by field; `done` refuses what nobody has asked for."""

    def __init__(self, value: object, where: str = "the body") -> None:
        if not isinstance(value, dict):
            invalid(f"{where} must be an object")
        self._left: dict[str, object] = dict(value)
        self._where = where

    def take(self, name: str) -> object:
        """The field as it is, None where it is missing or null."""
        return self._left.pop(name, None)

    def need(self, name: str) -> object:
        """The field as it is."""
        value = self.take(name)
        if value is None:
            invalid(f"{self._where}: {name} is missing")
        return value

    def text(self, name: str, default: str | None = None, *, chars_max: int = 255) -> str:
        """A text; `default` where it is missing, and without one it must not be."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value or len(value) > chars_max:
            invalid(f"{self._where}: {name} must be a text of 1 to {chars_max} characters")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            invalid(f"{self._where}: {name} must be true or false")
        return value

    def number(self, name: str, low: int, high: int) -> int:
        """A whole number."""
        return whole(self.need(name), f"{self._where}: {name}", low, high)

    def texts(self, name: str, count_max: int) -> tuple[str, ...]:
        """A list of texts, each once; empty where it is missing."""
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            invalid(f"{self._where}: {name} must be a list of texts")
        if len(value) > count_max:
            invalid(f"{self._where}: {name} has at most {count_max} entries")
        if len(set(value)) != len(value):
            invalid(f"{self._where}: {name} names one twice")
        return tuple(value)

    def done(self) -> None:
        """Nothing else may be there."""
        for name in self._left:
            invalid(f"{self._where}: unknown field {name[:_SHOWN_CHARS]!r}")


def whole(value: object, where: str, low: int, high: int) -> int:
    """`value` as a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        invalid(f"{where} must be a whole number from {low} to {high}")
    return value


def number_of(text: str, where: str, low: int, high: int) -> int:
    """A whole number out of a path or a query."""
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > len(str(INT64_MAX)):
        invalid(f"{where} must be a whole number from {low} to {high}")
    return whole(int(text), where, low, high)


class Query:
    """The parameters behind the question mark; `done` refuses what nobody has asked for."""

    def __init__(self, parameters: Sequence[tuple[str, str]]) -> None:
        self._left: dict[str, list[str]] = {}
        for name, value in parameters:
            self._left.setdefault(name, []).append(value)

    def flag(self, name: str) -> bool:
        """`name=true`, `name=false` or missing."""
        values = self._left.pop(name, ["false"])
        if values not in (["true"], ["false"]):
            invalid(f"{name} must be true or false")
        return values == ["true"]

    def texts(self, name: str, count_max: int) -> tuple[str, ...] | None:
        """Every value of a parameter that may be repeated; None where it is missing."""
        values = self._left.pop(name, None)
        if values is None:
            return None
        if len(values) > count_max:
            invalid(f"{name} may be given {count_max} times")
        return tuple(dict.fromkeys(values))

    def done(self) -> None:
        """Nothing else may be there."""
        for name in self._left:
            invalid(f"unknown parameter {name[:_SHOWN_CHARS]!r}")
