"""What `moldau status` shows, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from moldau_operator.resources import conditions
from moldau_operator.resources.balance_status import BalanceStatus, load_balance
from moldau_operator.resources.conditions import Condition, ConditionStatus, ConditionType

UNMANAGED: Final = "unmanaged"
UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """One node.

    Attributes:
        id, pid: its broker id, and the broker process itself.
        roles: broker, controller.
        leaders, replicas, in_sync: partitions it leads, has, and has in sync; None while nobody could be asked.
    """

    id: int
    pid: int | None
    kafka: str
    http: str
    state: str
    restarts: int = 0
    message: str = ""
    roles: tuple[str, ...] = ()
    leaders: int | None = None
    replicas: int | None = None
    in_sync: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterLine:
    """A replica of the metadata log; `lag` in records behind the leader."""

    id: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumLine:
    """The metadata quorum."""

    leader: int
    epoch: int
    voters: tuple[VoterLine, ...]
    observers: tuple[VoterLine, ...] = ()

    def role_of(self, node_id: int) -> str:
        """leader, voter, observer, or nothing."""
        if node_id == self.leader:
            return "leader"
        for name, members in (("voter", self.voters), ("observer", self.observers)):
            if any(member.id == node_id for member in members):
                return name
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsLine:
    """All partitions, the brokers' own included: how many lack a replica in sync, how many have no leader."""

    total: int
    under_replicated: int
    offline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLine:
    """One topic. Figures are None while they are not known; `records` also when they were not counted."""

    name: str
    partitions: int
    replicas: int
    state: str
    records: int | None = None
    message: str = ""
    under_replicated: int | None = None
    offline: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """One group.

    Attributes:
        lag: in records, None while nothing is committed or it cannot be told.
        lag_seconds: how long the oldest record not consumed has waited; None where nobody could tell.
        budget, budget_seconds: what its ConsumerGroup allows.
    """

    id: str
    state: str
    members: int
    lag: int | None
    budget: int | None = None
    lag_seconds: float | None = None
    budget_seconds: int | None = None
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
        partitions, quorum: None while nobody could be asked.
        balance: None while nobody has looked, or where balancing is off.
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
    partitions: PartitionsLine | None = None
    quorum: QuorumLine | None = None
    balance: BalanceStatus | None = None

    def as_json(self) -> dict[str, Any]:
        """What `moldau status -o json` prints: exactly these fields, for programs."""
        return {
            "bootstrap": self.bootstrap,
            "nodes": [_only(node, *_NODE_FIELDS) for node in self.nodes],
            "topics": [_only(topic, *_TOPIC_FIELDS) for topic in self.topics],
            "groups": [_only(group, "id", "state", "members", "lag") for group in self.groups],
            "partitions": asdict(self.partitions) if self.partitions is not None else None,
            "quorum": asdict(self.quorum) if self.quorum is not None else None,
        }

    def dump(self) -> dict[str, Any]:
        """Everything, for the control socket."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Snapshot:
        """The inverse of `dump`."""
        lines = {"nodes": NodeLine, "topics": TopicLine, "groups": GroupLine, "events": EventLine}
        fields = {name: tuple(kind(**item) for item in data[name]) for name, kind in lines.items()}
        nodes = tuple(replace(node, roles=tuple(node.roles)) for node in fields["nodes"])
        partitions, quorum = data["partitions"], data["quorum"]
        more = {
            "problems": tuple(data["problems"]),
            "nodes": nodes,
            "partitions": PartitionsLine(**partitions) if partitions is not None else None,
            "quorum": _quorum(quorum) if quorum is not None else None,
            "balance": load_balance(data.get("balance")),
        }
        return cls(**{**data, **fields, **more})


_NODE_FIELDS: Final = ("id", "pid", "kafka", "http", "state", "roles", "leaders", "replicas", "in_sync")
_TOPIC_FIELDS: Final = ("name", "partitions", "replicas", "state", "under_replicated", "offline")


def _quorum(data: Mapping[str, Any]) -> QuorumLine:
    members = {name: tuple(VoterLine(**one) for one in data[name]) for name in ("voters", "observers")}
    return QuorumLine(**{**data, **members})


def _only(line: object, *names: str) -> dict[str, Any]:
    values = {name: getattr(line, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


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
