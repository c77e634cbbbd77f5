"""Outcomes per thing asked about: a value, or the error as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from moldau_broker.client.errors import ClientError, RequestFailed, code_of

K = TypeVar("K")
V = TypeVar("V")


def outcome(raw: int, what: str, detail: str | None = None) -> RequestFailed | None:
    """None for success, else the error a code off the wire stands for."""
    return None if raw == 0 else RequestFailed(code_of(raw), what, detail or None)


def settle(outcomes: Mapping[K, V | ClientError]) -> dict[K, V]:
    """The values, if there is no error among them; else the first error is raised."""
    values: dict[K, V] = {}
    for key, value in outcomes.items():
        if isinstance(value, ClientError):
            raise value
        values[key] = value
    return values
