"""What a shard has to say of its groups, for the log: a stable event name, and fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Notice:
    """One event.

    Attributes:
        event: its name, such as `group.rebalance`; holds no values.
        fields: what it is about: `group`, `generation`, `member`, `client_id`, `reason` and the like. Clients chose
            some of them, so they are untrusted text.
    """

    event: str
    fields: Mapping[str, str | int]

    def __str__(self) -> str:
        return " ".join((self.event, *(f"{name}={value}" for name, value in self.fields.items())))


Notify: TypeAlias = "Callable[[Notice], None]"


def ignore(_: Notice) -> None:
    """Nobody listens."""
