"""What is worth telling a person: actions taken, and conditions that changed. Pure.

Only changes make events; a reconciler that finds everything as declared is silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moldau_operator.resources.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    find,
    is_true,
)
from moldau_operator.resources.meta import Key

_TOLD_WHEN_TRUE = (ConditionType.STALLED, ConditionType.DRIFTED, ConditionType.WARNING)
_TOLD_WHEN_FALSE = (
    ConditionType.LAG_WITHIN_BUDGET,
    ConditionType.MEMBERS_PRESENT,
    ConditionType.OFFSETS_RESET,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line for people.

    Attributes:
        warning: somebody should look.
        is_action: something was done; the message names what it was done to.
    """

    subject: Key
    message: str
    warning: bool = False
    is_action: bool = False

    def __str__(self) -> str:
        return self.message if self.is_action else f"{self.subject}: {self.message}"


def transitions(key: Key, old: Iterable[Condition], new: Iterable[Condition]) -> list[Event]:
    """The events that a change of conditions is worth."""
    old, new = tuple(old), tuple(new)
    events = []
    for condition in new:
        before = find(old, condition.type)
        if before is not None and (before.status, before.message) == (condition.status, condition.message):
            continue
        bad = _is_bad(condition)
        if bad and not (before is not None and _is_bad(before) and before.reason is condition.reason):
            events.append(Event(subject=key, message=condition.message or condition.reason, warning=True))
        elif before is not None and _is_bad(before) and not bad and condition.type not in _TOLD_WHEN_TRUE:
            words = condition.message or f"{condition.type} again"
            events.append(Event(subject=key, message=words))
        elif (
            condition.type is ConditionType.OFFSETS_RESET
            and condition.status is ConditionStatus.TRUE
            and before
        ):
            events.append(Event(subject=key, message=condition.message))
    if is_true(new, ConditionType.READY) and _was_in_trouble(old):
        found = find(new, ConditionType.READY)
        detail = f": {found.message}" if found is not None and found.message else ""
        events.append(Event(subject=key, message=f"is as declared{detail}"))
    return _once(events)


def _was_in_trouble(old: tuple[Condition, ...]) -> bool:
    """Whether it was not ready for another reason than that we were just doing what was declared."""
    found = find(old, ConditionType.READY)
    return (
        found is not None and found.status is not ConditionStatus.TRUE and found.reason is not Reason.APPLYING
    )


def _is_bad(condition: Condition) -> bool:
    if condition.type in _TOLD_WHEN_TRUE:
        return condition.status is ConditionStatus.TRUE
    return condition.type in _TOLD_WHEN_FALSE and condition.status is ConditionStatus.FALSE


def _once(events: list[Event]) -> list[Event]:
    """Two conditions may carry the same words (Stalled and Drifted); people need them once."""
    seen: set[str] = set()
    return [event for event in events if not (event.message in seen or seen.add(event.message))]  # type: ignore[func-returns-value]
