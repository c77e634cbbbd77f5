"""What one look at the world came to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from moldau_operator.reconcile.events import Event, transitions
from moldau_operator.resources import conditions
from moldau_operator.resources.meta import Key
from moldau_operator.resources.status import ClusterStatus, GroupStatus, TopicStatus

S = TypeVar("S", ClusterStatus, TopicStatus, GroupStatus)


@dataclass(slots=True, kw_only=True)
class Report(Generic[S]):
    """One pass of one reconciler.

    Attributes:
        statuses: of every resource that is declared, as they are now.
        events: what is worth telling.
        actions: what was done, in words; `acted` names the resources it was done for.
        pending: resources that need another pass soon, without anybody changing anything.
    """

    statuses: dict[Key, S] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    acted: set[Key] = field(default_factory=set)
    pending: set[Key] = field(default_factory=set)

    @property
    def converged(self) -> bool:
        """Whether nothing was done and nothing is left to do."""
        return not self.actions and not self.pending

    def did(self, key: Key, action: str) -> None:
        """Note an action that was carried out for a resource."""
        self.actions.append(action)
        self.acted.add(key)
        self.events.append(Event(subject=key, message=action, is_action=True))


def record(report: Report[S], key: Key, old: S | None, new: S, now_ms: int) -> S:
    """Put a plan's status into the report: transition times from the old one, events for the difference."""
    stamped = stamp(old, new, now_ms)
    report.statuses[key] = stamped
    before = old.conditions if old is not None else ()
    report.events.extend(transitions(key, before, stamped.conditions))
    return stamped


def stamp(old: S | None, new: S, now_ms: int) -> S:
    """A plan's status with the times at which its conditions last changed, and the generation they are about."""
    before = old.conditions if old is not None else ()
    merged = conditions.merge(before, new.conditions, new.observed_generation, rfc3339(now_ms))
    return replace(new, conditions=merged)


def changed(old: Mapping[Key, S], new: Mapping[Key, S]) -> dict[Key, S]:
    """The statuses that differ from what is kept."""
    return {key: status for key, status in new.items() if old.get(key) != status}


def rfc3339(wall_ms: int) -> str:
    """Milliseconds since the epoch as Kubernetes writes times."""
    return datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
