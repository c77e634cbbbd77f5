"""Status fields that the installed definitions do not know yet. Pure.

`helm upgrade` leaves definitions as they are, and server-side apply refuses an object with one field that its
definition lacks: without this, an operator newer than its definitions could write nothing at all.
"""

from __future__ import annotations

import re
from typing import Any, Final

FORGET_MS: Final = 300_000
"""Then they are tried again: somebody may have applied the new definitions."""

_FIELD: Final = re.compile(r"\.status((?:\.\w+|\[[^\]]*\])+): field not declared in schema")
_KEYS: Final = re.compile(r"\[[^\]]*\]")


class UndeclaredFields:
    """What the API server has refused, by kind."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[tuple[str, ...], int]] = {}

    def learn(self, kind: str, refusal: str, now_ms: int) -> list[str]:
        """Note the fields that an answer names; gives those that were not known before, as dotted paths."""
        known = self._paths.setdefault(kind, {})
        found = {tuple(_KEYS.sub("", path).strip(".").split(".")) for path in _FIELD.findall(refusal)}
        fresh = sorted(found - known.keys())
        known.update(dict.fromkeys(fresh, now_ms))
        return [".".join(("status", *path)) for path in fresh]

    def without(self, kind: str, status: dict[str, Any], now_ms: int) -> dict[str, Any]:
        """The status less those fields; the same object where there are none."""
        known = self._paths.get(kind)
        if not known:
            return status
        for path in [path for path, since_ms in known.items() if now_ms - since_ms >= FORGET_MS]:
            del known[path]
        for path in known:
            status = _less(status, path)
        return status


def _less(value: Any, path: tuple[str, ...]) -> Any:
    """`value` without the field at `path`, which leads through every item of a list."""
    if isinstance(value, list):
        return [_less(one, path) for one in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    rest = {name: one for name, one in value.items() if name != path[0]}
    return rest if len(path) == 1 else {**value, path[0]: _less(value[path[0]], path[1:])}
