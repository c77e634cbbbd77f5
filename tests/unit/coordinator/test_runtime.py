"""The coordinator around its shards. Reference: Kafka's CoordinatorRuntime, GroupCoordinatorService."""

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.base.limits import GROUP_READY_CHECK_MS
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.coordinator.placement import partition_for
from moldau_broker.coordinator.shard_state import Client
from moldau_broker.testing.coordinator import CoordinatorBench
from moldau_broker.testing.groups import subscription
from moldau_broker.wire.messages.heartbeat import HeartbeatRequest
from moldau_broker.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from moldau_broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from moldau_broker.wire.messages.list_groups import ListGroupsRequest
from moldau_broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from moldau_broker.wire.messages.offset_delete import OffsetDeleteRequest
from moldau_broker.wire.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchRequestTopics
from moldau_broker.wire.messages.sync_group import (
    SyncGroupRequest,
    SyncGroupRequestAssignment,
    SyncGroupResponse,
)

CLIENT = Client("c", "/h", 9)


def _join(
    bench: CoordinatorBench, group_id: str, member_id: str = ""
) -> JoinGroupResponse | Deferred[JoinGroupResponse]:
    request = JoinGroupRequest(
        group_id=group_id,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=30_000,
        member_id=member_id,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=subscription("t"))],
    )
    return bench.coordinator.join_group(request, CLIENT)


def _commit(
    bench: CoordinatorBench, group_id: str, offset: int, topic_id: bytes = NULL_UUID
) -> OffsetCommitResponse | Deferred[OffsetCommitResponse]:
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    topic = OffsetCommitRequestTopic(topic_id=topic_id, name="t", partitions=[partition])
    return bench.coordinator.commit_offsets(OffsetCommitRequest(group_id=group_id, topics=[topic]), 10)


def _fetch(bench: CoordinatorBench, group_id: str) -> Deferred[tuple[int, int]]:
    """(error of the group, committed offset)."""
    asked = OffsetFetchRequestGroup(
        group_id=group_id, topics=[OffsetFetchRequestTopics(name="t", partition_indexes=[0])]
    )
    result: Deferred[tuple[int, int]] = Deferred()
    bench.coordinator.fetch_offsets(asked, require_stable=False).on_complete(
        lambda group: result.complete(
            (group.error_code, group.topics[0].partitions[0].committed_offset if group.topics else -2)
        )
    )
    return result


def _value(outcome: object) -> object:
    """What an answer is, be it there at once or deferred."""
    return outcome.value if isinstance(outcome, Deferred) else outcome


def _commit_error(outcome: OffsetCommitResponse | Deferred[OffsetCommitResponse]) -> int:
    response = outcome.value if isinstance(outcome, Deferred) else outcome
    return response.topics[0].partitions[0].error_code


def _stable_member(bench: CoordinatorBench, group_id: str) -> str:
    """A Stable group of one, generation 1."""
    first = _join(bench, group_id)
    assert isinstance(first, Deferred)
    member_id = first.value.member_id
    _join(bench, group_id, member_id)
    bench.advance(0)
    reply = _sync(bench, group_id, member_id, 1)
    bench.run()
    assert isinstance(reply, Deferred)
    assert reply.value.assignment == b"mine"
    return member_id


def _sync(
    bench: CoordinatorBench, group_id: str, member_id: str, generation: int
) -> SyncGroupResponse | Deferred[SyncGroupResponse]:
    return bench.coordinator.sync_group(
        SyncGroupRequest(
            group_id=group_id,
            generation_id=generation,
            member_id=member_id,
            assignments=[SyncGroupRequestAssignment(member_id=member_id, assignment=b"mine")],
        )
    )


def _heartbeat(bench: CoordinatorBench, group_id: str, member_id: str, generation: int = 1) -> ErrorCode:
    return bench.coordinator.heartbeat(
        HeartbeatRequest(group_id=group_id, member_id=member_id, generation_id=generation)
    )


def test_coordinator_that_does_not_lead_the_partition_says_so() -> None:
    """NOT_COORDINATOR everywhere: the client looks for the right broker."""
    bench = CoordinatorBench(partitions=2)
    index = partition_for("g", 2)
    bench.elect(1 - index)
    assert _value(_join(bench, "g")) == JoinGroupResponse(error_code=ErrorCode.NOT_COORDINATOR)
    assert _value(_sync(bench, "g", "m", 1)) == SyncGroupResponse(error_code=ErrorCode.NOT_COORDINATOR)
    assert _heartbeat(bench, "g", "m") == ErrorCode.NOT_COORDINATOR
    assert _commit_error(_commit(bench, "g", 1)) == ErrorCode.NOT_COORDINATOR
    assert _fetch(bench, "g").value == (ErrorCode.NOT_COORDINATOR, -2)
    leave = bench.coordinator.leave_group(
        LeaveGroupRequest(group_id="g", members=[MemberIdentity(member_id="m")])
    )
    assert leave.error_code == ErrorCode.NOT_COORDINATOR  # type: ignore[union-attr]
    deleted = bench.coordinator.delete_offsets(OffsetDeleteRequest(group_id="g"))
    assert deleted.error_code == ErrorCode.NOT_COORDINATOR  # type: ignore[union-attr]
    assert bench.coordinator.delete_group("g").value == ErrorCode.NOT_COORDINATOR
    assert bench.coordinator.describe_group("g", 6).value.error_code == ErrorCode.NOT_COORDINATOR
    assert bench.coordinator.group("g") is None


