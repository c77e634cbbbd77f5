"""From one generation to the next. Reference: KIP-134 (initial delay), Kafka's GroupMetadataManager."""

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.coordinator.config import GroupConfig
from moldau_broker.testing.groups import GroupBench


def test_rebalance_of_an_empty_group_waits_the_initial_delay() -> None:
    """3 s by default, although everybody who is known has joined."""
    bench = GroupBench()
    reply = bench.join("g", bench.new_id())
    bench.advance(2_999)
    assert not reply.done
    bench.advance(1)
    assert reply.value.generation_id == 1


def test_rebalance_delay_is_extended_while_members_keep_coming() -> None:
    """Each member that joins within the delay earns another one, up to the rebalance timeout."""
    bench = GroupBench()
    first = bench.join("g", bench.new_id(rebalance_ms=10_000), rebalance_ms=10_000)
    for _ in range(2):
        bench.advance(2_000)
        bench.join("g", bench.new_id(rebalance_ms=10_000), rebalance_ms=10_000)
        bench.advance(1_000)
        assert not first.done
    bench.advance(3_000)
    assert first.value.generation_id == 1
    assert len(first.value.members) == 3


def test_rebalance_delay_ends_with_the_rebalance_timeout() -> None:
    """However many come, the first member does not wait longer than it asked for."""
    bench = GroupBench()
    first = bench.join("g", bench.new_id(rebalance_ms=8_000), rebalance_ms=8_000)
    for _ in range(7):
        bench.advance(1_000)
        bench.join("g", bench.new_id(rebalance_ms=8_000), rebalance_ms=8_000)
        assert not first.done
    bench.advance(1_000)
    assert first.done


def test_rebalance_delay_of_zero_still_answers_by_the_timer() -> None:
    """`group.initial.rebalance.delay.ms=0`: what tests and quick starts set."""
    bench = GroupBench(GroupConfig(initial_rebalance_delay_ms=0))
    reply = bench.join("g", bench.new_id())
    bench.advance(0)
    assert reply.value.generation_id == 1


def test_rebalance_of_a_group_with_members_ends_when_all_have_rejoined() -> None:
    """No delay: the last one to join completes it."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    newcomer = bench.join("g", bench.new_id())
    rejoined = bench.join("g", leader)
    assert not newcomer.done
    last = bench.join("g", follower)
    assert {reply.value.generation_id for reply in (newcomer, rejoined, last)} == {2}


def test_rebalance_waits_for_ids_that_were_handed_out() -> None:
    """A pending member is about to join; two rebalances in a row would be worse than a short wait."""
    bench = GroupBench()
    (leader,) = bench.stable_group(1)
    pending = bench.new_id("g", session_ms=20_000)
    rejoined = bench.join("g", leader)
    assert not rejoined.done
    joined = bench.join("g", pending)
    assert rejoined.value.generation_id == joined.value.generation_id == 2


def test_rebalance_goes_on_without_a_pending_member_that_never_comes() -> None:
    """Its id lapses with its session timeout."""
    bench = GroupBench()
    (leader,) = bench.stable_group(1)
    bench.new_id("g", session_ms=7_000)
    rejoined = bench.join("g", leader)
    bench.advance(6_999)
    assert not rejoined.done
    bench.advance(1)
    assert rejoined.value.generation_id == 2


def test_rebalance_drops_members_that_do_not_rejoin_in_time() -> None:
    """The longest rebalance timeout of all members counts."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2, rebalance_ms=30_000, session_ms=60_000)
    rejoined = bench.join("g", leader, rebalance_ms=30_000)
    bench.advance(29_999)
    assert not rejoined.done
    bench.advance(1)
    assert rejoined.value.generation_id == 2
    assert [member.member_id for member in rejoined.value.members] == [leader]
    assert bench.heartbeat("g", follower, 1) == ErrorCode.UNKNOWN_MEMBER_ID


def test_rebalance_elects_another_leader_if_the_old_one_is_gone() -> None:
    """Somebody who has rejoined must compute the assignment."""
    bench = GroupBench()
    _, follower = bench.stable_group(2, session_ms=60_000)
    rejoined = bench.join("g", follower, topics=("u",))
    bench.advance(60_000)
    assert rejoined.value.leader == follower


