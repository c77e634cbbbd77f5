"""Offsets moved by an administrator, under the coordinator's fence."""

from typing import Any

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.offset_reset import OffsetReset, ResetOutcome
from moldau_broker.testing.coordinator import CoordinatorBench
from moldau_broker.testing.groups import GroupBench
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)

T_ID = Uuid(bytes(range(16)))
TO_TEN = {("t", 0): (10, T_ID)}


def _reset(bench: GroupBench, targets: Any = TO_TEN, **options: Any) -> ResetOutcome | None:
    reply = bench.shard.reset_offsets(OffsetReset("g", targets, **options), bench.now)
    bench.in_flight += bench.shard.take_writes()
    if bench.auto_store:
        bench.store()
    return reply.value if reply.done else None


def test_reset_of_an_empty_group_moves_its_offsets() -> None:
    """The old offsets are in the answer, the new ones are in the log, with the topic's id."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 7, ("u", 0): 3})
    outcome = _reset(bench, {("t", 0): (10, T_ID), ("t", 1): (0, T_ID)})
    assert outcome == ResetOutcome(ErrorCode.NONE, "", applied=True, before={("t", 0): 7})
    for one in (bench, bench.replica()):
        offsets = one.view().offsets
        assert {place: commit.offset for place, commit in offsets.items()} == {
            ("t", 0): 10,
            ("t", 1): 0,
            ("u", 0): 3,
        }
        assert offsets["t", 0].topic_id == T_ID


def test_reset_is_answered_once_it_is_stored() -> None:
    """Not before the offsets are durable."""
    bench = GroupBench(auto_store=False)
    assert _reset(bench) is None
    bench.store()
    assert bench.replica().committed("g", "t") == 10


def test_reset_is_refused_while_members_are_active() -> None:
    """The reason names them, and nothing has moved."""
    bench = GroupBench()
    members = bench.stable_group(2)
    bench.commit("g", {("t", 0): 7}, members[0], 1)
    outcome = _reset(bench)
    assert outcome is not None
    assert outcome.error is ErrorCode.NON_EMPTY_GROUP
    assert all(member in outcome.message for member in members)
    assert bench.committed("g", "t") == 7
    assert bench.view().state == "Stable"


def test_reset_is_refused_while_somebody_is_about_to_join() -> None:
    """A member id that was handed out counts: its owner joins next (KIP-394)."""
    bench = GroupBench()
    pending = bench.new_id()
    outcome = _reset(bench)
    assert outcome is not None
    assert (outcome.error, outcome.members) == (ErrorCode.NON_EMPTY_GROUP, (pending,))


def test_forced_reset_removes_members_first() -> None:
    """Nobody of the old generation can commit over it; who joins again reads the new offsets."""
    bench = GroupBench()
    first, second = bench.stable_group(2)
    bench.commit("g", {("t", 0): 7}, first, 1)
    outcome = _reset(bench, force=True)
    assert outcome is not None
    assert (outcome.error, outcome.applied, set(outcome.members)) == (ErrorCode.NONE, True, {first, second})
    assert bench.view().state == "Empty"
    late = bench.commit("g", {("t", 0): 8}, first, 1).value
    assert late.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.heartbeat("g", second, 1) is ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.committed("g", "t") == 10
    bench.stable_group(1)
    assert bench.committed("g", "t") == 10


@pytest.mark.parametrize("state", ["PreparingRebalance", "CompletingRebalance", "Stable", "initial"])
def test_forced_reset_ends_whatever_is_under_way(state: str) -> None:
    """Parked requests are answered, no timer is left of the old members, and the group is Empty."""
    bench = GroupBench(GroupConfig(initial_rebalance_delay_ms=3_000))
    parked = []
    if state == "initial":
        parked.append(bench.join("g", bench.new_id()))
    else:
        member = bench.new_id()
        joined = bench.join("g", member)
        bench.advance(3_000)
        assert joined.done
        if state == "Stable":
            bench.sync("g", member, 1, {member: b"all"})
        elif state == "PreparingRebalance":
            bench.sync("g", member, 1, {member: b"all"})
            parked.append(bench.join("g", bench.new_id()))
        assert bench.view().state == state
    outcome = _reset(bench, force=True)
    assert outcome is not None
    assert outcome.applied
    assert [reply.value.error_code for reply in parked] == [ErrorCode.UNKNOWN_MEMBER_ID] * len(parked)
    assert (bench.view().state, bench.view().members) == ("Empty", ())
    bench.advance(600_000)
    assert bench.view().state == "Empty"
    assert bench.replica().view().offsets["t", 0].offset == 10


def test_dry_run_of_a_reset_changes_nothing() -> None:
    """It says what is there, and refuses what would be refused."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 7})
    stored = len(bench.log)
    assert _reset(bench, dry_run=True) == ResetOutcome(
        ErrorCode.NONE, "", applied=False, before={("t", 0): 7}
    )
    (member,) = bench.stable_group(1)
    stored = len(bench.log)
    refused = _reset(bench, dry_run=True)
    assert refused is not None
    assert refused.error is ErrorCode.NON_EMPTY_GROUP
    forced = _reset(bench, dry_run=True, force=True)
    assert forced is not None
    assert (forced.applied, forced.members) == (False, (member,))
    assert bench.view().state == "Stable"
    assert len(bench.log) == stored
    assert bench.committed("g", "t") == 7