def test_coordinator_refuses_members_of_a_group_without_a_name() -> None:
    """INVALID_GROUP_ID for membership; offsets of the nameless group are an old habit that Kafka still serves."""
    bench = CoordinatorBench()
    bench.elect_all()
    invalid = ErrorCode.INVALID_GROUP_ID
    assert _join(bench, "").error_code == invalid  # type: ignore[union-attr]
    assert _sync(bench, "", "m", 1).error_code == invalid  # type: ignore[union-attr]
    assert _heartbeat(bench, "", "m") == invalid
    leave = bench.coordinator.leave_group(LeaveGroupRequest(group_id=""))
    assert leave.error_code == invalid  # type: ignore[union-attr]
    deleted = bench.coordinator.delete_offsets(OffsetDeleteRequest(group_id=""))
    assert deleted.error_code == invalid  # type: ignore[union-attr]
    reply = _commit(bench, "", 4)
    bench.run()
    assert _commit_error(reply) == ErrorCode.NONE
    assert _fetch(bench, "").value == (ErrorCode.NONE, 4)


def test_coordinator_finds_a_groups_partition_as_kafka_does() -> None:
    """By the number of partitions the topic has, or will have once it is made."""
    bench = CoordinatorBench(partitions=7)
    assert bench.coordinator.partition_for("hello") == 99162322 % 7
    bench.image = type(bench.image)("bench")
    assert bench.coordinator.partition_for("hello") == 99162322 % 50


def test_coordinator_answers_commits_when_they_are_durable() -> None:
    """One turn to append, then the group commit."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    reply = _commit(bench, "g", 1)
    assert isinstance(reply, Deferred)
    bench.run()
    assert not reply.done
    bench.commit_appends()
    assert _commit_error(reply) == ErrorCode.NONE


def test_coordinator_appends_the_writes_of_one_turn_together() -> None:
    """A hundred consumers that commit at once cost one batch."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    for index in range(100):
        _commit(bench, f"g{index}", index)
    bench.run()
    assert bench.appended == 1


def test_coordinator_shows_nothing_that_might_still_be_lost() -> None:
    """A fetch behind a commit that is being stored waits for it."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    _commit(bench, "g", 1)
    bench.run()
    fetched = _fetch(bench, "g")
    listed = bench.coordinator.list_groups(ListGroupsRequest())
    described = bench.coordinator.describe_group("g", 6)
    assert [fetched.done, listed.done, described.done] == [False, False, False]
    bench.commit_appends()
    assert fetched.value == (ErrorCode.NONE, 1)
    assert [group.group_id for group in listed.value.groups] == ["g"]
    assert described.value.group_state == "Empty"
    assert _fetch(bench, "g").done


def test_coordinator_tells_the_last_to_leave_once_that_is_stored() -> None:
    """The group is empty as of then; others who leave need not wait."""
    bench = CoordinatorBench()
    bench.elect_all()
    member_id = _stable_member(bench, "g")
    bench.auto_commit = False
    reply = bench.coordinator.leave_group(
        LeaveGroupRequest(group_id="g", members=[MemberIdentity(member_id=member_id)])
    )
    assert isinstance(reply, Deferred)
    bench.run()
    assert not reply.done
    bench.commit_appends()
    assert reply.value.members[0].error_code == ErrorCode.NONE


def test_coordinator_takes_back_what_a_full_disk_refuses_and_goes_on() -> None:
    """No reload, members stay; when space returns so does everything."""
    bench = CoordinatorBench()
    bench.elect_all()
    member_id = _stable_member(bench, "g")
    _commit(bench, "h", 1)
    bench.run()
    bench.replicas[0].refuse = ErrorCode.KAFKA_STORAGE_ERROR
    reply = _commit(bench, "h", 2)
    bench.run()
    assert _commit_error(reply) == ErrorCode.NOT_COORDINATOR
    assert _fetch(bench, "h").value == (ErrorCode.NONE, 1)
    assert _heartbeat(bench, "g", member_id) == ErrorCode.NONE
    bench.replicas[0].refuse = None
    reply = _commit(bench, "h", 3)
    bench.run()
    assert _commit_error(reply) == ErrorCode.NONE


def test_coordinator_gives_readers_nothing_that_may_be_taken_back() -> None:
    """A commit that came after the question is on its way when the one before it is stored."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    _commit(bench, "h", 2)
    bench.run()
    waiting = _fetch(bench, "h")
    _commit(bench, "h", 3)
    bench.run()
    assert not waiting.done
    bench.commit_appends(at_most=1)
    assert waiting.value == (ErrorCode.NONE, 2)
    later = _fetch(bench, "h")
    assert not later.done
    bench.commit_appends(at_most=1)
    assert later.value == (ErrorCode.NONE, 3)


