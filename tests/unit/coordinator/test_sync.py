"""SyncGroup and Heartbeat. Reference: Kafka's GroupMetadataManager, KIP-559."""

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.testing.groups import GroupBench


def _completing(bench: GroupBench, members: int = 2) -> list[str]:
    """A group in CompletingRebalance, generation 1; the leader's id first."""
    ids = [bench.new_id() for _ in range(members)]
    replies = [bench.join("g", member_id) for member_id in ids]
    bench.advance(6_000)
    assert replies[0].value.leader == ids[0]
    return ids


def test_sync_waits_for_the_leaders_assignment_to_be_stored() -> None:
    """Followers and leader alike; the answer is durable when it leaves (an fsync away)."""
    bench = GroupBench()
    leader, follower = _completing(bench)
    bench.auto_store = False
    theirs = bench.sync("g", follower, 1)
    ours = bench.sync("g", leader, 1, {leader: b"L", follower: b"F"})
    assert not theirs.done
    assert not ours.done
    assert bench.view().state == "CompletingRebalance"
    bench.store()
    assert (ours.value.assignment, theirs.value.assignment) == (b"L", b"F")
    assert (theirs.value.protocol_type, theirs.value.protocol_name) == ("consumer", "range")
    assert bench.view().state == "Stable"


def test_sync_after_the_group_is_stable_answers_at_once() -> None:
    """A follower that comes late, or asks twice."""
    bench = GroupBench()
    leader, follower = _completing(bench)
    bench.sync("g", leader, 1, {follower: b"F"})
    assert bench.sync("g", follower, 1).value.assignment == b"F"
    assert bench.sync("g", follower, 1).value.assignment == b"F"


def test_sync_gives_members_the_leader_forgot_an_empty_assignment() -> None:
    """They own nothing, but they are members."""
    bench = GroupBench()
    leader, follower = _completing(bench)
    bench.sync("g", leader, 1, {leader: b"L"})
    answer = bench.sync("g", follower, 1).value
    assert (answer.error_code, answer.assignment) == (ErrorCode.NONE, b"")


def test_sync_ignores_assignments_for_strangers() -> None:
    """A member that left meanwhile, say."""
    bench = GroupBench()
    (leader,) = _completing(bench, 1)
    bench.sync("g", leader, 1, {leader: b"L", "stranger": b"S"})
    assert [member.member_id for member in bench.view().members] == [leader]


def test_sync_of_another_generation_is_illegal() -> None:
    """Neither an older one nor one that was never."""
    bench = GroupBench()
    leader, _ = _completing(bench)
    for generation in (0, 2, -1):
        assert bench.sync("g", leader, generation).value.error_code == ErrorCode.ILLEGAL_GENERATION


def test_sync_from_strangers_and_of_empty_or_unknown_groups_is_unknown_member() -> None:
    """The client forgets its id and joins anew."""
    bench = GroupBench()
    _completing(bench)
    bench.new_id("empty")
    for group_id, member_id in (("g", "stranger"), ("empty", "x"), ("nowhere", "x")):
        reply = bench.sync(group_id, member_id, 1).value
        assert reply.error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_sync_naming_another_protocol_is_inconsistent() -> None:
    """v5 says what the member believes the group agreed on (KIP-559); older clients say nothing."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    wrong = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert bench.sync("g", follower, 1, protocol_name="sticky").value.error_code == wrong
    assert bench.sync("g", follower, 1, protocol_type="connect").value.error_code == wrong
    old = bench.sync("g", leader, 1, protocol_type=None, protocol_name=None).value
    assert old.error_code == ErrorCode.NONE


def test_sync_during_a_rebalance_says_so() -> None:
    """PreparingRebalance: join again."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    bench.join("g", leader)
    assert bench.sync("g", follower, 1).value.error_code == ErrorCode.REBALANCE_IN_PROGRESS


