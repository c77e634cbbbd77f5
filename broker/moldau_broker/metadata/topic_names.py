"""Legal topic names, in Kafka's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from moldau_broker.base.config_types import clip
from moldau_broker.base.limits import TOPIC_NAME_CHARS_MAX

_LEGAL: Final = re.compile(r"[a-zA-Z0-9._-]+")


def name_problem(name: str) -> str | None:
    """Why `name` cannot be a topic, None if it can."""
    if not name:
        return "Topic name is invalid: the empty string is not allowed"
    if name in {".", ".."}:
        return f"Topic name is invalid: '{name}' is not allowed"
    if len(name) > TOPIC_NAME_CHARS_MAX:
        return (
            f"Topic name is invalid: the length of '{clip(name)}' is longer than the max allowed length "
            f"{TOPIC_NAME_CHARS_MAX}"
        )
    if not _LEGAL.fullmatch(name):
        return (
            f"Topic name is invalid: '{clip(name)}' contains one or more characters other than ASCII "
            "alphanumerics, '.', '_' and '-'"
        )
    return None


class TakenNames:
    """Names in use, and which name collides with one of them.

    Two names collide when they are the same once '.' is read as '_': metric names cannot tell them apart.
    Kafka looks at existing topics only; here the topics of one request are held against each other as well.
    """

    __slots__ = ("_folded", "_names")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._folded: dict[str, str] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """Take a name."""
        self._names.add(name)
        if self._folded is not None:
            self._folded[_fold(name)] = name

    def collision(self, name: str) -> str | None:
        """The other name that `name` cannot be told from, None if there is none."""
        if "." not in name and "_" not in name:
            return None
        if self._folded is None:
            self._folded = {_fold(taken): taken for taken in self._names}
        return self._folded.get(_fold(name))


def _fold(name: str) -> str:
    return name.replace(".", "_")
