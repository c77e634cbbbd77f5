"""Which names are shown: patterns that allow, patterns that deny. Pure.

A pattern is a name in which `*` stands for any text and `?` for any character; no regular expressions, so that no
pattern can take more than its length times the name's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_REMEMBERED_MAX: Final = 100_000


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name is what the pattern says."""
    at = where = 0
    star, resume = -1, 0
    while where < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, where
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[where]):
            at += 1
            where += 1
        elif star >= 0:  # let the last star take one character more; earlier ones need never change
            resume += 1
            at, where = star + 1, resume
        else:
            return False
    return all(rest == "*" for rest in pattern[at:])


class NameFilter:
    """Admits what some pattern allows and none denies; an answer is remembered."""

    __slots__ = ("_allow", "_deny", "_known")

    def __init__(self, allow: Sequence[str], deny: Sequence[str]) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._known: dict[str, bool] = {}

    def admits(self, name: str) -> bool:
        """Whether that name is shown."""
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            known = self._known[name] = any(matches(one, name) for one in self._allow) and not any(
                matches(one, name) for one in self._deny
            )
        return known