def test_rebalance_begins_when_a_member_falls_silent() -> None:
    """No heartbeat within the session timeout: it is out, the others share its partitions."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2, session_ms=10_000)
    bench.advance(9_000)
    assert bench.heartbeat("g", leader, 1) == ErrorCode.NONE
    bench.advance(1_000)
    assert bench.view().state == "PreparingRebalance"
    assert bench.heartbeat("g", follower, 1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.join("g", leader).value.generation_id == 2


def test_rebalance_ends_empty_when_everybody_falls_silent() -> None:
    """The generation still counts up, and that is stored with the time the group became empty."""
    bench = GroupBench()
    bench.stable_group(2, session_ms=10_000, rebalance_ms=15_000)
    bench.advance(60_000)
    view = bench.view()
    assert (view.state, view.generation, view.members) == ("Empty", 2, ())
    assert bench.replica().view("g") == view


def test_rebalance_never_expires_a_member_whose_join_is_parked() -> None:
    """It cannot send heartbeats meanwhile, or need not."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2, session_ms=6_000, rebalance_ms=120_000)
    rejoined = bench.join("g", leader, session_ms=6_000, rebalance_ms=120_000)
    for _ in range(20):
        bench.advance(5_000)
        assert bench.heartbeat("g", follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert not rejoined.done
    assert bench.join("g", follower).value.generation_id == 2
    assert rejoined.value.error_code == ErrorCode.NONE


def test_rebalance_drops_a_new_member_whose_join_is_parked_for_five_minutes() -> None:
    """A client that went away and came back many times must not hold the group up for ever."""
    bench = GroupBench()
    bench.stable_group(1, session_ms=1_800_000, rebalance_ms=1_800_000)
    newcomer = bench.join("g", bench.new_id())
    bench.advance(299_999)
    assert not newcomer.done
    bench.advance(1)
    assert newcomer.value.error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_rebalance_starts_again_if_a_member_dies_between_join_and_sync() -> None:
    """CompletingRebalance: its partitions would be assigned to nobody."""
    bench = GroupBench()
    ids = [bench.new_id(session_ms=10_000), bench.new_id(session_ms=10_000)]
    for member_id in ids:
        bench.join("g", member_id, session_ms=10_000)
    bench.advance(6_000)
    waiting = bench.sync("g", ids[1], 1)
    bench.advance(10_000)
    assert waiting.value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert bench.view().state == "PreparingRebalance"
    assert bench.join("g", ids[1]).value.generation_id == 2


def test_rebalance_drops_members_that_never_ask_for_their_assignment() -> None:
    """Heartbeats alone do not do: after the rebalance timeout whoever has not synced is out."""
    bench = GroupBench()
    ids = [bench.new_id(rebalance_ms=20_000), bench.new_id(rebalance_ms=20_000)]
    for member_id in ids:
        bench.join("g", member_id, rebalance_ms=20_000)
    bench.advance(6_000)
    assert bench.sync("g", ids[0], 1, {ids[0]: b"x"}).value.assignment == b"x"
    for _ in range(4):
        bench.advance(4_000)
        assert bench.heartbeat("g", ids[0], 1) == ErrorCode.NONE
        assert bench.heartbeat("g", ids[1], 1) == ErrorCode.NONE
    bench.advance(4_000)
    assert bench.view().state == "PreparingRebalance"
    assert [member.member_id for member in bench.view().members] == [ids[0]]


def test_rebalance_keeps_everybody_who_has_synced_when_the_time_is_up() -> None:
    """The sync timer has nothing to say once all have their assignment."""
    bench = GroupBench()
    ids = bench.stable_group(2, rebalance_ms=10_000, session_ms=30_000)
    bench.advance(20_000)
    view = bench.view()
    assert (view.state, {member.member_id for member in view.members}) == ("Stable", set(ids))


def test_rebalance_after_loading_begins_for_a_group_that_is_too_large_now() -> None:
    """`group.max.size` was lowered while the broker was down."""
    bench = GroupBench()
    ids = bench.stable_group(3)
    bench.config = GroupConfig(group_size_max=2)
    bench.restart()
    assert bench.view().state == "PreparingRebalance"
    joins = [bench.join("g", member_id) for member_id in ids]
    assert [reply.done for reply in joins] == [False, False, True]
    assert joins[2].value.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED


def test_rebalance_never_loses_a_member_that_joined_while_another_rebalance_was_under_way() -> None:
    """Concurrent rebalances: a join during CompletingRebalance is parked, not dropped, until the next generation."""
    bench = GroupBench()
    leader, follower = bench.stable_group(2)
    bench.join("g", leader)
    bench.join("g", follower)
    assert bench.view().state == "CompletingRebalance"
    late = bench.join("g", bench.new_id())
    assert bench.sync("g", leader, 2, {}).value.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert not late.done
    bench.join("g", leader)
    bench.join("g", follower)
    assert late.value.generation_id == 3
    assert len(bench.view().members) == 3


@pytest.mark.parametrize("members", [1, 5, 50])
def test_rebalance_gives_every_member_the_same_generation_and_leader(members: int) -> None:
    """One generation is live at a time."""
    bench = GroupBench()
    ids = [bench.new_id() for _ in range(members)]
    replies = [bench.join("g", member_id).on_complete for member_id in ids]
    seen: list[tuple[int, str]] = []
    for on_complete in replies:
        on_complete(lambda response: seen.append((response.generation_id, response.leader)))
    bench.advance(6_000)
    assert len(seen) == members
    assert len(set(seen)) == 1
