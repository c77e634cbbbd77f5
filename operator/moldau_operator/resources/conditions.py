"""Status conditions: their types, their reasons, and how a new set replaces an old one. Pure.

Shape: Kubernetes' `metav1.Condition`. Ready is always there; Reconciling and Stalled follow kstatus and are
there only while they are true, so that `kubectl wait` and Argo CD read them without knowing us.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class ConditionType(StrEnum):
    """Every condition a resource of ours can have."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DRIFTED = "Drifted"
    WARNING = "Warning"
    PLAINTEXT = "Plaintext"
    RACKS_KNOWN = "RacksKnown"
    LAG_WITHIN_BUDGET = "LagWithinBudget"
    MEMBERS_PRESENT = "MembersPresent"
    OFFSETS_RESET = "OffsetsReset"


class Reason(StrEnum):
    """Why a condition has its status; one word for programs, the message is for people."""

    AS_DECLARED = "AsDeclared"
    PAUSED = "Paused"
    PENDING = "Pending"
    STARTING = "Starting"
    NODE_DOWN = "NodeDown"
    ROLLING = "Rolling"
    DRAINING = "Draining"
    MOVING_REPLICAS = "MovingReplicas"
    APPLYING = "Applying"
    RETRYING = "Retrying"
    BROKERS_UNREACHABLE = "BrokersUnreachable"
    INVALID_SPEC = "InvalidSpec"
    NOT_SUPPORTED = "NotSupported"
    IMMUTABLE = "Immutable"
    RESOURCE_CONFLICT = "ResourceConflict"
    ADOPTION_REFUSED = "AdoptionRefused"
    DELETED_BEHIND = "DeletedBehind"
    CHANGED_BEHIND = "ChangedBehind"
    REFUSED_BY_BROKER = "RefusedByBroker"
    MIN_ISR_IS_REPLICAS = "MinIsrIsReplicas"
    EVEN_QUORUM = "EvenQuorum"
    STORAGE_REFUSED = "StorageRefused"
    NO_TLS = "NoTls"
    FROM_MACHINES = "FromMachines"
    FROM_SPEC = "FromSpec"
    NOT_ALLOWED = "NotAllowed"
    WITHIN_BUDGET = "WithinBudget"
    OVER_BUDGET = "OverBudget"
    NOT_MEASURED = "NotMeasured"
    ENOUGH_MEMBERS = "EnoughMembers"
    TOO_FEW_MEMBERS = "TooFewMembers"
    GROUP_ACTIVE = "GroupActive"
    RESET_APPLIED = "ResetApplied"
    RESET_PLANNED = "ResetPlanned"


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued logic."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One observation about a resource, for the generation of its spec that was looked at."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


def ready(reason: Reason = Reason.AS_DECLARED, message: str = "") -> tuple[Condition, ...]:
    """The resource is as declared."""
    return (_make(ConditionType.READY, ConditionStatus.TRUE, reason, message),)


def reconciling(reason: Reason, message: str) -> tuple[Condition, ...]:
    """Work is going on, and no person is needed."""
    return (
        _make(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        _make(ConditionType.RECONCILING, ConditionStatus.TRUE, reason, message),
    )


def stalled(reason: Reason, message: str) -> tuple[Condition, ...]:
    """Nothing more will happen until a person changes something; the message says what."""
    return (
        _make(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        _make(ConditionType.STALLED, ConditionStatus.TRUE, reason, message),
    )


def flag(kind: ConditionType, status: bool | None, reason: Reason, message: str = "") -> Condition:
    """A domain condition; None is Unknown."""
    known = (
        ConditionStatus.UNKNOWN
        if status is None
        else ConditionStatus.TRUE
        if status
        else ConditionStatus.FALSE
    )
    return _make(kind, known, reason, message)


def _make(kind: ConditionType, status: ConditionStatus, reason: Reason, message: str) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)


def progress(reason: Reason, message: str, others: Iterable[Condition]) -> tuple[Condition, ...]:
    """`reconciling`, beside the domain conditions that were found with another state of progress."""
    states = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}
    return (*reconciling(reason, message), *(one for one in others if one.type not in states))


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of this type, if it is there."""
    return next((condition for condition in conditions if condition.type is kind), None)


def is_true(conditions: Iterable[Condition], kind: ConditionType) -> bool:
    """Whether the condition is there and true."""
    found = find(conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def is_settled(conditions: Iterable[Condition]) -> bool:
    """Whether nothing will change before a person changes something."""
    conditions = tuple(conditions)
    found = find(conditions, ConditionType.READY)
    if found is not None and (found.status is ConditionStatus.TRUE or found.reason is Reason.PAUSED):
        return True
    return is_true(conditions, ConditionType.STALLED)


def merge(
    old: Sequence[Condition], new: Iterable[Condition], generation: int, now: str
) -> tuple[Condition, ...]:
    """The new conditions, each keeping the old one's transition time unless its status changed.

    `now` is RFC 3339. Equal input gives an equal result, so a converged object causes no write.
    """
    merged = []
    for condition in new:
        before = find(old, condition.type)
        same = before is not None and before.status is condition.status
        since = before.last_transition_time if before is not None and same else now
        merged.append(replace(condition, observed_generation=generation, last_transition_time=since))
    return tuple(merged)