def test_reset_of_a_group_nobody_has_used_makes_it() -> None:
    """Where its consumers shall begin can be said before the first of them comes."""
    bench = GroupBench()
    outcome = _reset(bench)
    assert outcome is not None
    assert outcome.applied
    assert bench.replica().committed("g", "t") == 10


def test_named_reset_is_done_once() -> None:
    """Asked again because the answer was lost: consumers that have read on meanwhile are not thrown back."""
    bench = GroupBench()
    assert _reset(bench, reset_id="monday") is not None
    (member,) = bench.stable_group(1)
    bench.commit("g", {("t", 0): 12}, member, 1)
    again = _reset(bench, reset_id="monday", force=True)
    assert again is not None
    assert again.applied
    assert bench.committed("g", "t") == 12
    assert bench.view().state == "Stable"
    other = _reset(bench, reset_id="tuesday", force=True)
    assert other is not None
    assert bench.committed("g", "t") == 10


def test_named_reset_is_remembered_by_the_next_coordinator() -> None:
    """As long as one of the partitions has not been committed anew."""
    bench = GroupBench()
    _reset(bench, {("t", 0): (10, T_ID), ("t", 1): (20, T_ID)}, reset_id="monday")
    (member,) = bench.stable_group(1)
    bench.commit("g", {("t", 0): 12}, member, 1)
    twin = bench.replica()
    again = _reset(twin, {("t", 0): (10, T_ID), ("t", 1): (20, T_ID)}, reset_id="monday", force=True)
    assert again is not None
    assert again.applied
    assert twin.committed("g", "t") == 12


def test_reset_that_cannot_be_stored_leaves_no_trace() -> None:
    """The log refuses: the old offsets stand, and the same reset may be tried again."""
    bench = GroupBench()
    bench.commit("g", {("t", 0): 7})
    bench.auto_store = False
    replies = []
    reset = OffsetReset("g", TO_TEN, "monday")
    replies.append(bench.shard.reset_offsets(reset, bench.now))
    bench.in_flight += bench.shard.take_writes()
    assert bench.refuse(ErrorCode.NOT_ENOUGH_REPLICAS)
    assert replies[0].value.error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert bench.committed("g", "t") == 7
    bench.auto_store = True
    outcome = _reset(bench, reset_id="monday")
    assert outcome is not None
    assert outcome.applied
    assert bench.committed("g", "t") == 10


def test_reset_too_large_for_one_write_is_refused() -> None:
    """It is all or nothing, so it must fit one batch."""
    bench = GroupBench(GroupConfig(write_bytes_max=4_000))
    outcome = _reset(bench, {("t", index): (1, T_ID) for index in range(200)})
    assert outcome is not None
    assert outcome.error is ErrorCode.UNKNOWN_SERVER_ERROR
    assert "MESSAGE_TOO_LARGE" in outcome.message


def test_repeated_reset_is_not_answered_before_the_first_is_stored() -> None:
    """Both wait for the same commit, and fail together where it is lost."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    reset = OffsetReset("g", TO_TEN, "monday")
    replies = [bench.coordinator.reset_offsets(reset) for _ in range(2)]
    bench.run()
    assert [reply.done for reply in replies] == [False, False]
    bench.commit_appends(error=ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    assert [reply.value.error for reply in replies] == [ErrorCode.COORDINATOR_NOT_AVAILABLE] * 2
    assert [reply.value.applied for reply in replies] == [False, False]


def test_reset_elsewhere_is_refused() -> None:
    """Only the coordinator can fence; a group without a name has none."""
    bench = CoordinatorBench()
    outcome = bench.coordinator.reset_offsets(OffsetReset("g", TO_TEN)).value
    assert outcome.error is ErrorCode.NOT_COORDINATOR
    bench.elect_all()
    assert bench.coordinator.reset_offsets(OffsetReset("", TO_TEN)).value.error is ErrorCode.INVALID_GROUP_ID


def test_views_wait_for_what_is_being_stored() -> None:
    """An offset that a failover may take back is not shown."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    commit = OffsetCommitRequest(
        group_id="g",
        topics=[
            OffsetCommitRequestTopic(
                name="t",
                topic_id=NULL_UUID,
                partitions=[OffsetCommitRequestPartition(partition_index=0, committed_offset=5)],
            )
        ],
    )
    bench.coordinator.commit_offsets(commit, 9)
    views = bench.coordinator.views()
    bench.run()
    assert not views.done
    bench.commit_appends()
    assert [view.offsets["t", 0].offset for view in views.value] == [5]
    assert bench.coordinator.views(["other"]).value == []
