"""(ConsumerGroup, its status, the group as it is) to actions, each with its reason. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from moldau_broker.base.errors import ErrorCode
from moldau_operator.errors import AdminError
from moldau_operator.names import counted
from moldau_operator.resources import conditions
from moldau_operator.resources.conditions import Condition, ConditionType, Reason
from moldau_operator.resources.consumergroup import AtOffsets, AtTime, ConsumerGroup, OffsetReset
from moldau_operator.resources.meta import DeletionPolicy
from moldau_operator.resources.status import GroupStatus, PendingReset
from moldau_operator.seams.broker_admin import NOT_TOLD, GroupAge, GroupView, Partition

INACTIVE: Final = frozenset({"Empty", "Dead"})
"""States in which a group has no members, so that its offsets may be moved under nobody's feet."""

_NOT_DONE: Final = frozenset({ErrorCode.NON_EMPTY_GROUP, ErrorCode.OFFSET_OUT_OF_RANGE})
"""Refusals after which a reset may be decided anew; the coordinator still does none twice under the same id."""

_RESET_SAMPLE: Final = 5
"""Partitions named in the message of a dry run; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetOffsets:
    """Commit these offsets for a group without members; with `force` it has none any more by then."""

    group_id: str
    reset_id: str
    offsets: Mapping[Partition, int]
    reason: str
    force: bool = False

    def __str__(self) -> str:
        return f"reset offsets of group {self.group_id}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGroup:
    """Delete a group without members, with its offsets."""

    group_id: str
    reason: str

    def __str__(self) -> str:
        return f"delete group {self.group_id}: {self.reason}"


GroupAction = ResetOffsets | DeleteGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedGroup:
    """A group as it is.

    Attributes:
        committed: committed offsets, read *before* `ends`, so that lag is never negative by a race.
        ends: log end offsets; a partition that could not be asked is missing.
        age: its lag in seconds, where somebody told.
        reset_target: what the wanted reset comes to in offsets, when one is wanted and was looked up.
        reset_problem: why it could not be looked up, in words.
    """

    view: GroupView
    committed: Mapping[Partition, int] = field(default_factory=dict)
    ends: Mapping[Partition, int] = field(default_factory=dict)
    age: GroupAge = NOT_TOLD
    reset_target: Mapping[Partition, int] | None = None
    reset_problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """What to do now, and the status to write down (before it is done)."""

    actions: tuple[GroupAction, ...]
    status: GroupStatus


def reset_wanted(group: ConsumerGroup, status: GroupStatus) -> OffsetReset | None:
    """The reset that is declared and was not applied yet."""
    reset = group.spec.reset
    return reset if reset is not None and reset.id != status.last_reset_id else None


def plan_group(
    group: ConsumerGroup, status: GroupStatus, observed: ObservedGroup, *, paused: bool = False
) -> GroupPlan:
    """What brings the group to its resource: a reset if one is wanted and may be; else only observation."""
    spec, generation = group.spec, group.metadata.generation
    status = replace(status, observed_generation=generation)
    if status.group_id and status.group_id != spec.group_id:
        words = (
            f"groupId was {status.group_id} and cannot become {spec.group_id}: set it back, "
            "and declare the new group as a resource of its own"
        )
        return GroupPlan(
            actions=(), status=replace(status, conditions=conditions.stalled(Reason.IMMUTABLE, words))
        )
    by_topic = lag_by_topic(observed)
    lag = sum(by_topic.values()) if by_topic is not None and observed.committed else None
    status = replace(
        status,
        group_id=spec.group_id,
        deletion_policy=spec.deletion_policy,
        state=observed.view.state,
        members=observed.view.members,
        lag=lag,
        lag_by_topic=by_topic or {},
        lag_seconds=whole_seconds(observed.age),
        seconds_by_topic={
            topic: int(seconds) for topic, seconds in observed.age.by_topic.items() if seconds is not None
        },
    )
    found = [
        *_readiness(observed),
        *_lag_condition(group, status, observed),
        *_members_condition(group, observed),
    ]
    actions: tuple[GroupAction, ...] = ()
    reset = reset_wanted(group, status)
    if reset is not None and not paused:
        actions, condition, status = _plan_reset(reset, status, observed)
        found.append(condition)
    elif spec.reset is not None and not paused:
        words = f"reset {status.last_reset_id} was applied"
        found.append(conditions.flag(ConditionType.OFFSETS_RESET, True, Reason.RESET_APPLIED, words))
    return GroupPlan(actions=actions, status=replace(status, conditions=tuple(found)))


def plan_removed(
    name: str, status: GroupStatus, view: GroupView, *, claimed: bool
) -> tuple[GroupAction, ...]:
    """What a resource that is gone still asks for. `claimed`: another resource stands for the group now."""
    if status.deletion_policy is not DeletionPolicy.DELETE or claimed or view.state != "Empty":
        return ()
    reason = f"ConsumerGroup {name} is gone and its deletionPolicy is Delete"
    return (DeleteGroup(group_id=view.group_id, reason=reason),)


def lag_by_topic(observed: ObservedGroup) -> dict[str, int] | None:
    """Records not yet consumed, by topic; None when an end is missing, because half a sum is no lag."""
    lags: dict[str, int] = {}
    for partition, offset in observed.committed.items():
        end = observed.ends.get(partition)
        if end is None:
            return None
        lags[partition.topic] = lags.get(partition.topic, 0) + max(end - offset, 0)
    return lags


def whole_seconds(age: GroupAge) -> int | None:
    """Whole seconds, as a clock shows them; a fraction would be another status with every look."""
    return None if age.seconds is None else int(age.seconds)


def _readiness(observed: ObservedGroup) -> tuple[Condition, ...]:
    if observed.view.state == "Dead" and not observed.committed:
        return conditions.ready(message="no consumer has used this group yet")
    return conditions.ready(message=f"{observed.view.state}, {counted(observed.view.members, 'member')}")


def _lag_condition(group: ConsumerGroup, status: GroupStatus, observed: ObservedGroup) -> list[Condition]:
    """One limit passed is over the budget, whatever is not known of the other; what is not known is within none."""
    budget = group.spec.max_lag
    limits = [("record", status.lag, budget.records), ("second", status.lag_seconds, budget.seconds)]
    kept = [(unit, found, limit) for unit, found, limit in limits if limit is not None]
    if not kept:
        return []
    kind = ConditionType.LAG_WITHIN_BUDGET
    over = [
        f"{counted(found, unit)} behind, allowed {limit}"
        for unit, found, limit in kept
        if found is not None and found > limit
    ]
    if over:
        return [conditions.flag(kind, False, Reason.OVER_BUDGET, "; ".join(over))]
    unknown = [unit for unit, found, _ in kept if found is None]
    if unknown:
        words = _not_measured(unknown, observed)
        return [conditions.flag(kind, None, Reason.NOT_MEASURED, words)]
    # No figure: it would change with every record.
    words = f"at most {' and '.join(f'{limit} {unit}s' for unit, _, limit in kept)} behind"
    return [conditions.flag(kind, True, Reason.WITHIN_BUDGET, words)]


def _not_measured(unknown: Sequence[str], observed: ObservedGroup) -> str:
    if not observed.committed:
        return "nothing is committed yet"
    if "record" in unknown:
        return "a log's end is not known"
    return "the brokers do not tell how old the lag is"


def _members_condition(group: ConsumerGroup, observed: ObservedGroup) -> list[Condition]:
    wanted, present = group.spec.members_min, observed.view.members
    if not wanted:
        return []
    if present < wanted:
        words = f"{counted(present, 'member')}, at least {wanted} expected"
        return [conditions.flag(ConditionType.MEMBERS_PRESENT, False, Reason.TOO_FEW_MEMBERS, words)]
    return [conditions.flag(ConditionType.MEMBERS_PRESENT, True, Reason.ENOUGH_MEMBERS)]


def _plan_reset(
    reset: OffsetReset, status: GroupStatus, observed: ObservedGroup
) -> tuple[tuple[GroupAction, ...], Condition, GroupStatus]:
    kind = ConditionType.OFFSETS_RESET
    view = observed.view

    def refuse(reason: Reason, words: str) -> tuple[tuple[GroupAction, ...], Condition, GroupStatus]:
        return (), conditions.flag(kind, False, reason, words), status

    pending = status.pending_reset if status.pending_reset and status.pending_reset.id == reset.id else None
    target = observed.reset_target
    if pending is not None:
        target = {Partition(t, p): o for t, offsets in pending.offsets.items() for p, o in offsets.items()}
    if observed.reset_problem and pending is None:
        return refuse(Reason.INVALID_SPEC, observed.reset_problem)
    if target is None:
        return refuse(Reason.PENDING, f"reset {reset.id} waits for the brokers")
    if reset.dry_run:
        words = f"dry run of reset {reset.id}: {_describe(observed, target)}"
        return refuse(Reason.RESET_PLANNED, words)
    if pending is not None and all(
        observed.committed.get(place) == offset for place, offset in target.items()
    ):
        status = replace(status, last_reset_id=reset.id, pending_reset=None)
        return (), conditions.flag(kind, True, Reason.RESET_APPLIED, f"reset {reset.id} was applied"), status
    if pending is None and view.state not in INACTIVE and not reset.force:
        return refuse(Reason.GROUP_ACTIVE, still_active(counted(view.members, "member"), reset.id))
    # One that was decided is asked for whatever the state: it may be done already, and consumers back.
    by_topic: dict[str, dict[int, int]] = {}
    for place, offset in target.items():
        by_topic.setdefault(place.topic, {})[place.number] = offset
    status = replace(status, pending_reset=PendingReset(id=reset.id, offsets=by_topic))
    reason = f"reset {reset.id} to {_target_name(reset)}, {counted(len(target), 'partition')}"
    action = ResetOffsets(
        group_id=view.group_id, reset_id=reset.id, offsets=dict(target), reason=reason, force=reset.force
    )
    return (
        (action,),
        conditions.flag(kind, False, Reason.APPLYING, f"reset {reset.id} is being applied"),
        status,
    )


def still_active(members: str, reset_id: str) -> str:
    """Why a reset does not happen while these are in the group, and what to do."""
    return (
        f"group has {members}: stop its consumers to let reset {reset_id} happen, or set force to remove them"
    )


def reset_refused(
    action: ResetOffsets, error: AdminError, status: GroupStatus
) -> tuple[Condition, GroupStatus]:
    """What a reset that the coordinator did not do comes to.

    After a refusal that proves that it was not done it is decided anew: by then `latest` is elsewhere, and a log may
    have lost what it was to go back to. Else it was perhaps done, and is asked for again as it was.
    """
    kind = ConditionType.OFFSETS_RESET
    if error.code is ErrorCode.NON_EMPTY_GROUP:
        words = still_active("members", action.reset_id) + f" ({error})"
        found = conditions.flag(kind, False, Reason.GROUP_ACTIVE, words)
    else:
        found = conditions.flag(kind, False, Reason.RETRYING, f"cannot {action}: {error}")
    if error.code in _NOT_DONE:
        status = replace(status, pending_reset=None)
    return found, status


def _target_name(reset: OffsetReset) -> str:
    if isinstance(reset.to, AtTime):
        return reset.to.text
    return "the offsets given" if isinstance(reset.to, AtOffsets) else reset.to.value


def _describe(observed: ObservedGroup, target: Mapping[Partition, int]) -> str:
    moves = [
        f"{place} {observed.committed.get(place, 'unset')} -> {offset}"
        for place, offset in sorted(target.items())
        if observed.committed.get(place) != offset
    ]
    if not moves:
        return "nothing would move"
    more = f" and {len(moves) - _RESET_SAMPLE} more" if len(moves) > _RESET_SAMPLE else ""
    return f"would move {', '.join(moves[:_RESET_SAMPLE])}{more}"
