"""Static members. Reference: KIP-345, KIP-814 (skip assignment), Kafka's GroupMetadataManager."""

from moldau_broker.base.errors import ErrorCode
from moldau_broker.testing.groups import GroupBench, subscription
from moldau_broker.wire.messages.leave_group import MemberIdentity


def _static_pair(bench: GroupBench) -> tuple[str, str]:
    """A Stable group of the instances "a" (leader) and "b"; gives their member ids."""
    first = bench.join("g", instance_id="a")
    second = bench.join("g", instance_id="b")
    bench.advance(6_000)
    ids = first.value.member_id, second.value.member_id
    assert first.value.leader == ids[0]
    bench.sync("g", ids[0], 1, {ids[0]: b"A", ids[1]: b"B"}, instance_id="a")
    bench.sync("g", ids[1], 1, instance_id="b")
    return ids


def test_static_member_joins_without_being_sent_back() -> None:
    """No MEMBER_ID_REQUIRED: the instance id already tells it from a retry. Its id begins with it."""
    bench = GroupBench()
    reply = bench.join("g", instance_id="a")
    bench.advance(3_000)
    assert reply.value.error_code == ErrorCode.NONE
    assert reply.value.member_id == "a-0001"
    assert reply.value.members[0].group_instance_id == "a"


def test_static_member_that_returns_takes_its_old_place_without_a_rebalance() -> None:
    """Same subscription, Stable group: a new member id, the same assignment, nobody else notices."""
    bench = GroupBench()
    first, second = _static_pair(bench)
    back = bench.join("g", instance_id="b")
    new_id = back.value.member_id
    assert new_id not in (first, second)
    assert (back.value.error_code, back.value.generation_id, back.value.leader) == (ErrorCode.NONE, 1, first)
    assert bench.view().state == "Stable"
    assert bench.sync("g", new_id, 1, instance_id="b").value.assignment == b"B"
    assert bench.heartbeat("g", first, 1, "a") == ErrorCode.NONE


