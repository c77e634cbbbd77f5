"""LeaveGroup. Reference: KIP-345 (batches), KIP-800 (reasons), Kafka's GroupMetadataManager."""

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.groups import GroupBench
from moldau_broker.wire.messages.leave_group import MemberIdentity


def test_leave_starts_a_rebalance_of_the_others() -> None:
    """At once, without waiting for the session timeout."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    (left,) = bench.leave("g", follower)
    assert (left.error_code, left.member_id) == (ErrorCode.NONE, follower)
    assert bench.heartbeat("g", leader, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert bench.join("g", leader).value.generation_id == 2


def test_leave_of_the_last_member_empties_the_group_at_once() -> None:
    """And that is stored: the retention of its offsets begins now."""
    bench = GroupBench()
    (only,) = bench.stable_group(1)
    bench.advance(5_000)
    bench.leave("g", only)
    view = bench.view()
    assert (view.state, view.generation, view.protocol_type, view.protocol_name) == (
        "Empty",
        2,
        "consumer",
        "",
    )
    assert bench.replica().view("g") == view


def test_leave_of_several_members_is_one_rebalance_and_one_result_each() -> None:
    """Unknown ones are told so and do not spoil it for the rest."""
    bench = GroupBench()
    ids = bench.stable_group(3)
    results = bench.leave("g", ids[1], "stranger", ids[2])
    assert [result.error_code for result in results] == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.NONE,
    ]
    assert bench.join("g", ids[0]).value.generation_id == 2


def test_leave_of_a_group_nobody_knows_is_an_error_for_each_member() -> None:
    """UNKNOWN_MEMBER_ID, as for a stranger."""
    bench = GroupBench()
    assert [result.error_code for result in bench.leave("nowhere", "a", "b")] == [
        ErrorCode.UNKNOWN_MEMBER_ID
    ] * 2


def test_leave_of_a_pending_id_lets_a_waiting_rebalance_end() -> None:
    """Nobody has to wait for it any more."""
    bench = GroupBench()
    (leader,) = bench.stable_group(1)
    pending = bench.new_id()
    rejoined = bench.join("g", leader)
    assert not rejoined.done
    (left,) = bench.leave("g", pending)
    assert left.error_code == ErrorCode.NONE
    assert rejoined.value.generation_id == 2


def test_leave_answers_the_members_parked_join() -> None:
    """UNKNOWN_MEMBER_ID: if it is still there it may come back as a new member."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    parked = bench.join("g", leader)
    bench.leave("g", leader)
    assert (parked.value.error_code, parked.value.member_id) == (ErrorCode.UNKNOWN_MEMBER_ID, "")
    assert bench.join("g", follower).value.leader == follower


def test_leave_answers_the_members_parked_sync() -> None:
    """Its connection must not wait for an assignment that will never be made for it."""
    bench = GroupBench()
    ids = [bench.new_id(), bench.new_id()]
    for member_id in ids:
        bench.join("g", member_id)
    bench.advance(6_000)
    parked = bench.sync("g", ids[1], 1)
    bench.leave("g", ids[1])
    assert parked.value.error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_leave_during_the_initial_delay_does_not_cut_it_short() -> None:
    """Others may still be on their way."""
    bench = GroupBench()
    ids = [bench.new_id(), bench.new_id()]
    stays = bench.join("g", ids[0])
    bench.join("g", ids[1])
    bench.leave("g", ids[1])
    assert not stays.done
    bench.advance(6_000)
    assert [member.member_id for member in stays.value.members] == [ids[0]]


def test_leave_says_why() -> None:
    """The reason (v5) goes to the log, bounded."""
    bench = GroupBench()
    (only,) = bench.stable_group(1)
    bench.leave("g", MemberIdentity(member_id=only, reason="going home " + "z" * 1_000))
    (notice,) = [str(notice) for notice in bench.told if "going home" in str(notice)]
    assert notice.count("z") < 256
