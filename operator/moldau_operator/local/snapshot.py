"""What `moldau status` shows, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from moldau_operator.resources import conditions
from moldau_operator.resources.conditions import Condition, ConditionStatus, ConditionType

UNMANAGED: Final = "unmanaged"
UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """One node. `id` is its broker id, `pid` the broker process itself."""

    id: int
    pid: int | None
    kafka: str
    http: str
    state: str
    restarts: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLine:
    """One topic. `records` is None when it was not counted."""

    name: str
    partitions: int
    replicas: int
    state: str
    records: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """One group. `lag` is in records, None while nothing is committed or it cannot be told."""

    id: str
    state: str
    members: int
    lag: int | None
    budget: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """Something that happened. `at_ms` is wall time."""

    at_ms: int
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An instance as it is.

    Attributes:
        state: ready, reconciling, stalled, stopping or stopped; `message` says more.
        started_ms: since when it is looked after, wall time; 0 when it is stopped.
        problems: what will not be done until the YAML changes.
    """

    cluster: str
    state: str
    message: str
    folder: str
    source: str
    started_ms: int
    bootstrap: str
    nodes: tuple[NodeLine, ...]
    topics: tuple[TopicLine, ...]
    groups: tuple[GroupLine, ...]
    problems: tuple[str, ...] = ()
    events: tuple[EventLine, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `moldau status -o json` prints: exactly these fields, for programs."""
        return {
            "bootstrap": self.bootstrap,
            "nodes": [_only(node, "id", "pid", "kafka", "http", "state") for node in self.nodes],
            "topics": [_only(topic, "name", "partitions", "replicas", "state") for topic in self.topics],
            "groups": [_only(group, "id", "state", "members", "lag") for group in self.groups],
        }

    def dump(self) -> dict[str, Any]:
        """Everything, for the control socket."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Snapshot:
        """The inverse of `dump`."""
        lines = {"nodes": NodeLine, "topics": TopicLine, "groups": GroupLine, "events": EventLine}
        fields = {name: tuple(kind(**item) for item in data[name]) for name, kind in lines.items()}
        return cls(**{**data, **fields, "problems": tuple(data["problems"])})


def _only(line: object, *names: str) -> dict[str, Any]:
    return {name: getattr(line, name) for name in names}


def state_of(found: Iterable[Condition]) -> str:
    """Conditions as one lower-case word: ready, drifted, stalled or reconciling."""
    found = tuple(found)
    if conditions.is_true(found, ConditionType.STALLED):
        return "stalled"
    if conditions.is_true(found, ConditionType.DRIFTED):
        return "drifted"
    return "ready" if conditions.is_true(found, ConditionType.READY) else "reconciling"


def message_of(found: Iterable[Condition]) -> str:
    """What a person should read: why it is not ready, else what else is amiss; empty when nothing is."""
    found = tuple(found)
    first = conditions.find(found, ConditionType.READY)
    if first is not None and first.status is not ConditionStatus.TRUE:
        return first.message
    for condition in found:
        if condition.type is ConditionType.WARNING:
            return condition.message
        if condition.type is not ConditionType.READY and condition.status is ConditionStatus.FALSE:
            return condition.message
    return ""