def test_coordinator_gives_readers_nothing_that_was_taken_back() -> None:
    """What was refused while they waited is not what they get."""
    bench = CoordinatorBench()
    bench.elect_all()
    _commit(bench, "h", 1)
    bench.run()
    bench.replicas[0].refuse = ErrorCode.KAFKA_STORAGE_ERROR
    _commit(bench, "h", 2)
    waiting = _fetch(bench, "h")
    assert not waiting.done
    bench.run()
    assert waiting.value == (ErrorCode.NONE, 1)


def test_coordinator_reads_the_shard_again_when_an_append_is_in_doubt() -> None:
    """Not durable in time: only the log knows, so it is asked once that is committed; stable members do not notice."""
    bench = CoordinatorBench()
    bench.elect_all()
    member_id = _stable_member(bench, "g")
    bench.auto_commit = False
    reply = _commit(bench, "h", 5)
    bench.run()
    waiting = _fetch(bench, "h")
    bench.commit_appends(error=ErrorCode.REQUEST_TIMED_OUT)
    assert _commit_error(reply) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert waiting.value[0] == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert _fetch(bench, "h").value[0] == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert _heartbeat(bench, "g", member_id) == ErrorCode.NONE
    bench.replicas[0].high_watermark = bench.replicas[0].log.log_end_offset
    bench.advance(GROUP_READY_CHECK_MS)
    assert _fetch(bench, "h").value == (ErrorCode.NONE, 5), "it was in the log after all"
    assert _heartbeat(bench, "g", member_id) == ErrorCode.NONE


def test_coordinator_does_not_serve_a_shard_whose_log_is_done_for() -> None:
    """After a failed fsync nothing can be promised any more."""
    bench = CoordinatorBench(auto_commit=False)
    bench.elect_all()
    reply = _commit(bench, "g", 5)
    bench.run()
    bench.replicas[0].offline_reason = "fsync failed"
    bench.commit_appends(error=ErrorCode.KAFKA_STORAGE_ERROR)
    assert _commit_error(reply) == ErrorCode.NOT_COORDINATOR
    assert _fetch(bench, "g").value[0] == ErrorCode.NOT_COORDINATOR


def test_coordinator_that_resigns_tells_everybody_who_waits() -> None:
    """Parked joins, parked syncs, commits on their way: NOT_COORDINATOR."""
    bench = CoordinatorBench(GroupConfig(initial_rebalance_delay_ms=3_000))  # type: ignore[arg-type]
    bench.elect_all()
    first = _join(bench, "g")
    assert isinstance(first, Deferred)
    parked = _join(bench, "g", first.value.member_id)
    bench.auto_commit = False
    commit = _commit(bench, "h", 1)
    bench.run()
    bench.coordinator.on_resigned(0, 0)
    assert isinstance(parked, Deferred)
    assert parked.value.error_code == ErrorCode.NOT_COORDINATOR
    assert _commit_error(commit) == ErrorCode.NOT_COORDINATOR
    assert _join(bench, "g").error_code == ErrorCode.NOT_COORDINATOR  # type: ignore[union-attr]
    bench.commit_appends()
    bench.advance(60_000)


def test_coordinator_that_is_elected_again_has_what_was_stored() -> None:
    """The same log, the same groups; parked requests of the old life do not come back."""
    bench = CoordinatorBench()
    bench.elect_all()
    member_id = _stable_member(bench, "g")
    bench.coordinator.on_resigned(0, 0)
    bench.elect(0, epoch=1)
    bench.run()
    assert _heartbeat(bench, "g", member_id) == ErrorCode.NONE
    view = bench.coordinator.group("g")
    assert view is not None
    assert view.members[0].assignment == b"mine"