def test_static_member_that_was_replaced_is_fenced() -> None:
    """FENCED_INSTANCE_ID on every request under the old id; without the instance id it is simply unknown."""
    bench = GroupBench()
    _, second = _static_pair(bench)
    new_id = bench.join("g", instance_id="b").value.member_id
    fenced = ErrorCode.FENCED_INSTANCE_ID
    assert bench.heartbeat("g", second, 1, "b") == fenced
    assert bench.sync("g", second, 1, instance_id="b").value.error_code == fenced
    assert bench.join("g", second, instance_id="b").value.error_code == fenced
    commit = bench.commit("g", {("t", 0): 1}, second, 1, instance_id="b").value
    assert commit.topics[0].partitions[0].error_code == fenced
    (left,) = bench.leave("g", MemberIdentity(member_id=second, group_instance_id="b"))
    assert left.error_code == fenced
    assert bench.heartbeat("g", second, 1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert bench.heartbeat("g", new_id, 1, "b") == ErrorCode.NONE


def test_static_replacement_is_answered_only_once_it_is_stored() -> None:
    """After a restart the new id must be the one that counts."""
    bench = GroupBench()
    _static_pair(bench)
    bench.auto_store = False
    back = bench.join("g", instance_id="b")
    assert not back.done
    bench.store()
    new_id = back.value.member_id
    assert new_id in {member.member_id for member in bench.replica().view("g").members}


def test_static_leader_that_returns_is_told_to_skip_the_assignment() -> None:
    """v9: it leads and sees the members, but has nothing to compute (KIP-814)."""
    bench = GroupBench()
    _static_pair(bench)
    back = bench.join("g", instance_id="a", version=9).value
    assert back.leader == back.member_id
    assert back.skip_assignment
    assert {member.group_instance_id for member in back.members} == {"a", "b"}


def test_static_leader_that_returns_before_v9_takes_itself_for_a_follower() -> None:
    """It is told its own old id as the leader, so it computes nothing."""
    bench = GroupBench()
    first, _ = _static_pair(bench)
    back = bench.join("g", instance_id="a", version=8).value
    assert back.leader == first != back.member_id
    assert not back.skip_assignment
    assert back.members == ()
    assert bench.sync("g", back.member_id, 1, instance_id="a").value.assignment == b"A"


def test_static_member_that_returns_with_another_protocol_choice_starts_a_rebalance() -> None:
    """If the group would choose another assignor now, assignment and protocol must agree again."""
    bench = GroupBench()
    blob = subscription("t")
    offers = [("range", blob), ("sticky", blob)]
    first = bench.join("g", instance_id="a", protocols=offers)
    bench.advance(3_000)
    bench.sync("g", first.value.member_id, 1, {}, instance_id="a")
    assert bench.view().protocol_name == "range"
    back = bench.join("g", instance_id="a", protocols=[("sticky", blob), ("range", blob)])
    assert back.value.generation_id == 2
    assert back.value.protocol_name == "sticky"


def test_static_member_that_returns_with_a_new_subscription_but_the_same_protocol_does_not_rebalance() -> (
    None
):
    """As Kafka: the leader will see the new subscription in the next rebalance."""
    bench = GroupBench()
    _static_pair(bench)
    back = bench.join("g", instance_id="b", topics=("t", "u"))
    assert back.value.generation_id == 1
    assert bench.view().state == "Stable"


def test_static_member_that_returns_between_join_and_sync_starts_a_rebalance() -> None:
    """The leader may have seen the old id and would assign to nobody."""
    bench = GroupBench()
    bench.join("g", instance_id="a")
    second = bench.join("g", instance_id="b")
    bench.advance(6_000)
    waiting = bench.sync("g", second.value.member_id, 1, instance_id="b")
    back = bench.join("g", instance_id="b")
    assert waiting.value.error_code == ErrorCode.FENCED_INSTANCE_ID
    assert not back.done
    assert bench.view().state == "PreparingRebalance"


def test_static_member_that_returns_while_its_old_join_is_parked_fences_it() -> None:
    """Two processes under one instance id: the younger one wins."""
    bench = GroupBench()
    old = bench.join("g", instance_id="a")
    new = bench.join("g", instance_id="a")
    assert old.value.error_code == ErrorCode.FENCED_INSTANCE_ID
    bench.advance(6_000)
    assert new.value.error_code == ErrorCode.NONE
    assert len(new.value.members) == 1


def test_static_members_are_not_dropped_for_missing_a_rebalance() -> None:
    """They go by their session timeout alone, so a restart may take longer than a rebalance."""
    bench = GroupBench()
    first = bench.join("g", instance_id="a", session_ms=600_000, rebalance_ms=10_000)
    second = bench.join("g", instance_id="b", session_ms=600_000, rebalance_ms=10_000)
    bench.advance(6_000)
    ids = first.value.member_id, second.value.member_id
    bench.sync("g", ids[0], 1, {}, instance_id="a")
    bench.sync("g", ids[1], 1, instance_id="b")
    rejoined = bench.join("g", ids[0], instance_id="a", session_ms=600_000, rebalance_ms=10_000)
    bench.advance(10_000)
    assert rejoined.value.generation_id == 2
    assert {member.group_instance_id for member in rejoined.value.members} == {"a", "b"}


def test_static_members_that_all_miss_a_rebalance_get_another_round() -> None:
    """With nobody joined there is nobody to lead: the join phase is extended until sessions end."""
    bench = GroupBench()
    first = bench.join("g", instance_id="a", session_ms=100_000, rebalance_ms=10_000)
    bench.advance(6_000)
    bench.sync("g", first.value.member_id, 1, {}, instance_id="a")
    other = bench.join("g", bench.new_id(rebalance_ms=10_000), rebalance_ms=10_000)
    bench.leave("g", bench.view().members[1].member_id)
    assert other.value.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    bench.advance(50_000)
    assert bench.view().state == "PreparingRebalance"
    back = bench.join("g", instance_id="a", rebalance_ms=10_000)
    assert back.value.generation_id == 2


def test_static_members_are_gone_after_their_session_timeout() -> None:
    """A static member that stays away is missed in the end."""
    bench = GroupBench()
    reply = bench.join("g", instance_id="a", session_ms=30_000)
    bench.advance(6_000)
    bench.sync("g", reply.value.member_id, 1, {}, instance_id="a")
    bench.advance(29_000)
    assert bench.view().state == "Stable"
    bench.advance(1_000)
    assert bench.view().members == ()


def test_static_member_may_be_removed_by_its_instance_id_alone() -> None:
    """How administrators remove a member (`removeMembersFromConsumerGroup`)."""
    bench = GroupBench()
    first, second = _static_pair(bench)
    (left,) = bench.leave("g", MemberIdentity(member_id="", group_instance_id="b", reason="replaced"))
    assert (left.error_code, left.group_instance_id) == (ErrorCode.NONE, "b")
    assert [member.member_id for member in bench.view().members] == [first]
    assert bench.heartbeat("g", second, 1, "b") == ErrorCode.UNKNOWN_MEMBER_ID
    (unknown,) = bench.leave("g", MemberIdentity(member_id="", group_instance_id="zzz"))
    assert unknown.error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_static_member_survives_a_restart_of_the_broker() -> None:
    """Its instance id is in the group's record."""
    bench = GroupBench()
    _static_pair(bench)
    bench.restart()
    back = bench.join("g", instance_id="b")
    assert back.value.generation_id == 1
    assert bench.sync("g", back.value.member_id, 1, instance_id="b").value.assignment == b"B"


def test_static_replacement_that_cannot_be_stored_is_an_error_and_leaves_the_group_stable() -> None:
    """The client joins again; by then the log may take it."""
    bench = GroupBench()
    _static_pair(bench)
    bench.auto_store = False
    back = bench.join("g", instance_id="b")
    assert bench.refuse(ErrorCode.KAFKA_STORAGE_ERROR)
    assert back.value.error_code == ErrorCode.NOT_COORDINATOR
    assert bench.view().state == "Stable"


def test_static_id_in_use_cannot_be_taken_by_a_pending_dynamic_id() -> None:
    """The id that was handed out was never that instance's."""
    bench = GroupBench()
    _static_pair(bench)
    pending = bench.new_id()
    assert bench.join("g", pending, instance_id="a").value.error_code == ErrorCode.FENCED_INSTANCE_ID


def test_static_member_that_returns_twice_in_a_rebalance_is_waited_for_once() -> None:
    """Its fenced join no longer counts as joined: the rebalance still waits for the other member."""
    bench = GroupBench()
    first, second = _static_pair(bench)
    bench.join("g", first, instance_id="a")
    back = bench.join("g", instance_id="a")
    assert not back.done
    assert bench.view().state == "PreparingRebalance"
    assert bench.join("g", second, instance_id="b").value.generation_id == 2
    assert back.value.generation_id == 2