def test_sync_whose_generation_ended_while_it_was_being_stored_is_told_to_rejoin() -> None:
    """A member joined between write and commit: the old assignment must not make the group Stable."""
    bench = GroupBench()
    leader, follower = _completing(bench)
    bench.auto_store = False
    ours = bench.sync("g", leader, 1, {leader: b"L"})
    bench.join("g", bench.new_id())
    assert ours.value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    bench.store()
    assert bench.view().state == "PreparingRebalance"
    assert bench.view().members[0].assignment == b""
    assert bench.heartbeat("g", follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS


def test_sync_that_cannot_be_stored_fails_everybody_and_starts_a_rebalance() -> None:
    """Kafka's mapping: too large is UNKNOWN_SERVER_ERROR, a refusing log NOT_COORDINATOR."""
    bench = GroupBench(GroupConfig(write_bytes_max=2_000))
    leader, follower = _completing(bench)
    waiting = bench.sync("g", follower, 1)
    ours = bench.sync("g", leader, 1, {leader: bytes(3_000)})
    assert ours.value.error_code == waiting.value.error_code == ErrorCode.UNKNOWN_SERVER_ERROR
    assert bench.view().state == "PreparingRebalance"
    bench.join("g", leader)
    bench.join("g", follower)
    bench.auto_store = False
    ours = bench.sync("g", leader, 2, {leader: b"L"})
    assert bench.refuse(ErrorCode.KAFKA_STORAGE_ERROR)
    assert ours.value.error_code == ErrorCode.NOT_COORDINATOR
    assert bench.view().state == "PreparingRebalance"


def test_sync_twice_answers_the_parked_one() -> None:
    """The client that sent it has given it up; its connection must not wait for ever."""
    bench = GroupBench()
    leader, follower = _completing(bench)
    first = bench.sync("g", follower, 1)
    second = bench.sync("g", follower, 1)
    assert first.value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    bench.sync("g", leader, 1, {follower: b"F"})
    assert second.value.assignment == b"F"


def test_sync_of_a_leader_that_comes_again_does_not_change_the_assignment() -> None:
    """Its connection broke while the first was being stored: it joins again and computes another one.

    Members and the log say the same, or the next coordinator would give partitions to others in this generation.
    """
    bench = GroupBench()
    leader, follower = _completing(bench)
    bench.auto_store = False
    theirs = bench.sync("g", follower, 1)
    given_up = bench.sync("g", leader, 1, {leader: b"one", follower: b"two"})
    assert bench.join("g", leader).value.generation_id == 1
    ours = bench.sync("g", leader, 1, {leader: b"two", follower: b"one"})
    assert given_up.value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    bench.store()
    assert (ours.value.assignment, theirs.value.assignment) == (b"one", b"two")
    assert bench.replica().view("g") == bench.view("g")


def test_sync_parked_keeps_the_member_alive_and_its_session_begins_with_the_answer() -> None:
    """A slow leader is not the follower's fault."""
    bench = GroupBench()
    leader, follower = _completing(bench)
    waiting = bench.sync("g", follower, 1)
    for _ in range(4):
        bench.advance(9_000)
        assert bench.heartbeat("g", leader, 1) == ErrorCode.NONE
    bench.sync("g", leader, 1, {})
    assert waiting.value.error_code == ErrorCode.NONE
    bench.advance(9_999)
    assert bench.heartbeat("g", follower, 1) == ErrorCode.NONE


def test_sync_stores_what_another_coordinator_needs() -> None:
    """The record holds members, subscriptions, assignments, generation and leader."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    twin = bench.replica()
    assert twin.view("g") == bench.view("g")
    assert twin.heartbeat("g", follower, 1) == ErrorCode.NONE
    assert twin.sync("g", leader, 1).value.assignment == b"0"


def test_heartbeat_is_fine_between_join_and_sync() -> None:
    """CompletingRebalance: the member knows its generation, that is enough."""
    bench = GroupBench()
    leader, _ = _completing(bench)
    assert bench.heartbeat("g", leader, 1) == ErrorCode.NONE


def test_heartbeat_errors() -> None:
    """Who you are, which generation, whether a rebalance is on: in this order."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    assert bench.heartbeat("nowhere", "x", 1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.heartbeat("g", "stranger", 1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.heartbeat("g", leader, 1, "instance") == ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.heartbeat("g", leader, 2) == ErrorCode.ILLEGAL_GENERATION
    assert bench.heartbeat("g", leader, 1) == ErrorCode.NONE
    bench.join("g", leader)
    assert bench.heartbeat("g", follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS


def test_heartbeat_during_a_rebalance_keeps_the_member_alive() -> None:
    """A member that still finishes its work may rejoin later than its session timeout."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2, session_ms=10_000)
    bench.join("g", leader)
    for _ in range(3):
        bench.advance(9_000)
        assert bench.heartbeat("g", follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert bench.join("g", follower).value.error_code == ErrorCode.NONE