def test_coordinator_loads_in_slices_and_says_that_it_is_loading() -> None:
    """Requests meanwhile get COORDINATOR_LOAD_IN_PROGRESS, heartbeats NONE; every turn of the loop is short."""
    bench = CoordinatorBench()
    bench.elect_all()
    member_id = _stable_member(bench, "g")
    for index in range(300):
        _commit(bench, f"h{index}", index)
        bench.run()
    bench.coordinator.on_resigned(0, 0)
    bench.clock.step_ms = 0.5
    bench.elect(0, epoch=1)
    turns = 0
    loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    while _fetch(bench, "h7").value[0] == loading:
        assert _join(bench, "g").error_code == loading  # type: ignore[union-attr]
        assert _heartbeat(bench, "g", member_id) == ErrorCode.NONE
        assert bench.coordinator.list_groups(ListGroupsRequest()).value.error_code == loading
        bench.turn()
        turns += 1
        assert turns < 1_000
    assert turns > 20
    bench.clock.step_ms = 0
    assert _fetch(bench, "h7").value == (ErrorCode.NONE, 7)


def test_coordinator_forgets_topics_deleted_while_it_was_loading() -> None:
    """The news must not be lost between the old shard and the new."""
    bench = CoordinatorBench()
    bench.elect_all()
    for index in range(50):
        _commit(bench, f"h{index}", index, bytes(15) + b"\x01")
        bench.run()
    bench.coordinator.on_resigned(0, 0)
    bench.clock.step_ms = 1
    bench.elect(0, epoch=1)
    bench.turn()
    assert _fetch(bench, "h7").value[0] == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    bench.coordinator.on_topics_deleted([("t", Uuid(bytes(15) + b"\x01"))])
    bench.clock.step_ms = 0
    bench.run()
    assert _fetch(bench, "h7").value == (ErrorCode.NONE, -1)


def test_coordinator_whose_log_cannot_be_read_serves_nobody_from_it() -> None:
    """Offsets missing would make consumers skip or repeat."""
    bench = CoordinatorBench()
    bench.elect_all()
    _commit(bench, "g", 1)
    bench.run()
    bench.coordinator.on_resigned(0, 0)
    bench.replicas[0].log.batches[0][-1] ^= 1
    bench.elect(0, epoch=1)
    bench.run()
    assert _fetch(bench, "g").value[0] == ErrorCode.NOT_COORDINATOR
    assert bench.coordinator.list_groups(ListGroupsRequest()).value.groups == []


def test_coordinator_keeps_one_timer_however_many_members_there_are() -> None:
    """For the earliest deadline of all shards; a heartbeat sets none."""
    bench = CoordinatorBench(partitions=5)
    bench.elect_all()
    members = {f"g{index}": _stable_member(bench, f"g{index}") for index in range(20)}
    assert bench.timers == 1
    for group_id, member_id in members.items():
        for _ in range(50):
            _heartbeat(bench, group_id, member_id)
    assert bench.timers == 1
    bench.advance(10_000)
    states = {bench.coordinator.group(group_id).state for group_id in members}  # type: ignore[union-attr]
    assert states == {"Empty"}


def test_coordinator_stopped_answers_nobody_and_leaves_no_timer() -> None:
    """COORDINATOR_NOT_AVAILABLE until the connections close."""
    bench = CoordinatorBench()
    bench.elect_all()
    _stable_member(bench, "g")
    bench.coordinator.stop()
    stopped = ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert _join(bench, "g").error_code == stopped  # type: ignore[union-attr]
    assert _heartbeat(bench, "g", "m") == stopped
    assert bench.coordinator.list_groups(ListGroupsRequest()).value.error_code == stopped
    assert bench.timers == 0
    bench.elect(0)
    assert _join(bench, "g").error_code == stopped  # type: ignore[union-attr]


def test_coordinator_takes_new_settings_at_once() -> None:
    """Dynamic broker settings reach the groups that exist."""
    bench = CoordinatorBench()
    bench.elect_all()
    _stable_member(bench, "g")
    bench.coordinator.update_config(GroupConfig(group_size_max=1))
    reply = _join(bench, "g")
    assert isinstance(reply, Deferred)
    assert reply.value.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED


def test_coordinator_may_be_asked_again_while_it_answers() -> None:
    """An answer may bring the connection's next request at once: a sync inside the join's answer, say."""
    bench = CoordinatorBench(GroupConfig(initial_rebalance_delay_ms=0))
    bench.elect_all()
    ids = []
    for _ in range(3):
        first = _join(bench, "g")
        assert isinstance(first, Deferred)
        ids.append(first.value.member_id)
    syncs: list[SyncGroupResponse | Deferred[SyncGroupResponse]] = []
    for member_id in ids:
        joined = _join(bench, "g", member_id)
        assert isinstance(joined, Deferred)
        joined.on_complete(
            lambda answer: syncs.append(_sync(bench, "g", answer.member_id, answer.generation_id))
        )
    bench.advance(6_000)
    errors = [_value(sync).error_code for sync in syncs]  # type: ignore[attr-defined]
    assert errors == [ErrorCode.NONE] * 3
