"""One setting as data: its name, type, bounds, default and documentation line. Pure.

Values travel as text, as Kafka's admin protocol and `server.properties` carry them; `Setting.parse` is
the one place where text becomes a value. Text forms follow Kafka's ConfigDef: surrounding blanks are
dropped, booleans are true/false in any case, lists are comma-separated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeAlias

Value: TypeAlias = bool | int | float | str | tuple[str, ...] | None
Check: TypeAlias = Callable[[Value], str | None]
"""Gives the words that say what the value must be, or None when it is fine."""


class SettingType(IntEnum):
    """The type codes of DescribeConfigs (`ConfigType` in the protocol)."""

    UNKNOWN = 0
    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1
_INTEGER_RANGES: Final = {
    SettingType.SHORT: (-(2**15), 2**15 - 1),
    SettingType.INT: (-(2**31), INT_MAX),
    SettingType.LONG: (-(2**63), LONG_MAX),
}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)

_REPLICA: Final = re.compile(r"[0-9]{1,10}:[0-9]{1,10}", re.ASCII)


class SettingError(ValueError):
    """A value that its setting does not allow; the text names the setting, the value and the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a resource.

    `default` is the text DescribeConfigs shows (None: no default). `synonyms` are the broker settings
    that supply a topic setting's default, first match wins. A setting with `acted_on` false is known
    and listed, and every attempt to change it is refused. `dynamic` broker settings can be changed while
    the broker runs; topic and group settings always can.
    """

    name: str
    type: SettingType
    default: str | None
    doc: str
    check: Check | None = None
    synonyms: tuple[str, ...] = ()
    acted_on: bool = True
    dynamic: bool = False

    @property
    def sensitive(self) -> bool:
        """Whether the value is a secret that no answer and no log line may show."""
        return self.type is SettingType.PASSWORD

    def parse(self, text: str | None) -> Value:
        """The value that `text` stands for.

        Raises:
            SettingError: wrong type or out of bounds.
        """
        if text is None:
            return None
        value = self._convert(text.strip())
        problem = self.check(value) if self.check else None
        if problem:
            raise self._error(text, problem)
        return value

    def normalize(self, text: str | None) -> str | None:
        """`text` as it is listed: blanks dropped, numbers and booleans in their plain form.

        Raises:
            SettingError: wrong type or out of bounds.
        """
        value = self.parse(text)
        match value:
            case bool():
                return "true" if value else "false"
            case tuple():
                return ",".join(value)
            case None:
                return None
            case _:
                return str(value)

    def _convert(self, text: str) -> Value:
        match self.type:
            case SettingType.BOOLEAN:
                lowered = text.lower()
                if lowered not in {"true", "false"}:
                    raise self._error(text, "must be true or false")
                return lowered == "true"
            case SettingType.SHORT | SettingType.INT | SettingType.LONG:
                if not _INTEGER.fullmatch(text):
                    raise self._error(text, "must be a whole number")
                number = int(text)
                low, high = _INTEGER_RANGES[self.type]
                if not low <= number <= high:
                    raise self._error(text, f"does not fit a {self.type.name.lower()}")
                return number
            case SettingType.DOUBLE:
                if not _FLOAT.fullmatch(text) or math.isinf(float(text)):
                    raise self._error(text, "must be a number")
                return float(text)
            case SettingType.LIST:
                items = split_list(text)
                if not all(items):
                    raise self._error(text, "must not have empty items")
                return items
            case _:
                return text

    def _error(self, text: str, problem: str) -> SettingError:
        return SettingError(f"{self.name}={clip(text)}: {problem}")


def setting_field(
    name: str,
    kind: SettingType,
    default: str | None,
    doc: str,
    check: Check | None = None,
    *,
    dynamic: bool = False,
) -> Any:
    """A field of a settings group: its default is the setting's, its metadata the setting."""
    setting = Setting(name=name, type=kind, default=default, doc=doc, check=check, dynamic=dynamic)
    return field(default=setting.parse(default), metadata={"setting": setting})


def clip(text: str, length: int = 120) -> str:
    """`text` short enough for an error line: clients choose values, and an error must not echo megabytes."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


def split_list(text: str) -> tuple[str, ...]:
    """The items of a comma-separated list, blanks around them dropped; empty text is the empty list."""
    text = text.strip()
    return tuple(item.strip() for item in text.split(",")) if text else ()


def at_least(low: float) -> Check:
    """A check: the number is `low` or more."""

    def check(value: Value) -> str | None:
        assert isinstance(value, (int, float))
        return None if value >= low else f"must be at least {low}"

    return check


def between(low: float, high: float) -> Check:
    """A check: the number lies in `low`..`high`, both included."""

    def check(value: Value) -> str | None:
        assert isinstance(value, (int, float))
        return None if low <= value <= high else f"must be between {low} and {high}"

    return check


def one_of(*allowed: str) -> Check:
    """A check: the string is one of `allowed`."""

    def check(value: Value) -> str | None:
        return None if value in allowed else f"must be one of {', '.join(allowed)}"

    return check


def any_of(*allowed: str) -> Check:
    """A check: every item of the list is one of `allowed`."""

    def check(value: Value) -> str | None:
        assert isinstance(value, tuple)
        if any(item not in allowed for item in value):
            return f"every item must be one of {', '.join(allowed)}"
        return None

    return check


def throttled_replicas() -> Check:
    """A check: every item is a partition and a broker, as 0:101, or the only one is * (KIP-73)."""

    def check(value: Value) -> str | None:
        assert isinstance(value, tuple)
        if value == ("*",) or all(_REPLICA.fullmatch(item) for item in value):
            return None
        return "must be * or a list of [partition]:[broker]"

    return check


def either(constant: int, check: Check) -> Check:
    """A check: the number is `constant`, or passes `check`."""

    def checked(value: Value) -> str | None:
        problem = check(value) if value != constant else None
        return f"{problem}, or {constant}" if problem else None

    return checked
