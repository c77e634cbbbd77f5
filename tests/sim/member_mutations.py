"""Deliberate bugs in how a group's members share its partitions; `mutations` has all others."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.sim.mutations import Mutation, replaced

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator import join, offset_requests, rebalance, shard_state, sync
from moldau_broker.coordinator.group import Group
from moldau_broker.coordinator.shard_state import ShardState
from moldau_broker.testing.sim.swarm import Swarm
from moldau_broker.wire.schema import replace


def _shared(swarm: Swarm) -> Swarm:
    """A group with members, and a coordinator that moves now and then."""
    faults = {"crash leader": 1.0, "isolate leader": 1.0, "elect": 1.0}
    return swarm._replace(nodes=3, fault_gap_ms=2_000, faults=faults, dies_halfway=0.3, groups=1)


def _static(swarm: Swarm) -> Swarm:
    """Likewise; every member has a name of its own."""
    assert swarm.members is not None
    return _shared(swarm)._replace(members=swarm.members._replace(static=swarm.members.members))


def _any_generation_commits() -> contextlib.AbstractContextManager[None]:
    original = offset_requests._commit_error

    def commit_error(*args: Any) -> ErrorCode:
        error = original(*args)
        return ErrorCode.NONE if error is ErrorCode.ILLEGAL_GENERATION else error

    return replaced(offset_requests, _commit_error=commit_error)


def _silent_members_stay() -> contextlib.AbstractContextManager[None]:
    return replaced(rebalance, _expire_member=lambda shard, group, member_id: None)


class _Eager:
    """A shard that takes what it is about to write for written."""

    def __init__(self, shard: ShardState) -> None:
        self._shard = shard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    def write(self, records: Any, stored: Any, *, replay: bool) -> None:
        self._shard.write(records, lambda error: None, replay=replay)
        stored(ErrorCode.NONE)


def _hands_out_what_is_not_stored() -> contextlib.AbstractContextManager[None]:
    original = sync._store_assignment

    def store(shard: Any, group: Group, assignments: dict[str, bytes]) -> None:
        original(_Eager(shard), group, assignments)  # type: ignore[arg-type]  # it looks like one

    return replaced(sync, _store_assignment=store)


def _keeps_old_shares() -> contextlib.AbstractContextManager[None]:
    original = sync._store_assignment

    def store(shard: ShardState, group: Group, assignments: dict[str, bytes]) -> None:
        kept = {one.member_id: one.assignment for one in group.members.values() if one.assignment}
        original(shard, group, {**assignments, **kept})

    return replaced(sync, _store_assignment=store)


def _stores_every_assignment() -> contextlib.AbstractContextManager[None]:
    original = sync._store_assignment

    def store(shard: ShardState, group: Group, assignments: dict[str, bytes]) -> None:
        group.storing = None
        original(shard, group, assignments)

    return replaced(sync, _store_assignment=store)


def _loses_a_member_on_loading() -> contextlib.AbstractContextManager[None]:
    original = shard_state.restored_group

    def restored(group_id: str, value: Any) -> Group:
        lost = [member for member in value.members if member.member_id != value.leader][-1:]
        return original(group_id, replace(value, members=[one for one in value.members if one not in lost]))

    return replaced(shard_state, restored_group=restored)


def _counts_from_one_again() -> contextlib.AbstractContextManager[None]:
    original = shard_state.restored_group

    def restored(group_id: str, value: Any) -> Group:
        return original(group_id, replace(value, generation=0, members=()))

    return replaced(shard_state, restored_group=restored)


def _new_ids_are_not_stored() -> contextlib.AbstractContextManager[None]:
    original = join._store_replacement

    def store(shard: ShardState, *args: Any) -> None:
        writes = len(shard.writes)
        original(shard, *args)
        write = shard.writes.pop()
        assert len(shard.writes) == writes
        write.stored(ErrorCode.NONE)

    return replaced(join, _store_replacement=store)


SHARED = [
    Mutation("a commit's generation is not looked at", "broker", _any_generation_commits, 20, _shared),
    Mutation("a silent member stays", "broker", _silent_members_stay, 20, _shared),
    Mutation(
        "shares are handed out before they are stored", "broker", _hands_out_what_is_not_stored, 20, _shared
    ),
    Mutation("members keep the shares they had", "broker", _keeps_old_shares, 20, _shared),
    Mutation(
        "a generation has as many assignments as its leader sends",
        "broker",
        _stores_every_assignment,
        40,
        _shared,
    ),
    Mutation("a new coordinator loses a member", "broker", _loses_a_member_on_loading, 20, _shared),
    Mutation("a new coordinator counts from one again", "broker", _counts_from_one_again, 20, _shared),
    Mutation("a static member's new id is not stored", "broker", _new_ids_are_not_stored, 20, _static),
]
