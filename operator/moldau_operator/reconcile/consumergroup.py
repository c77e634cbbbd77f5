"""Consumer groups of one cluster: look at all of them at once, plan each, apply resets and deletions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moldau_broker.base.clock import Clock
from moldau_operator.errors import AdminError
from moldau_operator.names import counted
from moldau_operator.plan.consumergroup import (
    DeleteGroup,
    GroupAction,
    ObservedGroup,
    ResetOffsets,
    plan_group,
    plan_removed,
    reset_refused,
    reset_wanted,
)
from moldau_operator.reconcile.events import Event
from moldau_operator.reconcile.report import Report, changed, record
from moldau_operator.resources import conditions
from moldau_operator.resources.conditions import ConditionType, Reason
from moldau_operator.resources.consumergroup import AtOffsets, AtTime, ConsumerGroup, Edge, OffsetReset
from moldau_operator.resources.meta import DeletionPolicy, Key
from moldau_operator.resources.status import GroupStatus
from moldau_operator.seams.broker_admin import BrokerAdmin, GroupView, Partition
from moldau_operator.seams.status_store import StatusStore


class GroupReconciler:
    """Watches the consumer groups of one cluster, and grants their resets, one pass at a time."""

    def __init__(self, admin: BrokerAdmin, store: StatusStore, clock: Clock) -> None:
        self._admin = admin
        self._store = store
        self._clock = clock

    async def reconcile(
        self, groups: Sequence[ConsumerGroup], statuses: Mapping[Key, GroupStatus], *, paused: bool = False
    ) -> Report[GroupStatus]:
        """One pass. A group that cannot be asked keeps its last status with Ready unknown.

        Raises:
            AdminError: the brokers could not be asked at all; nothing was changed.
        """
        report: Report[GroupStatus] = Report()
        declared = {group.key: group for group in groups}
        looks = await self._look([group.spec.group_id for group in groups])
        for key, group in declared.items():
            status = statuses.get(key) or GroupStatus()
            look = looks[group.spec.group_id]
            if isinstance(look, AdminError):
                found = conditions.reconciling(Reason.BROKERS_UNREACHABLE, str(look))
                unknown = replace(status, group_id=status.group_id or group.spec.group_id, conditions=found)
                record(report, key, statuses.get(key), unknown, self._clock.wall_ms())
                report.pending.add(key)
                continue
            look = await self._with_reset(group, status, look)
            plan = plan_group(group, status, look, paused=paused)
            written = record(report, key, statuses.get(key), plan.status, self._clock.wall_ms())
            for action in plan.actions:
                await self._store.save({key: written})  # the decision outlives a crash, see PendingReset
                written = await self._apply(key, action, written, report)
                report.pending.add(key)
        different = changed(statuses, report.statuses)
        if different:
            await self._store.save(different)
        if not paused:
            await self._let_go({k: s for k, s in statuses.items() if k not in declared}, groups, report)
        return report

    async def _look(self, group_ids: Sequence[str]) -> dict[str, ObservedGroup | AdminError]:
        """The groups, and how old their lag is; where that is not told the rest is seen all the same."""
        looks = await look_at_groups(self._admin, group_ids)
        asked = [
            group_id
            for group_id, look in looks.items()
            if not isinstance(look, AdminError) and look.committed
        ]
        for group_id, age in (await self._admin.group_ages(asked) if asked else {}).items():
            look = looks[group_id]
            if isinstance(look, ObservedGroup):
                looks[group_id] = replace(look, age=age)
        return looks

    async def _with_reset(
        self, group: ConsumerGroup, status: GroupStatus, look: ObservedGroup
    ) -> ObservedGroup:
        """What is seen of the group, with what its wanted reset comes to in offsets."""
        reset = reset_wanted(group, status)
        if reset is None or (status.pending_reset is not None and status.pending_reset.id == reset.id):
            return look
        try:
            target = await self._resolve(reset, look)
        except AdminError as error:
            return replace(look, reset_problem="" if error.retriable else str(error))
        if isinstance(target, str):
            return replace(look, reset_problem=target)
        return replace(look, reset_target=target)

    async def _resolve(self, reset: OffsetReset, look: ObservedGroup) -> dict[Partition, int] | str:
        """The reset as offsets; a text says why there are none."""
        named = tuple(reset.to.offsets) if isinstance(reset.to, AtOffsets) else reset.topics
        topics = named or tuple(sorted({partition.topic for partition in look.committed}))
        if not topics:
            return f"reset {reset.id}: the group has committed nothing, so name the topics (offsets.reset.topics)"
        counts = await self._admin.partitions_of(topics)
        missing = [topic for topic in topics if topic not in counts]
        if missing and named:
            return (
                f"reset {reset.id}: topic {missing[0]} does not exist; create it, or remove it from the reset"
            )
        if isinstance(reset.to, AtOffsets):
            return await self._check_offsets(reset, reset.to, counts)
        partitions = [Partition(topic, number) for topic in counts for number in range(counts[topic])]
        place = reset.to.timestamp_ms if isinstance(reset.to, AtTime) else reset.to
        target: dict[Partition, int] = {}
        for partition, offset in (await self._admin.offsets_at(partitions, place)).items():
            if isinstance(offset, AdminError):
                raise offset
            target[partition] = offset
        return target

    async def _check_offsets(
        self, reset: OffsetReset, to: AtOffsets, counts: Mapping[str, int]
    ) -> dict[Partition, int] | str:
        target = {Partition(t, p): offset for t, places in to.offsets.items() for p, offset in places.items()}
        for partition in target:
            if partition.number >= counts[partition.topic]:
                have = counted(counts[partition.topic], "partition")
                return f"reset {reset.id}: topic {partition.topic} has {have}; there is no {partition.number}"
        starts = await self._admin.offsets_at(list(target), Edge.EARLIEST)
        ends = await self._admin.offsets_at(list(target), Edge.LATEST)
        for partition, offset in target.items():
            start, end = starts[partition], ends[partition]
            if isinstance(start, AdminError):
                raise start
            if isinstance(end, AdminError):
                raise end
            if not start <= offset <= end:
                return f"reset {reset.id}: {partition} holds offsets {start} to {end}; {offset} is outside"
        return target

    async def _apply(
        self, key: Key, action: GroupAction, status: GroupStatus, report: Report[GroupStatus]
    ) -> GroupStatus:
        assert isinstance(action, ResetOffsets)
        kind = ConditionType.OFFSETS_RESET
        try:
            await self._admin.reset_offsets(
                action.group_id, action.offsets, action.reset_id, force=action.force
            )
        except AdminError as error:
            flag, status = reset_refused(action, error, status)
        else:
            report.did(key, str(action))
            flag = conditions.flag(kind, True, Reason.RESET_APPLIED, f"reset {action.reset_id} was applied")
            status = replace(status, last_reset_id=action.reset_id, pending_reset=None)
        others = tuple(condition for condition in status.conditions if condition.type is not kind)
        return record(report, key, status, replace(status, conditions=(*others, flag)), self._clock.wall_ms())

    async def _let_go(
        self, removed: Mapping[Key, GroupStatus], groups: Sequence[ConsumerGroup], report: Report[GroupStatus]
    ) -> None:
        """Do what resources that are gone still ask for, then forget them."""
        if not removed:
            return
        claimed = {group.spec.group_id for group in groups}
        deleting = [
            s.group_id for s in removed.values() if s.deletion_policy is DeletionPolicy.DELETE and s.group_id
        ]
        views = await self._admin.describe_groups(deleting) if deleting else {}
        done: set[Key] = set()
        for key, status in removed.items():
            view = views.get(status.group_id)
            is_claimed = status.group_id in claimed
            if isinstance(view, GroupView):
                actions = plan_removed(key.name, status, view, claimed=is_claimed)
                if actions and not await self._delete(key, actions[0], report):
                    continue
                if not actions and not is_claimed and view.state not in {"Dead", "Empty"}:
                    report.pending.add(key)  # deleted when its members have left
                    continue
            elif view is not None:
                report.pending.add(key)
                continue
            done.add(key)
        if done:
            await self._store.forget(frozenset(done))

    async def _delete(self, key: Key, action: GroupAction, report: Report[GroupStatus]) -> bool:
        assert isinstance(action, DeleteGroup)
        failed = (await self._admin.delete_groups([action.group_id])).get(action.group_id)
        if failed is None:
            report.did(key, str(action))
            return True
        report.pending.add(key)
        report.events.append(Event(subject=key, message=f"cannot be deleted yet: {failed}", warning=True))
        return False


async def look_at_groups(
    admin: BrokerAdmin, group_ids: Sequence[str]
) -> dict[str, ObservedGroup | AdminError]:
    """States, commits and lag of these groups, in four calls whatever their number.

    Commits are read before log ends: a record consumed in between makes lag too large for a moment, never
    negative (danielqsj/kafka_exporter#76, #437).
    """
    if not group_ids:
        return {}
    views = await admin.describe_groups(group_ids)
    commits = await admin.committed_offsets(group_ids)
    wanted = sorted(
        {place for found in commits.values() if not isinstance(found, AdminError) for place in found}
    )
    ends: dict[Partition, int] = {}
    if wanted:
        alive = await admin.partitions_of(sorted({place.topic for place in wanted}))
        wanted = [place for place in wanted if place.number < alive.get(place.topic, 0)]
        found_ends = await admin.offsets_at(wanted, Edge.LATEST) if wanted else {}
        ends = {place: end for place, end in found_ends.items() if not isinstance(end, AdminError)}
    living = set(wanted)
    looks: dict[str, ObservedGroup | AdminError] = {}
    for group_id in group_ids:
        view, committed = views[group_id], commits[group_id]
        if isinstance(view, AdminError):
            looks[group_id] = view
        elif isinstance(committed, AdminError):
            looks[group_id] = committed
        else:
            kept = {place: offset for place, offset in committed.items() if place in living}
            looks[group_id] = ObservedGroup(
                view=view, committed=kept, ends={place: ends[place] for place in kept if place in ends}
            )
    return looks
